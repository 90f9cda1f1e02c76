//! Merging: each tensor of an adapter changes or replaces a tensor of the base.

use std::collections::BTreeSet;

use super::{Adapter, Merged};
use crate::{Change, Checkpoint, StoredType, TensorInfo, WeightsError};

/// The prefix that peft puts before the base's names.
const PREFIX: &str = "base_model.model.";

/// Part of the name of a module's trained copy. peft writes the copy under the module's own name. With biases it also
/// writes one under this name, but reads only the first.
const COPY: &str = ".modules_to_save.";

/// Embeddings that a language model's head may be tied to, each with that head's own name.
const TIED: [(&str, &str); 2] = [("embed_tokens.weight", "lm_head.weight"), ("embed_in.weight", "embed_out.weight")];

/// What a tensor of an adapter is to its base. The text is the module's name, or the tensor's in [`Self::Whole`].
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// The down-projection of a module, `[rank, columns]`.
    Down(&'a str),
    /// The up-projection of a module, `[rows, rank]`; read together with its down-projection.
    Up,
    /// The down-projection of an embedding, `[rank, rows]`.
    DownOfEmbedding(&'a str),
    /// The up-projection of an embedding, `[columns, rank]`; read together with its down-projection.
    UpOfEmbedding,
    /// What is added to a module's bias.
    Bias(&'a str),
    /// New values of some rows of an embedding.
    Rows(&'a str),
    /// A tensor that replaces the base's.
    Whole(String),
    /// A module as it was before a copy of it was trained; not read.
    Original,
    /// A tensor that is not merged here.
    Unknown,
}

/// What the tensor of this name is; the name comes without [`PREFIX`].
fn part(name: &str) -> Part<'_> {
    let of = |ending: &str| name.strip_suffix(ending);
    if let Some(module) = of(".lora_A.weight") {
        Part::Down(module)
    } else if of(".lora_B.weight").is_some() {
        Part::Up
    } else if let Some(module) = of(".lora_embedding_A") {
        Part::DownOfEmbedding(module)
    } else if of(".lora_embedding_B").is_some() {
        Part::UpOfEmbedding
    } else if let Some(module) = of(".lora_B.bias") {
        Part::Bias(module)
    } else if let Some(module) = of(".token_adapter.trainable_tokens_delta").or(of(".trainable_tokens_delta")) {
        Part::Rows(module)
    } else if name.contains(".original_module.") {
        Part::Original
    } else if ["lora_", "ia3_", "ada_", "vera_", "trainable_tokens", "prompt_"].iter().any(|other| name.contains(other))
    {
        Part::Unknown
    } else {
        Part::Whole(name.replace(COPY, ".").replace(".base_layer.", "."))
    }
}

impl Adapter {
    /// Merges the adapter into its base. No value is computed yet: the result applies the changes when its rows are
    /// read.
    ///
    /// # Errors
    /// When a tensor has no counterpart in the base, has another shape, or is of a kind that is not
    /// merged here.
    ///
    /// # Example
    /// ```
    /// use rewardscope_store::{Folder, Source};
    /// use rewardscope_weights::{Checkpoint, adapter::Adapter};
    ///
    /// # use rewardscope_weights::{StoredType, safetensors};
    /// # fn file(name: &str, tensors: &[(&str, [usize; 2], &[f32])]) -> Source {
    /// #     let entry = |(name, shape, _): &(&str, [usize; 2], &[f32])| {
    /// #         safetensors::Entry { name: (*name).to_owned(), shape: shape.to_vec(), dtype: StoredType::F32 }
    /// #     };
    /// #     let mut bytes = safetensors::header(&tensors.iter().map(entry).collect::<Vec<_>>(), &Default::default());
    /// #     bytes.extend(tensors.iter().flat_map(|(_, _, values)| *values).flat_map(|value| value.to_le_bytes()));
    /// #     Source::memory(name, bytes)
    /// # }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
    /// // Here `file` writes a safetensors file to memory, from the tensors' names, shapes and values.
    /// let config = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2}"#;
    /// let a = ("base_model.model.up.lora_A.weight", [1, 2], [1.0, 10.0].as_slice());
    /// let b = ("base_model.model.up.lora_B.weight", [2, 1], [3.0, 4.0].as_slice());
    /// let config = Source::memory("adapter_config.json", config.as_bytes());
    /// let folder = Folder::new("adapter", [config, file("adapter_model.safetensors", &[a, b])]);
    /// let base = file("model.safetensors", &[("up.weight", [2, 2], &[0.0; 4])]);
    ///
    /// let base = Checkpoint::from_safetensors(&base).await?;
    /// let merged = Adapter::open(&folder).await?.merge(base)?;
    /// let info = merged.checkpoint.expect("up.weight", &[2, 2])?;
    /// let values = info.dtype.to_f32(&merged.checkpoint.rows(info, 0, 2).await?);
    /// assert_eq!(values, [6.0, 60.0, 8.0, 80.0]); // base + alpha / r * b a
    /// # Ok(()) }) }
    /// ```
    pub fn merge(&self, base: Checkpoint) -> Result<Merged, WeightsError> {
        let shift = base.files.len();
        let mut merging = Merging { adapter: self, shift, checkpoint: base, changed: BTreeSet::new() };
        merging.checkpoint.files.extend(self.checkpoint.files.iter().cloned());
        let names: Vec<&str> = self.checkpoint.tensors.keys().map(String::as_str).collect();
        let own = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
        // Replacements come first, because the other changes are added to them.
        for is_copy in [false, true] {
            for &stored in names.iter().filter(|name| name.contains(COPY) == is_copy) {
                if let Part::Whole(name) = part(&own(stored))
                    && !(is_copy && merging.changed.contains(&name))
                {
                    merging.replace(stored, name)?;
                }
            }
        }
        for &stored in &names {
            let name = own(stored);
            match part(&name) {
                Part::Whole(_) | Part::Original | Part::Up | Part::UpOfEmbedding => {}
                Part::Down(module) => merging.add(stored, module)?,
                Part::DownOfEmbedding(module) => merging.add_to_embedding(stored, module)?,
                Part::Bias(module) => merging.add_to_bias(stored, module)?,
                Part::Rows(module) => merging.put_rows(stored, module)?,
                Part::Unknown => return Err(merging.refuse(format!("a LoRA adapter with the tensor {stored}"))),
            }
        }
        merging.check_pairs(&names)?;
        merging.check_copies()?;
        let has_rows = names.iter().any(|name| name.contains("trainable_tokens_delta"));
        if !self.config.token_rows.is_empty() && !has_rows {
            let found =
                "a LoRA adapter that trains rows of an embedding (trainable_token_indices), but has none of them,";
            return Err(merging.refuse(found.to_owned()));
        }
        Ok(Merged { checkpoint: merging.checkpoint, changed: merging.changed })
    }
}

/// A merge in progress.
struct Merging<'a> {
    adapter: &'a Adapter,
    /// The number of the base's files, after which those of the adapter come.
    shift: usize,
    checkpoint: Checkpoint,
    changed: BTreeSet<String>,
}

impl Merging<'_> {
    fn refuse(&self, found: String) -> WeightsError {
        WeightsError::UnsupportedAdapter { file: self.adapter.config.file.clone(), found }
    }

    /// The adapter's tensor of this name and shape, with its file's index in the merged checkpoint.
    fn own(&self, stored: &str, shape: &[usize]) -> Result<TensorInfo, WeightsError> {
        let info = self.adapter.checkpoint.expect(stored, shape)?;
        Ok(TensorInfo { file: info.file + self.shift, ..info.clone() })
    }

    /// The base's tensor of this name, or the one that replaced it. Refuses a tensor that is changed already.
    fn base(&self, name: &str) -> Result<TensorInfo, WeightsError> {
        let info = self.checkpoint.find(name).cloned().ok_or_else(|| self.checkpoint.missing(name))?;
        match info.change {
            None => Ok(info),
            Some(_) => Err(self.refuse(format!("a LoRA adapter that changes {name} in two ways"))),
        }
    }

    fn put(&mut self, stored: TensorInfo, change: Change) {
        let name = stored.name.clone();
        let info = TensorInfo { dtype: StoredType::F32, change: Some(Box::new(change)), ..stored };
        self.changed.insert(name.clone());
        self.checkpoint.tensors.insert(name, info);
    }

    fn replace(&mut self, stored: &str, name: String) -> Result<(), WeightsError> {
        let info = self.adapter.checkpoint.find(stored).cloned();
        let info = info.ok_or_else(|| self.adapter.checkpoint.missing(stored))?;
        if self.changed.contains(&name) {
            return Err(self.refuse(format!("a LoRA adapter with two tensors for {name}")));
        }
        let module = name.strip_suffix(".weight").unwrap_or(&name);
        if self.adapter.config.saves(module) {
            self.keep_tied_head(&name);
        }
        self.changed.insert(name.clone());
        self.checkpoint.tensors.insert(name.clone(), TensorInfo { name, file: info.file + self.shift, ..info });
        Ok(())
    }

    /// Keeps the old values of a language model's head that is tied to this embedding: peft unties the two where a copy
    /// of the embedding was trained or a product is added to it.
    fn keep_tied_head(&mut self, embedding: &str) {
        let head = TIED.iter().find(|(tied, _)| embedding.ends_with(tied)).map(|(_, head)| (*head).to_owned());
        if let Some(name) = head
            && !self.checkpoint.tensors.contains_key(&name)
            && let Some(tied) = self.checkpoint.find(embedding).cloned()
        {
            self.checkpoint.tensors.insert(name.clone(), TensorInfo { name, ..tied });
        }
    }

    fn add(&mut self, down: &str, module: &str) -> Result<(), WeightsError> {
        let stored = self.base(&format!("{module}.weight"))?;
        self.keep_tied_head(&stored.name);
        let rank = self.adapter.config.rank(module);
        let a = self.own(down, &[rank, stored.columns()])?;
        let b = self.own(&down.replace(".lora_A.", ".lora_B."), &[stored.rows(), rank])?;
        let scale = self.adapter.config.scale(module);
        self.put(stored.clone(), Change::LowRank { stored, a, b, scale });
        Ok(())
    }

    fn add_to_embedding(&mut self, down: &str, module: &str) -> Result<(), WeightsError> {
        let stored = self.base(&format!("{module}.weight"))?;
        if self.adapter.config.rows_of(module).is_some() {
            return Err(self.refuse(format!("a LoRA adapter that changes {} in two ways", stored.name)));
        }
        self.keep_tied_head(&stored.name);
        let rank = self.adapter.config.rank(module);
        let a = self.own(down, &[rank, stored.rows()])?;
        let b = self.own(&down.replace(".lora_embedding_A", ".lora_embedding_B"), &[stored.columns(), rank])?;
        let scale = self.adapter.config.scale(module);
        self.put(stored.clone(), Change::Transposed { stored, a, b, scale });
        Ok(())
    }

    fn add_to_bias(&mut self, added: &str, module: &str) -> Result<(), WeightsError> {
        let stored = self.base(&format!("{module}.bias"))?;
        let added = self.own(added, &stored.shape)?;
        let scale = self.adapter.config.scale(module);
        self.put(stored.clone(), Change::Sum { stored, added, scale });
        Ok(())
    }

    fn put_rows(&mut self, delta: &str, module: &str) -> Result<(), WeightsError> {
        let stored = self.base(&format!("{module}.weight"))?;
        let rows = self.adapter.config.rows_of(module).map(<[usize]>::to_vec);
        let rows = rows.ok_or_else(|| self.refuse(format!("a LoRA adapter with {delta} without its token indices")))?;
        let replaced = self.own(delta, &[rows.len(), stored.columns()])?;
        if let Some(row) = rows.iter().find(|row| **row >= stored.rows()) {
            return Err(self.refuse(format!("a LoRA adapter with the token {row}, beyond {} rows,", stored.rows())));
        }
        self.put(stored.clone(), Change::Rows { stored, rows, replaced });
        Ok(())
    }

    /// Refuses an adapter that lacks a module which `modules_to_save` names, as peft does.
    fn check_copies(&self) -> Result<(), WeightsError> {
        let is_left_out = |(name, info): &(&String, &TensorInfo)| {
            let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
            self.adapter.config.saves(module) && !(self.changed.contains(*name) && info.change.is_none())
        };
        match self.checkpoint.tensors.iter().find(is_left_out) {
            Some((name, _)) => {
                Err(self.refuse(format!("a LoRA adapter that saves {name} (modules_to_save), but lacks it,")))
            }
            None => Ok(()),
        }
    }

    /// Refuses up-projections without their down-projections.
    fn check_pairs(&self, names: &[&str]) -> Result<(), WeightsError> {
        for name in names {
            let other = match name {
                _ if name.contains(".lora_B.weight") => name.replace(".lora_B.", ".lora_A."),
                _ if name.contains(".lora_embedding_B") => name.replace(".lora_embedding_B", ".lora_embedding_A"),
                _ => continue,
            };
            if self.adapter.checkpoint.find(&other).is_none() {
                return Err(self.adapter.checkpoint.missing(&other));
            }
        }
        Ok(())
    }
}

