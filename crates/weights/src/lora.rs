//! Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) as the library peft writes them, merged
//! into their base while it is read: `W + scale B A`, with `scale = alpha / r`, or `alpha / sqrt(r)`
//! where they are rank-stabilised (Kalajdzievski, 2023, arXiv:2312.03732). Modules that were saved
//! whole stand in for the base's.

use std::collections::BTreeMap;

use rewardscope_store::{Folder, Source};
use serde::Deserialize;

use crate::{Checkpoint, DType, LowRank, TensorInfo, WeightsError, format_error};

/// The file that makes a folder an adapter.
pub const CONFIG: &str = "adapter_config.json";

/// The file with its tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What peft puts before the base's names.
const PREFIX: &str = "base_model.model.";

/// An adapter without the values of its tensors.
#[derive(Debug, Clone)]
pub struct Adapter {
    file: String,
    config: ConfigJson,
    checkpoint: Checkpoint,
}

#[derive(Debug, Clone, Deserialize)]
struct ConfigJson {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    task_type: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    layer_replication: Option<serde_json::Value>,
}

impl ConfigJson {
    async fn read(source: &Source) -> Result<Self, WeightsError> {
        serde_json::from_slice(&source.read_all().await?).map_err(|e| {
            format_error(source.name(), "the configuration of an adapter as peft writes it", e.to_string())
        })
    }

    /// Refuses what is not computed here.
    fn supported(&self, file: &str) -> Result<(), WeightsError> {
        let found = if self.peft_type != "LORA" {
            format!("an adapter of the type {}", self.peft_type)
        } else if self.use_dora {
            "a DoRA adapter (use_dora)".to_owned()
        } else if self.fan_in_fan_out {
            "a LoRA adapter with fan_in_fan_out".to_owned()
        } else if self.layer_replication.as_ref().is_some_and(|layers| !layers.is_null()) {
            "a LoRA adapter with layer_replication".to_owned()
        } else {
            return Ok(());
        };
        Err(WeightsError::UnsupportedAdapter { file: file.to_owned(), found })
    }
}

/// The value whose pattern a module's name matches. peft's patterns are regular expressions for the
/// last parts of the name; those that are plain names are understood, after a caret from the first.
fn matching<'a, T>(patterns: &'a BTreeMap<String, T>, module: &str, file: &str) -> Result<Option<&'a T>, WeightsError> {
    for (pattern, value) in patterns {
        let (whole, name) = match pattern.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, pattern.as_str()),
        };
        if name.contains(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))) {
            let found = format!("a LoRA adapter with the pattern {pattern:?}, which is no plain name");
            return Err(WeightsError::UnsupportedAdapter { file: file.to_owned(), found });
        }
        let is_end = module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        if module == name || !whole && is_end {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The name of the model that an adapter's folder belongs to, as its configuration has it: a path
/// or a Hub id.
///
/// # Errors
/// When the configuration is damaged, or names none.
pub async fn base(folder: &Folder) -> Result<String, WeightsError> {
    let source = folder.get(CONFIG)?;
    let base = ConfigJson::read(source).await?.base_model_name_or_path;
    base.ok_or_else(|| format_error(source.name(), "a base_model_name_or_path", "none"))
}

impl Adapter {
    /// Opens an adapter's folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the adapter is of a kind that is not merged here.
    pub async fn open(folder: &Folder) -> Result<Self, WeightsError> {
        let source = folder.get(CONFIG)?;
        let config = ConfigJson::read(source).await?;
        config.supported(source.name())?;
        let checkpoint = Checkpoint::from_safetensors(folder.get(WEIGHTS)?).await?;
        Ok(Self { file: source.name().to_owned(), config, checkpoint })
    }

    /// Whether it was trained as a sequence classifier.
    pub fn classifies(&self) -> bool {
        self.config.task_type.as_deref() == Some("SEQ_CLS")
    }

    /// The base with the adapter in it.
    ///
    /// # Errors
    /// When a tensor has no counterpart in the base, has another shape, or is of a kind that is not
    /// merged here.
    pub fn merge(&self, base: Checkpoint) -> Result<Checkpoint, WeightsError> {
        let shift = base.files.len();
        let mut merged = base;
        merged.files.extend(self.checkpoint.files.iter().cloned());
        let in_merged = |info: &TensorInfo| TensorInfo { file: info.file + shift, ..info.clone() };
        for tensor in self.checkpoint.tensors() {
            let name = own_name(&tensor.name);
            let Some(module) = name.strip_suffix(".lora_A.weight") else {
                if name.contains("lora_") && !name.ends_with(".lora_B.weight") {
                    let found = format!("a LoRA adapter with the tensor {}", tensor.name);
                    return Err(WeightsError::UnsupportedAdapter { file: self.file.clone(), found });
                }
                if !name.contains("lora_") {
                    merged.tensors.insert(name.clone(), TensorInfo { name, ..in_merged(tensor) });
                }
                continue;
            };
            let weight = format!("{module}.weight");
            let stored = merged.find(&weight).cloned().ok_or_else(|| WeightsError::MissingTensor {
                file: merged.name.clone(),
                tensor: weight.clone(),
                found: merged.tensors.len(),
            })?;
            let rank = matching(&self.config.rank_pattern, module, &self.file)?.copied().unwrap_or(self.config.r);
            let alpha =
                matching(&self.config.alpha_pattern, module, &self.file)?.copied().unwrap_or(self.config.lora_alpha);
            let a = self.checkpoint.expect(&tensor.name, &[rank, stored.columns()])?;
            let b = tensor.name.replace(".lora_A.", ".lora_B.");
            let b = self.checkpoint.expect(&b, &[stored.rows(), rank])?;
            let divisor = if self.config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
            let low_rank = LowRank { a: in_merged(a), b: in_merged(b), scale: (alpha / divisor) as f32, stored };
            let info = TensorInfo {
                name: weight.clone(),
                dtype: DType::F32,
                low_rank: Some(Box::new(low_rank.clone())),
                ..low_rank.stored
            };
            merged.tensors.insert(weight, info);
        }
        Ok(merged)
    }
}

/// The base's name for what peft stores under this one.
fn own_name(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).replace(".modules_to_save.", ".")
}

/// `stored + scale b a`: `[rows, columns]`, `[rows, rank]` and `[rank, columns]`.
pub(crate) fn merged(mut stored: Vec<f32>, a: &[f32], b: &[f32], rank: usize, scale: f32) -> Vec<f32> {
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
