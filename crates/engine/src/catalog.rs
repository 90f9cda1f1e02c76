//! A list of well-known open reward models: what each needs and what was published of it, known before a byte
//! of it is fetched.

use rewardscope_models::{GROUP, Packs};
use rewardscope_weights::StoredType;
use serde::Serialize;

use crate::{Dtype, Need, OpenDevice};

/// A reward model of the Hugging Face Hub.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Listed {
    /// Its id on the Hub, with a revision where the default one cannot be read.
    pub id: &'static str,
    /// Its architecture, as its `config.json` names it.
    pub architecture: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of its weights' files.
    pub stored_bytes: u64,
    /// Its licence, as its card names it.
    pub licence: &'static str,
    /// Its published mark on RewardBench 2, from 0 to 1 ([`PUBLISHED_MARKS`]).
    pub reward_bench_2: Option<f64>,
}

/// Source of the published marks.
pub const PUBLISHED_MARKS: &str =
    "RewardBench 2 leaderboard, by way of evaleval/every_eval_ever (MIT), as of December 2025";

const QWEN3: &str = "Qwen3ForSequenceClassification";
const LLAMA: &str = "LlamaForSequenceClassification";

/// The models, smallest first. Models stored in 16 bits have two bytes for each weight.
pub const CATALOG: [Listed; 12] = [
    Listed {
        id: "OpenAssistant/reward-model-deberta-v3-large-v2@refs/pr/3",
        architecture: "DebertaV2ForSequenceClassification",
        parameters: 435_062_785,
        stored_bytes: 4 * 435_062_785,
        licence: "mit",
        reward_bench_2: Some(0.32),
    },
    Listed {
        id: "trl-lib/Qwen2-0.5B-Reward",
        architecture: "Qwen2ForSequenceClassification",
        parameters: 494_033_664,
        stored_bytes: 4 * 494_033_664,
        licence: "apache-2.0",
        reward_bench_2: None,
    },
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-0.6B", QWEN3, 596_050_944, "apache-2.0", Some(0.6125)),
    in_16_bits("Skywork/Skywork-Reward-V2-Llama-3.2-1B", LLAMA, 1_235_816_448, "llama3.2", Some(0.6438)),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-1.7B", QWEN3, 1_720_577_024, "apache-2.0", Some(0.6818)),
    in_16_bits(
        "Ray2333/GRM-gemma2-2B-rewardmodel-ft",
        "Gemma2ForSequenceClassification",
        2_614_344_192,
        "apache-2.0",
        Some(0.5966),
    ),
    in_16_bits("Skywork/Skywork-Reward-V2-Llama-3.2-3B", LLAMA, 3_212_752_896, "llama3.2", Some(0.7466)),
    in_16_bits("Ray2333/GRM-Llama3.2-3B-rewardmodel-ft", LLAMA, 3_212_755_968, "apache-2.0", None),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-4B", QWEN3, 4_022_470_656, "apache-2.0", Some(0.7551)),
    in_16_bits("Ray2333/GRM-Llama3-8B-rewardmodel-ft", LLAMA, 7_504_932_864, "mit", Some(0.6766)),
    in_16_bits("Skywork/Skywork-Reward-V2-Llama-3.1-8B", LLAMA, 7_504_928_768, "llama3.1", Some(0.8413)),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-8B", QWEN3, 7_568_409_600, "apache-2.0", Some(0.7837)),
];

/// A model whose weights are stored in 16 bits.
const fn in_16_bits(
    id: &'static str,
    architecture: &'static str,
    parameters: u64,
    licence: &'static str,
    reward_bench_2: Option<f64>,
) -> Listed {
    Listed { id, architecture, parameters, stored_bytes: 2 * parameters, licence, reward_bench_2 }
}

impl Listed {
    /// Bytes that the weights need on a device, for each type. All weights count as matrices, which may be
    /// packed.
    fn needs(&self) -> Vec<Need> {
        let stored = if self.stored_bytes == 2 * self.parameters { StoredType::BF16 } else { StoredType::F32 };
        let need = |dtype| {
            let mut need = Need::nothing(dtype);
            need.add(stored, self.parameters / GROUP as u64, GROUP, Packs::Matrix);
            need
        };
        Dtype::ALL.map(need).to_vec()
    }

    /// Why the model cannot be loaded on `device` as `dtype`, in a sentence; `None` where it can.
    pub fn does_not_fit(&self, device: &OpenDevice, dtype: Dtype) -> Option<String> {
        device.fits(self.id, &self.needs(), dtype).err().map(|error| error.to_string())
    }

    /// Bytes of its weights on a device as `dtype`.
    pub fn memory_bytes(&self, dtype: Dtype) -> u64 {
        self.needs().iter().find(|need| need.dtype == dtype).map_or(0, |need| need.weight_bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::ARCHITECTURES;

    use super::*;

    #[test]
    fn what_is_listed_is_supported_and_named_once() {
        for (place, listed) in CATALOG.iter().enumerate() {
            assert!(ARCHITECTURES.iter().any(|known| known.name == listed.architecture && !known.gguf), "{listed:?}");
            assert!(listed.id.parse::<rewardscope_store::RepositoryId>().is_ok(), "{}", listed.id);
            assert!(CATALOG[..place].iter().all(|other| other.id != listed.id), "{}", listed.id);
        }
        assert!(CATALOG.is_sorted_by_key(|listed| listed.parameters.div_ceil(1 << 22)));
    }
}
