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
    /// Number of weights; to the million where nothing finer is published.
    pub parameters: u64,
    /// Bytes of its weights' files.
    pub stored_bytes: u64,
    /// Its licence, as its card names it.
    pub licence: &'static str,
    /// Its published mark on RewardBench 2, from 0 to 1 ([`PUBLISHED_MARKS`]).
    pub reward_bench_2: Option<f64>,
    /// What its scores are.
    pub kind: ScoreKind,
}

/// What a model's scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// A reward for each completion.
    Reward,
    /// A reward for each step of a solution.
    Steps,
    /// A reranker's score.
    Relevance,
    /// Outcomes against other completions.
    Pair,
    /// A verdict on what is asked.
    Criterion,
    /// A policy's log-probabilities less its reference's.
    Implicit,
    /// Log-probabilities.
    Likelihood,
}

impl ScoreKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Reward, Self::Steps, Self::Relevance, Self::Pair, Self::Criterion, Self::Implicit, Self::Likelihood];

    /// Its name, as a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reward => "Rewards",
            Self::Steps => "Steps",
            Self::Relevance => "Relevance",
            Self::Pair => "Comparisons",
            Self::Criterion => "Criteria",
            Self::Implicit => "Implicit rewards",
            Self::Likelihood => "Likelihoods",
        }
    }

    /// What it gives, and how it is had where no listed model has it: sentences for people.
    pub fn gives(self) -> &'static str {
        match self {
            Self::Reward => "One number for each completion, learned from people's choices; higher is better.",
            Self::Steps => "A reward for each step of a solution; the least, the product or the last is its score.",
            Self::Relevance => "How well a text answers a question, by a reranker. It is not a reward.",
            Self::Pair => "Which of two completions is better, in both orders, and how often the order decides.",
            Self::Criterion => {
                "What an instruct model says of each completion on a question of your own: yes against no, or a digit. \
                 It is not a reward. Load any instruct model with the reader criterion or criterion-digit."
            }
            Self::Implicit => {
                "How much likelier a policy finds a completion than its reference does. Load a policy that was trained \
                 by preferences (DPO), with the model that it was trained from as its reference."
            }
            Self::Likelihood => {
                "How likely a language model finds a completion: a baseline, not a reward. Load any language model."
            }
        }
    }
}

/// The kinds of scores as a table, for the documentation.
pub fn kinds_table() -> String {
    let row = |kind: ScoreKind| format!("| {} | {} |\n", kind.label(), kind.gives());
    "| kind | what it gives |\n|---|---|\n".to_owned() + &ScoreKind::ALL.map(row).concat()
}

/// Source of the published marks.
pub const PUBLISHED_MARKS: &str =
    "RewardBench 2 leaderboard, by way of evaleval/every_eval_ever (MIT), as of December 2025";

const QWEN3: &str = "Qwen3ForSequenceClassification";
const LLAMA: &str = "LlamaForSequenceClassification";

/// The models, smallest first. Models stored in 16 bits have two bytes for each weight.
pub const CATALOG: &[Listed] = &[
    Listed {
        id: "OpenAssistant/reward-model-deberta-v3-large-v2@refs/pr/3",
        architecture: "DebertaV2ForSequenceClassification",
        parameters: 435_062_785,
        stored_bytes: 4 * 435_062_785,
        licence: "mit",
        reward_bench_2: Some(0.32),
        kind: ScoreKind::Reward,
    },
    Listed {
        id: "llm-blender/PairRM-hf",
        architecture: "DebertaV2PairRM",
        parameters: 436_000_000,
        stored_bytes: 4 * 436_000_000,
        licence: "mit",
        reward_bench_2: None,
        kind: ScoreKind::Pair,
    },
    Listed {
        id: "trl-lib/Qwen2-0.5B-Reward",
        architecture: "Qwen2ForSequenceClassification",
        parameters: 494_033_664,
        stored_bytes: 4 * 494_033_664,
        licence: "apache-2.0",
        reward_bench_2: None,
        kind: ScoreKind::Reward,
    },
    gives(
        ScoreKind::Relevance,
        in_16_bits("Qwen/Qwen3-Reranker-0.6B", "Qwen3ForCausalLM", 595_776_512, "apache-2.0", None),
    ),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-0.6B", QWEN3, 596_050_944, "apache-2.0", Some(0.6125)),
    in_16_bits("Skywork/Skywork-Reward-V2-Llama-3.2-1B", LLAMA, 1_235_816_448, "llama3.2", Some(0.6438)),
    gives(
        ScoreKind::Steps,
        in_16_bits("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", "Qwen2ForPrmModel", 1_543_715_841, "other", None),
    ),
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
    gives(
        ScoreKind::Relevance,
        in_16_bits("Qwen/Qwen3-Reranker-4B", "Qwen3ForCausalLM", 4_021_784_576, "apache-2.0", None),
    ),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-4B", QWEN3, 4_022_470_656, "apache-2.0", Some(0.7551)),
    gives(
        ScoreKind::Steps,
        in_16_bits("Qwen/Qwen2.5-Math-PRM-7B", "Qwen2ForProcessRewardModel", 7_083_474_946, "qwen", None),
    ),
    in_16_bits("Ray2333/GRM-Llama3-8B-rewardmodel-ft", LLAMA, 7_504_932_864, "mit", Some(0.6766)),
    in_16_bits("Skywork/Skywork-Reward-V2-Llama-3.1-8B", LLAMA, 7_504_928_768, "llama3.1", Some(0.8413)),
    in_16_bits("Skywork/Skywork-Reward-V2-Qwen3-8B", QWEN3, 7_568_409_600, "apache-2.0", Some(0.7837)),
];

/// A reward model whose weights are stored in 16 bits.
const fn in_16_bits(
    id: &'static str,
    architecture: &'static str,
    parameters: u64,
    licence: &'static str,
    reward_bench_2: Option<f64>,
) -> Listed {
    let stored_bytes = 2 * parameters;
    Listed { id, architecture, parameters, stored_bytes, licence, reward_bench_2, kind: ScoreKind::Reward }
}

/// A model whose scores are of this kind.
const fn gives(kind: ScoreKind, listed: Listed) -> Listed {
    Listed { kind, ..listed }
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
    use rewardscope_models::Head;

    use crate::ARCHITECTURES;
    use crate::reader::named::found;
    use crate::reader::spec::Gives;

    use super::*;

    #[test]
    fn what_is_listed_is_supported_and_named_once() {
        for (place, listed) in CATALOG.iter().enumerate() {
            let known = ARCHITECTURES.iter().find(|known| known.name == listed.architecture && !known.gguf);
            // A class of a publisher's own is known by the reader of its steps.
            let head = known.map_or(Head::Score, |known| known.head);
            let reader = found(listed.id, Some(listed.architecture), head).expect("readers").map(|reader| reader.spec);
            assert!(known.is_some() || reader.is_some(), "{listed:?}");
            let kind = match (head, reader) {
                (Head::Pair, _) => ScoreKind::Pair,
                (_, Some(spec)) if spec.steps.is_some() => ScoreKind::Steps,
                (_, Some(spec)) if spec.gives == Gives::Relevance => ScoreKind::Relevance,
                _ => ScoreKind::Reward,
            };
            assert_eq!(listed.kind, kind, "{}", listed.id);
            assert!(listed.id.parse::<rewardscope_store::RepositoryId>().is_ok(), "{}", listed.id);
            assert!(CATALOG[..place].iter().all(|other| other.id != listed.id), "{}", listed.id);
        }
        assert!(CATALOG.is_sorted_by_key(|listed| listed.parameters.div_ceil(1 << 22)));
    }
}
