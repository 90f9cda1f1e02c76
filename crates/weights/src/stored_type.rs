use half::{bf16, f16};

/// The type in which a tensor's values are stored. A block type stores 32 or 256 values together with their scales, as
/// GGML defines it (`ggml-common.h`). Sizes are bytes per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the formats' own names")]
pub enum StoredType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// GGML: f16 `d`, 32 unsigned nibbles `q`; value `(q - 8) d`. 18 bytes.
    Q4_0,
    /// GGML: f16 `d`, f16 `m`, 32 unsigned nibbles `q`; value `q d + m`. 20 bytes.
    Q4_1,
    /// GGML: f16 `d`, 32 unsigned 5-bit `q` (first all fifth bits, then all nibbles); value `(q - 16) d`. 22 bytes.
    Q5_0,
    /// GGML: f16 `d`, f16 `m`, `q` as in [`Self::Q5_0`]; value `q d + m`. 24 bytes.
    Q5_1,
    /// GGML: f16 `d`, 32 signed bytes `q`; value `q d`. 34 bytes.
    Q8_0,
    /// GGML: f16 `d`, f16 `m`, a 6-bit scale and minimum for each 32 values, 256 unsigned nibbles `q`; value
    /// `q d scale - m minimum`. 144 bytes.
    Q4_K,
    /// GGML: as [`Self::Q4_K`], with the fifth bits of all `q` before the nibbles. 176 bytes.
    Q5_K,
    /// GGML: 256 unsigned 6-bit `q`, a signed byte as scale for each 16 values, f16 `d`; value `(q - 32) d scale`.
    /// 210 bytes.
    Q6_K,
}

impl StoredType {
    /// The names of all types, for error messages.
    pub(crate) const NAMES: &'static str = "F64, F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K";

    /// The block types.
    pub(crate) const BLOCKS: [Self; 8] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4_K, Self::Q5_K, Self::Q6_K];

    /// Values in a block; 1 for plain types.
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Size of a block in bytes.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Size in bytes of `elements` values, which must be a multiple of [`Self::block_elements`].
    pub const fn bytes(self, elements: usize) -> usize {
        elements / self.block_elements() * self.block_bytes()
    }

    /// Decodes stored bytes, little-endian whole blocks, to f32. This is the definition: devices that unpack blocks
    /// themselves are tested against it.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F64 => chunks(bytes).map(|b| f64::from_le_bytes(b) as f32).collect(),
            Self::F32 => chunks(bytes).map(f32::from_le_bytes).collect(),
            Self::F16 => chunks(bytes).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::BF16 => chunks(bytes).map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            Self::Q4_0 => self.blocks(bytes, |block, values| {
                let d = half_at(block, 0);
                values.extend(nibbles(&block[2..]).map(|q| (f32::from(q) - 8.0) * d));
            }),
            Self::Q4_1 => self.blocks(bytes, |block, values| {
                let (d, m) = (half_at(block, 0), half_at(block, 2));
                values.extend(nibbles(&block[4..]).map(|q| f32::from(q) * d + m));
            }),
            Self::Q5_0 => self.blocks(bytes, |block, values| {
                let d = half_at(block, 0);
                values.extend(five_bits(&block[2..]).map(|q| (f32::from(q) - 16.0) * d));
            }),
            Self::Q5_1 => self.blocks(bytes, |block, values| {
                let (d, m) = (half_at(block, 0), half_at(block, 2));
                values.extend(five_bits(&block[4..]).map(|q| f32::from(q) * d + m));
            }),
            Self::Q8_0 => self.blocks(bytes, |block, values| {
                let d = half_at(block, 0);
                values.extend(block[2..].iter().map(|&q| f32::from(q as i8) * d));
            }),
            Self::Q4_K => self.blocks(bytes, |block, values| {
                let (d, m) = (half_at(block, 0), half_at(block, 2));
                for (pair, quants) in block[16..].chunks_exact(32).enumerate() {
                    for half in 0..2 {
                        let (scale, minimum) = scale_and_minimum(&block[4..16], 2 * pair + half);
                        let (d, m) = (d * scale, m * minimum);
                        values.extend(quants.iter().map(|q| f32::from((q >> (4 * half)) & 15) * d - m));
                    }
                }
            }),
            Self::Q5_K => self.blocks(bytes, |block, values| {
                let (d, m) = (half_at(block, 0), half_at(block, 2));
                let fifths = &block[16..48];
                for (pair, quants) in block[48..].chunks_exact(32).enumerate() {
                    for half in 0..2 {
                        let (scale, minimum) = scale_and_minimum(&block[4..16], 2 * pair + half);
                        let (d, m) = (d * scale, m * minimum);
                        let of = |(q, fifth): (&u8, &u8)| {
                            let q = (q >> (4 * half)) & 15 | ((fifth >> (2 * pair + half)) & 1) << 4;
                            f32::from(q) * d - m
                        };
                        values.extend(quants.iter().zip(fifths).map(of));
                    }
                }
            }),
            Self::Q6_K => self.blocks(bytes, |block, values| {
                let d = half_at(block, 208);
                for part in 0..2 {
                    let (low, high) = (&block[64 * part..][..64], &block[128 + 32 * part..][..32]);
                    let scales = &block[192 + 8 * part..][..8];
                    for quarter in 0..4 {
                        for i in 0..32 {
                            let nibble = low[i + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                            let q = nibble | ((high[i] >> (2 * quarter)) & 3) << 4;
                            let scale = f32::from(scales[2 * quarter + i / 16] as i8);
                            values.push(d * scale * (f32::from(q) - 32.0));
                        }
                    }
                }
            }),
        }
    }

    fn blocks(self, bytes: &[u8], mut each: impl FnMut(&[u8], &mut Vec<f32>)) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let mut values = Vec::with_capacity(blocks.len() * self.block_elements());
        blocks.for_each(|block| each(block, &mut values));
        values
    }
}

