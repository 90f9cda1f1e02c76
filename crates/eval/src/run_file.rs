//! A run as one file: every score with its token counts, and under what it came about. Enough to
//! draw every table and plot again.

use rewardscope_benchmarks::published::MadeUnder;
use rewardscope_benchmarks::{Assessment, Effort, Item, MarkError, assess};
use rewardscope_engine::{Clock, DeviceReport, ModelReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ScoredRow;
use crate::journal::RunIdentity;
use crate::run::{ItemResult, Run, Shortfall};

/// What a run file calls itself.
const FORMAT: &str = "rewardscope run 1";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Always `rewardscope run 1`.
    pub format: String,
    /// [`Benchmark::name`]
    pub benchmark: String,
    /// [`Variant::name`]
    pub variant: String,
    /// Under what the scores came about.
    pub protocol: ProtocolBlock,
    /// Items selected.
    pub items_total: usize,
    /// The items that were tried, in the dataset's order.
    pub items: Vec<RunItem>,
    /// Marks with what they are worth; made anew by whoever reads the file.
    pub assessment: Assessment,
    /// Milliseconds spent scoring.
    pub ms: f64,
}

/// Under what a run's scores came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolBlock {
    /// The model: its Hub id with the commit, or the name of its file or folder.
    pub model: String,
    /// A hash over its files and its head.
    pub model_sha256: String,
    /// The name of the reward head that it carries, where it is one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Its architecture.
    pub architecture: String,
    /// Whether scores are rewards; otherwise they are log-probabilities.
    pub is_reward_model: bool,
    /// Whether the sigmoid of a score difference is a Bradley-Terry probability: known of heads that
    /// were fitted so, and of no other model.
    #[serde(default)]
    pub is_bradley_terry: bool,
    /// How log-probabilities became a score.
    pub aggregate: Option<String>,
    /// Which logit is the score, of several.
    pub label: Option<usize>,
    /// The dataset: its Hub id with commit and file, its address, or the name of a file.
    pub dataset: String,
    /// A hash over its items.
    pub dataset_sha256: String,
    /// At most so many items of a subset.
    pub limit_per_subset: Option<usize>,
    /// Seed of that draw.
    pub seed: u64,
    /// What the weights are on the device.
    pub dtype: String,
    /// Settings that change token ids: BOS, truncation side, format.
    pub settings: String,
    /// What made a text of a conversation, as [`ModelReport::template`]; files from before it was said
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Where conversations are cut.
    pub context_tokens: usize,
    /// What the template was told of the time, in seconds since 1970 of local time, where it asks.
    pub template_seconds: Option<i64>,
    /// The same as people write it: a local time without a zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    /// A hash over what turns text into token ids.
    pub tokenizer_sha256: String,
    /// The devices that scored, in their order.
    pub devices: Vec<String>,
    /// The last of them.
    pub device: DeviceReport,
    /// `native` with the system's name, or what the browser calls itself.
    pub host: String,
    /// This program's version.
    pub version: String,
    /// Largest error of the self-test's log-probabilities, in nats.
    pub self_test_error: f64,
}

impl ProtocolBlock {
    /// What published marks may differ by.
    pub(crate) fn made_under(&self) -> MadeUnder {
        MadeUnder {
            dtype: Some(self.dtype.clone()),
            length_limit: Some(self.context_tokens),
            template: self.template.clone(),
        }
    }
}

/// An item of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunItem {
    /// Its scores; none where it failed.
    #[serde(flatten)]
    pub row: ScoredRow,
    /// Tokens seen of each completion's conversation.
    pub tokens: Vec<usize>,
    /// Tokens cut of it.
    pub cut_tokens: Vec<usize>,
    /// Who wrote the completions, where the dataset says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Why it has no scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens computed for all of them; what completions begin with alike once.
    #[serde(default)]
    pub computed_tokens: usize,
    /// Milliseconds that it took.
    pub ms: f64,
}

