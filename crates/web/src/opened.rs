//! Open runs: runs and score files that the page shows and compares.

use rewardscope_benchmarks::published::MadeUnder;
use rewardscope_benchmarks::{Assessment, Benchmark, Variant};
use rewardscope_eval::ScoreFile;
use serde::Serialize;

/// Description of an open run: a run made here, or a file of scores.
#[derive(Serialize, tsify::Tsify)]
pub struct OpenedRun {
    /// Key of the run, for the calls that take one.
    pub key: String,
    /// Name of the file, or of the dataset for a run made here.
    pub name: String,
    /// The model that scored; empty where unknown.
    pub model: String,
    /// The benchmark's name in commands, such as `reward-bench-2`.
    pub benchmark: String,
    /// The dataset that was scored; empty where unknown.
    pub dataset: String,
    /// Weight type on the device; empty where unknown.
    pub dtype: String,
    /// The conditions of the run, to compare with those of published marks.
    pub under: MadeUnder,
    /// Whether the run was made in this visit.
    pub is_own: bool,
    /// Whether the file is a run file, which says under what conditions its scores were made.
    pub is_run_file: bool,
    /// Whether scores are rewards; absent where unknown. Otherwise they are what the reader gives, or
    /// log-probabilities.
    pub is_reward_model: Option<bool>,
    /// What read the scores, where it was no head: a reader's name, or `implicit reward`.
    pub reader: Option<String>,
    /// The marks with confidence intervals.
    pub assessment: Assessment,
}

/// An open run with its scores and its marks.
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) file: ScoreFile,
    pub(crate) benchmark: &'static Benchmark,
    pub(crate) variant: &'static Variant,
    pub(crate) assessment: Assessment,
    pub(crate) is_own: bool,
}

impl Opened {
    /// The run's description. Texts are shortened, because a file may hold texts of any length.
    pub(crate) fn card(&self) -> OpenedRun {
        let bounded = |text: &str| text.chars().take(MOST_NAME_CHARACTERS).collect::<String>();
        let protocol = self.file.run.as_ref().map(|run| &run.protocol);
        OpenedRun {
            key: self.key.clone(),
            name: bounded(&self.file.name),
            model: bounded(self.file.model.as_deref().unwrap_or_default()),
            benchmark: self.benchmark.name.to_owned(),
            dataset: bounded(protocol.map(|protocol| protocol.dataset.as_str()).unwrap_or_default()),
            dtype: bounded(protocol.map(|protocol| protocol.dtype.as_str()).unwrap_or_default()),
            under: match protocol {
                None => MadeUnder::default(),
                Some(protocol) => MadeUnder {
                    dtype: Some(bounded(&protocol.dtype)),
                    length_limit: Some(protocol.context_tokens),
                    template: protocol.template.as_deref().map(bounded),
                },
            },
            is_own: self.is_own,
            is_run_file: protocol.is_some(),
            is_reward_model: protocol.map(|protocol| protocol.scorer.is_reward_model()),
            reader: protocol.and_then(|protocol| protocol.scorer.reader()).map(bounded),
            assessment: self.assessment.clone(),
        }
    }
}

/// Most characters of a text that the page gets from a file.
pub(crate) const MOST_NAME_CHARACTERS: usize = 500;