/// The nibbles of bytes: all low ones, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|q| q & 15).chain(bytes.iter().map(|q| q >> 4))
}

/// 32 values of five bits: four bytes hold the fifth bits, the next sixteen the nibbles.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let fifths = u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
    nibbles(&bytes[4..]).enumerate().map(move |(i, q)| q | (((fifths >> i) & 1) as u8) << 4)
}

/// The `i`-th of eight pairs of a 6-bit scale and a 6-bit minimum in twelve bytes (GGML's `get_scale_min_k4`). The
/// first four pairs are the low six bits of bytes 0 to 7. The others have their low four bits in bytes 8 to 11, and
/// their high two bits in the high bits of bytes 0 to 7.
fn scale_and_minimum(bytes: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (bytes[i] & 63, bytes[i + 4] & 63)
    } else {
        (bytes[i + 4] & 15 | bytes[i - 4] >> 6 << 4, bytes[i + 4] >> 4 | bytes[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

impl std::fmt::Display for StoredType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|c| std::array::from_fn(|i| c[i]))
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A stored block of 32 values, each `q d + m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// `d`
    pub scale: f16,
    /// `m`
    pub minimum: f16,
    /// `q`: 0 to 15 for Q4_0 and Q4_1, -128 to 127 for Q8_0.
    pub quants: [i32; 32],
}

impl StoredType {
    /// Stored blocks as groups of `q d + m`, which is exactly what [`Self::to_f32`] decodes them to. `None` for types
    /// other than Q4_0, Q4_1 and Q8_0.
    pub fn groups(self, bytes: &[u8]) -> Option<impl Iterator<Item = Group>> {
        let group: fn(&[u8]) -> Group = match self {
            Self::Q4_0 => |block| {
                let scale = f16::from_le_bytes([block[0], block[1]]);
                // Exact: eight times an f16 is an f16, unless it overflows, and no weight is that large.
                let minimum = f16::from_f32(-8.0 * scale.to_f32());
                Group { scale, minimum, quants: array(nibbles(&block[2..]).map(i32::from)) }
            },
            Self::Q4_1 => |block| Group {
                scale: f16::from_le_bytes([block[0], block[1]]),
                minimum: f16::from_le_bytes([block[2], block[3]]),
                quants: array(nibbles(&block[4..]).map(i32::from)),
            },
            Self::Q8_0 => |block| Group {
                scale: f16::from_le_bytes([block[0], block[1]]),
                minimum: f16::ZERO,
                quants: array(block[2..].iter().map(|&q| i32::from(q as i8))),
            },
            _ => return None,
        };
        Some(bytes.chunks_exact(self.block_bytes()).map(group))
    }
}

fn array(values: impl Iterator<Item = i32>) -> [i32; 32] {
    let mut array = [0; 32];
    array.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q4_1_block_has_low_nibbles_first() {
        let mut block = vec![];
        block.extend(f16::from_f32(0.5).to_le_bytes());
        block.extend(f16::from_f32(-1.0).to_le_bytes());
        block.extend((0..16u8).map(|j| j | (15 - j) << 4));
        let expected: Vec<f32> =
            (0..16).map(|j| j as f32 * 0.5 - 1.0).chain((0..16).map(|j| (15 - j) as f32 * 0.5 - 1.0)).collect();
        assert_eq!(StoredType::Q4_1.to_f32(&block), expected);
    }

    #[test]
    fn a_q8_0_block_is_signed() {
        let mut block = vec![];
        block.extend(f16::from_f32(0.25).to_le_bytes());
        block.extend((0..32).map(|j| (j - 16) as i8 as u8));
        let expected: Vec<f32> = (0..32).map(|j| (j - 16) as f32 * 0.25).collect();
        assert_eq!(StoredType::Q8_0.to_f32(&block), expected);
    }

    /// Every block type against the Python package `gguf` (`xtask/oracle/blocks.py`).
    #[test]
    fn blocks_decode_as_the_package_gguf_does() {
        let cases = include_str!("../../../tests/fixtures/weights/blocks.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).expect("JSON");
        let types = StoredType::BLOCKS;
        assert_eq!(cases.len(), types.len());
        let bytes = |hex: &serde_json::Value| -> Vec<u8> {
            let hex = hex.as_str().expect("hexadecimal").as_bytes();
            let digit = |d: u8| (d as char).to_digit(16).expect("a digit") as u8;
            hex.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
        };
        for (dtype, case) in types.into_iter().zip(&cases) {
            assert_eq!(case["type"], dtype.to_string());
            let found = dtype.to_f32(&bytes(&case["blocks"]));
            let expected = StoredType::F32.to_f32(&bytes(&case["values"]));
            assert_eq!(found.len(), expected.len(), "{dtype}");
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // The package multiplies in another order.
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{dtype}, {i}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn groups_are_what_blocks_decode_to() {
        for dtype in [StoredType::Q4_0, StoredType::Q4_1, StoredType::Q8_0] {
            // Scales and minimums are f16 between 2^-14 and 2; the other bytes are arbitrary.
            let bytes: Vec<u8> = (0..dtype.block_bytes() * 50)
                .map(|i| match i % dtype.block_bytes() {
                    1 | 3 => (i * 7 % 0x38) as u8,
                    _ => (i * 31 + i / 7) as u8,
                })
                .collect();
            let groups = dtype.groups(&bytes).expect("a type of groups");
            let found: Vec<f32> = groups
                .flat_map(|group| group.quants.map(|q| q as f32 * group.scale.to_f32() + group.minimum.to_f32()))
                .collect();
            assert_eq!(found, dtype.to_f32(&bytes), "{dtype}");
        }
        assert!(StoredType::F16.groups(&[]).is_none());
    }

    #[test]
    fn sixteen_bit_floats_widen_exactly() {
        assert_eq!(StoredType::BF16.to_f32(&[0x80, 0x3f]), vec![1.0]);
        assert_eq!(StoredType::F16.to_f32(&[0x00, 0xc0]), vec![-2.0]);
    }
}