impl RunItem {
    /// Tokens of each completion's conversation, cut or not.
    pub(crate) fn lengths(&self) -> Vec<f64> {
        self.tokens.iter().zip(&self.cut_tokens).map(|(seen, cut)| (seen + cut) as f64).collect()
    }
}

impl RunFile {
    /// Whether an object is a run file.
    pub(crate) fn is(object: &Map<String, Value>) -> bool {
        object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("rewardscope run"))
    }

    /// What keeps the marks from being the benchmark's.
    pub(crate) fn shortfall(&self) -> Shortfall {
        let cut = |item: &&RunItem| item.error.is_none() && item.cut_tokens.iter().any(|&tokens| tokens > 0);
        Shortfall {
            items: self.items_total,
            missing: self.items_total.saturating_sub(self.items.iter().filter(|item| item.error.is_none()).count()),
            cut: self.items.iter().filter(cut).count(),
        }
    }

    /// The file of a run. `clock` is what templates were told of the time.
    ///
    /// # Errors
    /// When its items cannot be marked.
    pub fn new(
        run: &Run,
        identity: &RunIdentity,
        model: &ModelReport,
        host: &str,
        clock: Clock,
    ) -> Result<Self, MarkError> {
        let (benchmark, variant) = (run.benchmark(), run.variant());
        let items: Vec<RunItem> =
            run.results().iter().map(|result| run_item(&run.items()[result.item], result)).collect();
        let scored: Vec<&RunItem> = items.iter().filter(|item| item.error.is_none()).collect();
        let rows: Vec<_> = scored.iter().map(|item| item.row.as_item()).collect();
        let lengths: Vec<Vec<f64>> = scored.iter().map(|item| item.lengths()).collect();
        let mut assessment = assess(benchmark, variant, &rows, Some(&lengths), 0, false, Effort::FULL)?;
        run.shortfall().qualify(&mut assessment);
        Ok(Self {
            format: FORMAT.to_owned(),
            benchmark: benchmark.name.to_owned(),
            variant: variant.name.to_owned(),
            protocol: ProtocolBlock {
                model: identity.model.clone(),
                model_sha256: identity.model_fingerprint.clone(),
                head: model.head.as_ref().map(|head| head.name.clone()),
                architecture: model.architecture.clone(),
                is_reward_model: model.is_reward_model,
                is_bradley_terry: model.head.is_some(),
                aggregate: identity.aggregate.map(|aggregate| format!("{aggregate:?}").to_lowercase()),
                label: identity.label,
                dataset: identity.dataset.clone(),
                dataset_sha256: identity.dataset_fingerprint.clone(),
                limit_per_subset: identity.limit_per_subset,
                seed: identity.seed,
                dtype: model.dtype.name().to_owned(),
                settings: identity.protocol.clone(),
                template: Some(model.template.clone()),
                context_tokens: identity.context_tokens,
                template_seconds: model.template_seconds.map(|_| clock.local_seconds()),
                template_date: model.template_seconds.map(|_| clock.to_string()),
                tokenizer_sha256: model.tokenizer_fingerprint.clone(),
                devices: run.devices().to_vec(),
                device: model.device.clone(),
                host: host.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                self_test_error: model.self_test.log_probability_error,
            },
            items_total: run.items().len(),
            items,
            assessment,
            ms: run.results().iter().map(|result| result.outcome.ms).sum(),
        })
    }
}

fn run_item(item: &Item, result: &ItemResult) -> RunItem {
    let scores = result.outcome.scores.as_deref().unwrap_or_default();
    RunItem {
        row: ScoredRow {
            id: item.id.clone(),
            subset: item.subset.clone(),
            num_correct: item.num_correct,
            scores: scores.iter().map(|score| score.score).collect(),
        },
        tokens: scores.iter().map(|score| score.tokens).collect(),
        cut_tokens: scores.iter().map(|score| score.cut_tokens).collect(),
        models: item.models.clone(),
        error: result.outcome.scores.as_ref().err().cloned(),
        computed_tokens: result.outcome.computed_tokens,
        ms: result.outcome.ms,
    }
}
