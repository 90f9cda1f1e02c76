//! The types that weights can have on a device, and how stored rows become them.

use rewardscope_models::{GROUP, Packed, Packing, Packs, TensorSpec};
use rewardscope_weights::{Checkpoint, StoredType, TensorInfo, WeightsError};
use serde::{Deserialize, Serialize};

/// The type of a model's large matrices on the device. Norms, biases, heads and tables of positions are f32
/// with each type, and so is all arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// As stored, where the device has the same type: 16-bit floats, and blocks of 8 and 4 bits; f32 otherwise.
    /// Scores are those of f32.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// Signed bytes in groups of 32 with a scale.
    Q8,
    /// 4-bit numbers in groups of 32 with a scale and a minimum. Projections to values are as `q8`, unless they
    /// are stored in 4 bits.
    Q4,
}

impl Dtype {
    /// Every type, the most exact first.
    pub const ALL: [Self; 5] = [Self::F32, Self::Auto, Self::F16, Self::Q8, Self::Q4];

    /// Its name, as in `q8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "as stored",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Its name in a sentence, as in `load it as q8`.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Auto => "as stored",
            Self::F32 => "as f32",
            Self::F16 => "as f16",
            Self::Q8 => "as q8",
            Self::Q4 => "as q4",
        }
    }

    /// Its name where scores may differ from those of f32, to tell runs apart; otherwise `None`.
    pub fn approximation(self) -> Option<&'static str> {
        (!matches!(self, Self::Auto | Self::F32)).then(|| self.name())
    }

    /// How rows of `columns` values with this stored type are packed; `None` where they become f32.
    pub(crate) fn packing(self, stored: StoredType, columns: usize, packs: Packs) -> Option<Packing> {
        let is_stored_so = || Self::Auto.packing(stored, columns, packs) == Some(Packing::Q4);
        let packing = match self {
            _ if packs == Packs::Never => None,
            Self::Q4 if packs == Packs::Values && !is_stored_so() => Some(Packing::Q8),
            Self::F32 => None,
            Self::F16 => Some(Packing::F16),
            Self::Q8 => Some(Packing::Q8),
            Self::Q4 => Some(Packing::Q4),
            Self::Auto => match stored {
                StoredType::F16 => Some(Packing::F16),
                StoredType::BF16 => Some(Packing::Bf16),
                StoredType::Q8_0 => Some(Packing::Q8),
                StoredType::Q4_0 | StoredType::Q4_1 => Some(Packing::Q4),
                _ => None,
            },
        };
        packing.filter(|packing| packing.takes(columns))
    }
}

/// Packs stored rows. Values do not change where the stored type is the packed one.
pub(crate) fn pack(stored: StoredType, bytes: &[u8], packing: Packing) -> Packed {
    let words = || bytes.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    match (packing, stored) {
        (Packing::F16, StoredType::F16) | (Packing::Bf16, StoredType::BF16) => {
            Packed { words: words(), pairs: Vec::new() }
        }
        (Packing::Q8, StoredType::Q8_0) | (Packing::Q4, StoredType::Q4_0 | StoredType::Q4_1) => {
            let mut packed = Packed::default();
            for group in stored.groups(bytes).into_iter().flatten() {
                packed.push(packing, group.scale.to_bits(), group.minimum.to_bits(), &group.quants);
            }
            packed
        }
        _ => Packed::of(packing, &stored.to_f32(bytes)),
    }
}

/// The stored type that matches a packing.
pub(crate) fn stored_as(packing: Packing) -> StoredType {
    match packing {
        Packing::F16 => StoredType::F16,
        Packing::Bf16 => StoredType::BF16,
        Packing::Q8 => StoredType::Q8_0,
        Packing::Q4 => StoredType::Q4_1,
    }
}

/// The bytes of packed rows as the type [`stored_as`]. [`pack`] makes the same packed rows of them.
pub(crate) fn stored_bytes(packing: Packing, packed: &Packed) -> Vec<u8> {
    let words = || packed.words.iter().flat_map(|word| word.to_le_bytes());
    if !packing.has_groups() {
        return words().collect();
    }
    let group_words = GROUP / packing.per_word();
    let groups = packed.words.chunks_exact(group_words).zip(&packed.pairs);
    let mut bytes = Vec::with_capacity(packed.pairs.len() * stored_as(packing).block_bytes());
    for (words, pair) in groups {
        let [scale_low, scale_high, minimum_low, minimum_high] = pair.to_le_bytes();
        bytes.extend([scale_low, scale_high]);
        if packing == Packing::Q8 {
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            continue;
        }
        bytes.extend([minimum_low, minimum_high]);
        // GGML has the first half's values in the low nibbles and the second half's in the high ones.
        let value = |i: usize| (words[i / 8] >> (4 * (i % 8)) & 15) as u8;
        bytes.extend((0..GROUP / 2).map(|i| value(i) | value(i + GROUP / 2) << 4));
    }
    bytes
}