/// `stored + scale b a`, where `stored` is `[rows, columns]`, `b` is `[rows, rank]` and `a` is `[rank, columns]`.
pub(crate) fn added(mut stored: Vec<f32>, a: &[f32], b: &[f32], rank: usize, scale: f32) -> Vec<f32> {
    let columns = a.len() / rank;
    for (values, b) in stored.chunks_exact_mut(columns).zip(b.chunks_exact(rank)) {
        let mut delta = vec![0.0f32; columns];
        for (&b, a) in b.iter().zip(a.chunks_exact(columns)) {
            delta.iter_mut().zip(a).for_each(|(delta, a)| *delta += b * a);
        }
        values.iter_mut().zip(&delta).for_each(|(value, delta)| *value += scale * delta);
    }
    stored
}

/// `stored + scale (b a)^T` for rows from `first` on of a tensor of `total` rows, where `stored` is `[rows, columns]`,
/// `b` is `[columns, rank]` and `a` is `[rank, total]`.
pub(crate) fn added_transposed(
    mut stored: Vec<f32>,
    a: &[f32],
    b: &[f32],
    (first, total): (usize, usize),
    (rank, scale): (usize, f32),
) -> Vec<f32> {
    let columns = b.len() / rank;
    for (row, values) in stored.chunks_exact_mut(columns).enumerate() {
        for (value, b) in values.iter_mut().zip(b.chunks_exact(rank)) {
            let delta: f32 = b.iter().enumerate().map(|(i, b)| b * a[i * total + first + row]).sum();
            *value += scale * delta;
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_tensor_is() {
        assert_eq!(part("model.layers.0.q_proj.lora_A.weight"), Part::Down("model.layers.0.q_proj"));
        assert_eq!(part("embed_tokens.lora_embedding_A"), Part::DownOfEmbedding("embed_tokens"));
        assert_eq!(part("q_proj.lora_B.bias"), Part::Bias("q_proj"));
        assert_eq!(part("embed_tokens.token_adapter.trainable_tokens_delta"), Part::Rows("embed_tokens"));
        assert_eq!(part("q_proj.base_layer.bias"), Part::Whole("q_proj.bias".to_owned()));
        assert_eq!(part("score.modules_to_save.weight"), Part::Whole("score.weight".to_owned()));
        assert_eq!(part("q_proj.lora_magnitude_vector"), Part::Unknown);
    }

    #[test]
    fn products_are_added_either_way() {
        // Two rows of three, rank one.
        let (a, b) = ([1.0, 2.0, 3.0], [10.0, 20.0]);
        assert_eq!(added(vec![0.0; 6], &a, &b, 1, 0.5), [5.0, 10.0, 15.0, 10.0, 20.0, 30.0]);
        // The same product, transposed and from exchanged sides; its second row only.
        assert_eq!(added_transposed(vec![0.0; 3], &b, &a, (1, 2), (1, 0.5)), [10.0, 20.0, 30.0]);
    }
}
