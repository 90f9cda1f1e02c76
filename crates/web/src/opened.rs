//! A run that is open beside others.

use rewardscope_benchmarks::published::MadeUnder;
use rewardscope_benchmarks::{Assessment, Benchmark, Variant};
use rewardscope_eval::ScoreFile;
use serde::Serialize;

/// A run that is open beside the others: one made here, or a file of scores.
#[derive(Serialize, tsify::Tsify)]
pub struct OpenedRun {
    /// What names it.
    pub key: String,
    /// The file's name, or the dataset's.
    pub name: String,
    /// The model that scored, where that is known.
    pub model: String,
    /// Its benchmark's name in commands.
    pub benchmark: String,
    /// The rows that were scored, where that is known.
    pub dataset: String,
    /// What the weights were, where that is known.
    pub dtype: String,
    /// What published marks may differ by.
    pub under: MadeUnder,
    /// Whether it was made in this visit.
    pub is_own: bool,
    /// Whether it says under what its scores came about.
    pub is_run_file: bool,
    /// Whether scores are rewards, where that is known.
    pub is_reward_model: Option<bool>,
    /// The marks with what they are worth.
    pub assessment: Assessment,
}

/// A run that is open, with how it is marked.
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) file: ScoreFile,
    pub(crate) benchmark: &'static Benchmark,
    pub(crate) variant: &'static Variant,
    pub(crate) assessment: Assessment,
    pub(crate) is_own: bool,
}

impl Opened {
    /// Texts of a file are as long as whoever made it likes.
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
            is_reward_model: protocol.map(|protocol| protocol.is_reward_model),
            assessment: self.assessment.clone(),
        }
    }
}

/// Characters of a name out of somebody's file that the page is given.
pub(crate) const MOST_NAME_CHARACTERS: usize = 500;