/// Bytes that a model's weights need on a device as one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The type.
    pub dtype: Dtype,
    /// Bytes of all weights.
    pub weight_bytes: u64,
}

impl Need {
    /// No bytes yet.
    pub(crate) fn nothing(dtype: Dtype) -> Self {
        Self { dtype, weight_bytes: 0 }
    }

    /// Adds `rows` rows of `columns` values with this stored type.
    pub(crate) fn add(&mut self, stored: StoredType, rows: u64, columns: usize, packs: Packs) {
        let packing = self.dtype.packing(stored, columns, packs);
        let row = packing.map_or(4 * columns, |packing| packing.bytes(columns)) as u64;
        self.weight_bytes += rows * row;
    }

    fn add_spec(&mut self, spec: &TensorSpec, info: &TensorInfo) {
        self.add(info.dtype, info.rows() as u64, info.columns(), spec.packs);
    }
}

/// Bytes that a checkpoint's tensors need on a device, for each type.
pub(crate) fn needs(specs: &[TensorSpec], checkpoint: &Checkpoint) -> Result<Vec<Need>, WeightsError> {
    let mut needs = Dtype::ALL.map(Need::nothing);
    for spec in specs {
        let info = checkpoint.expect(&spec.stored, &spec.shape)?;
        needs.iter_mut().for_each(|need| need.add_spec(spec, info));
    }
    Ok(needs.to_vec())
}

const _: () = assert!(GROUP == 32, "GGML's blocks and the device's groups are alike");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_alike_is_packed_without_change() {
        for (stored, packing, columns) in [
            (StoredType::F16, Packing::F16, 64),
            (StoredType::BF16, Packing::Bf16, 64),
            (StoredType::Q8_0, Packing::Q8, 64),
            (StoredType::Q4_0, Packing::Q4, 64),
            (StoredType::Q4_1, Packing::Q4, 64),
        ] {
            assert_eq!(Dtype::Auto.packing(stored, columns, Packs::Matrix), Some(packing));
            let bytes: Vec<u8> = (0..stored.bytes(columns * 6))
                .map(|i| if i % 2 == 1 { (i * 5 % 0x38) as u8 } else { (i * 37) as u8 })
                .collect();
            let packed = pack(stored, &bytes, packing);
            let mut found = vec![0.0; columns * 6];
            Packed::unpack(packing, &packed.words, &packed.pairs, &mut found);
            assert_eq!(found, stored.to_f32(&bytes), "{stored}");
        }
        assert_eq!(Dtype::Auto.packing(StoredType::F32, 64, Packs::Matrix), None);
        assert_eq!(Dtype::Q4.packing(StoredType::F32, 64, Packs::Values), Some(Packing::Q8));
        assert_eq!(Dtype::Q4.packing(StoredType::Q4_1, 64, Packs::Values), Some(Packing::Q4));
        assert_eq!(Dtype::Q4.packing(StoredType::F32, 33, Packs::Matrix), None, "rows that are no groups stay in f32");
    }

    #[test]
    fn packed_values_are_stored_and_packed_again_without_change() {
        let values: Vec<f32> = (0..6 * 64).map(|i: i32| ((i * 7919) % 2003) as f32 / 1e4 - 0.1).collect();
        for packing in [Packing::F16, Packing::Bf16, Packing::Q8, Packing::Q4] {
            let packed = Packed::of(packing, &values);
            let (stored, bytes) = (stored_as(packing), stored_bytes(packing, &packed));
            assert_eq!(bytes.len(), stored.bytes(values.len()), "{stored}");
            assert_eq!(pack(stored, &bytes, packing), packed, "{stored}");
        }
    }

    #[test]
    fn needs_count_what_is_on_the_device() {
        let mut need = Need::nothing(Dtype::Q4);
        need.add(StoredType::BF16, 10, 64, Packs::Matrix);
        need.add(StoredType::BF16, 1, 64, Packs::Never);
        assert_eq!(need.weight_bytes, 10 * (32 + 8) + 256);
    }
}
