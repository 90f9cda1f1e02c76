//! A run as one JSON file: every score with its token counts, and the conditions of the run. Every table and plot can
//! be made again from it.

use rewardscope_benchmarks::published::MadeUnder;
use rewardscope_benchmarks::{Assessment, Effort, Item, MarkError, assess};
use rewardscope_engine::{Clock, DeviceReport, ModelReport, PositionBias};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ScoredRow;
use crate::run::{ItemResult, Run, Shortfall};
use crate::run_identity::RunIdentity;
use crate::run_scorer::{FORMAT, RunScorer, present};

/// A whole run, as stored in a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Always `rewardscope run 2`; files of version 1 are changed while they are read.
    pub format: String,
    /// The benchmark's name in commands, such as `reward-bench-2`.
    pub benchmark: String,
    /// Name of the benchmark's variant that marked the run.
    pub variant: String,
    /// The conditions under which the scores were made.
    pub protocol: ProtocolBlock,
    /// Items selected.
    pub items_total: usize,
    /// The items that have an outcome, in the dataset's order.
    pub items: Vec<RunItem>,
    /// Marks with confidence intervals. Readers of the file compute them again from the scores.
    pub assessment: Assessment,
    /// Milliseconds spent scoring.
    pub ms: f64,
}

/// The conditions under which a run's scores were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolBlock {
    /// The model: its Hub id with the commit, or the name of its file or folder.
    pub model: String,
    /// sha256 over the model's files and its head, in hexadecimal digits.
    pub model_sha256: String,
    /// The model's architecture.
    pub architecture: String,
    /// What gave the scores.
    pub scorer: RunScorer,
    /// The dataset: its Hub id with commit and file, its address, or the name of a file.
    pub dataset: String,
    /// sha256 over the dataset's items, in hexadecimal digits.
    pub dataset_sha256: String,
    /// Most items per subset that were drawn; `None` for all.
    pub limit_per_subset: Option<usize>,
    /// Seed of the draw.
    pub seed: u64,
    /// Weight type on the device.
    pub dtype: String,
    /// Settings that change token ids: BOS, truncation side, format. Empty for the default.
    pub settings: String,
    /// Chat template, as [`ModelReport::template`]. Older files do not have this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Context limit, in tokens; longer conversations are cut.
    pub context_tokens: usize,
    /// Local time that the chat template was told, in seconds since 1970-01-01; `None` where it asks for no time.
    pub template_seconds: Option<i64>,
    /// The same local time in ISO 8601 without a zone, such as `2025-02-03T04:05:06`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    /// Hash over everything that turns text into token ids, in hexadecimal digits.
    pub tokenizer_sha256: String,
    /// Names of the devices that scored, in order of use.
    pub devices: Vec<String>,
    /// The device of the model that was loaded when the file was written.
    pub device: DeviceReport,
    /// Where the run was made: `native` with system and processor, or the browser's user agent.
    pub host: String,
    /// Version of this program.
    pub version: String,
    /// Largest absolute error of the self-test's log-probabilities, in nats.
    pub self_test_error: f64,
}

impl ProtocolBlock {
    /// The conditions in which published marks of the same model may differ.
    pub(crate) fn made_under(&self) -> MadeUnder {
        MadeUnder {
            dtype: Some(self.dtype.clone()),
            length_limit: Some(self.context_tokens),
            template: self.template.clone(),
        }
    }
}

/// One item of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunItem {
    /// Id, subset and scores; no scores where the item failed.
    #[serde(flatten)]
    pub row: ScoredRow,
    /// For each completion, the tokens of its conversation that the model saw.
    pub tokens: Vec<usize>,
    /// For each completion, the tokens of its conversation that were cut off.
    pub cut_tokens: Vec<usize>,
    /// For each completion, the model that wrote it; empty where the dataset does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Why the item has no scores: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens computed for all completions together. A shared beginning, such as the prompt, counts once.
    #[serde(default)]
    pub computed_tokens: usize,
    /// Milliseconds spent on the item.
    pub ms: f64,
    /// How much the order of two completions decided, where the model compares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_bias: Option<PositionBias>,
}

impl RunItem {
    /// Tokens of each completion's whole conversation, cut tokens included.
    pub(crate) fn lengths(&self) -> Vec<f64> {
        self.tokens.iter().zip(&self.cut_tokens).map(|(seen, cut)| (seen + cut) as f64).collect()
    }
}

impl RunFile {
    /// Whether a JSON object is a run file.
    pub(crate) fn is(object: &Map<String, Value>) -> bool {
        object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("rewardscope run"))
    }

    /// Reads a run file's object, of this version or the one before.
    ///
    /// # Errors
    /// A sentence where it is of another version, or is damaged.
    pub(crate) fn read(object: Map<String, Value>) -> Result<Self, String> {
        serde_json::from_value(Value::Object(present(object)?)).map_err(|error| error.to_string())
    }

    /// Missing and cut items, which keep the marks from being the benchmark's.
    pub(crate) fn shortfall(&self) -> Shortfall {
        let cut = |item: &&RunItem| item.error.is_none() && item.cut_tokens.iter().any(|&tokens| tokens > 0);
        Shortfall {
            items: self.items_total,
            missing: self.items_total.saturating_sub(self.items.iter().filter(|item| item.error.is_none()).count()),
            cut: self.items.iter().filter(cut).count(),
            position_bias: PositionBias::over(self.items.iter().filter_map(|item| item.position_bias)),
        }
    }

    /// The file of a run. `model` is the model that scored; `host` names the system or browser; `clock` is the time
    /// that chat templates were told.
    ///
    /// # Errors
    /// When the scored items cannot be marked.
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
                architecture: model.architecture.clone(),
                scorer: RunScorer::of(model, identity),
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
        position_bias: result.outcome.position_bias,
    }
}
