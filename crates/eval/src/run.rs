//! A run: the selected items of a dataset with what has been scored of them.

use rewardscope_benchmarks::{Assessment, Benchmark, Item, ScoredItem, Selection, Variant, stratified};
use rewardscope_engine::device::now_ms;
use rewardscope_engine::{Cancel, Detail, EngineError, Score, Scorer, TruncationSide};
use serde::{Deserialize, Serialize};

use crate::dataset::conversation;
use crate::json_floats;

/// What a run keeps of a completion's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompletionScore {
    /// As in [`Score::score`].
    pub score: f64,
    /// As in [`Score::tokens`].
    pub tokens: usize,
    /// As in [`Score::cut_tokens`].
    pub cut_tokens: usize,
}

impl CompletionScore {
    /// Whether the conversation was longer than the context.
    pub fn truncated(&self) -> bool {
        self.cut_tokens > 0
    }
}

impl From<&Score> for CompletionScore {
    fn from(score: &Score) -> Self {
        Self { score: score.score, tokens: score.tokens, cut_tokens: score.cut_tokens }
    }
}

/// What came of scoring an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemOutcome {
    /// One score a completion, or the sentence that says why there is none.
    pub scores: Result<Vec<CompletionScore>, String>,
    /// What the reader should know of the scores: a sentence each.
    pub remarks: Vec<String>,
    /// Tokens that were computed: what completions begin with alike, the prompt, only once.
    pub computed_tokens: usize,
    /// Milliseconds that it took.
    pub ms: f64,
}

impl ItemOutcome {
    /// Tokens that were seen and not computed again.
    pub(crate) fn saved_tokens(&self) -> usize {
        let seen: usize = self.scores.iter().flatten().map(|score| score.tokens).sum();
        seen.saturating_sub(self.computed_tokens)
    }
}

/// The outcome of one item of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemResult {
    /// The item's place in [`Run::items`].
    pub item: usize,
    /// What came of it.
    pub outcome: ItemOutcome,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunProgress {
    /// Items that have their outcome.
    pub items_done: usize,
    /// Items selected.
    pub items_total: usize,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens seen that were not computed again, for completions begin alike.
    pub saved_tokens: u64,
    /// Tokens computed a second over the run so far.
    pub tokens_per_second: f64,
    /// Milliseconds that the rest will take at this speed, by characters.
    pub ms_left: Option<f64>,
}

/// Scores an item. One that cannot be scored gets a sentence that says why.
///
/// # Errors
/// When the device fails or the work is cancelled: the item has no outcome then.
pub async fn score_item(scorer: &Scorer, item: &Item, cancel: &Cancel) -> Result<ItemOutcome, EngineError> {
    let started = now_ms();
    let prompt = conversation(item);
    let completions = item.completions.iter().map(String::as_str);
    let mut computed_tokens = 0;
    let scores = match scorer.score(&prompt, completions, Detail::Score, cancel).await {
        Ok(scores) => {
            computed_tokens = scores.iter().map(|score| score.computed_tokens).sum();
            Ok(scores.iter().map(CompletionScore::from).collect::<Vec<_>>())
        }
        Err(stop @ (EngineError::Cancelled | EngineError::DeviceFailed { .. })) => {
            return Err(stop);
        }
        Err(error) => Err(format!("{}/{}: {error}", item.subset, item.id)),
    };
    let remarks = scores.as_ref().map(|scores| remarks(item, scores, scorer.truncation())).unwrap_or_default();
    Ok(ItemOutcome { scores, remarks, computed_tokens, ms: now_ms() - started })
}

/// What an item costs, roughly: its prompt is computed once.
pub(crate) fn characters(item: &Item) -> usize {
    item.prompt.len() + item.completions.iter().map(String::len).sum::<usize>()
}

/// The size of a run before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Estimate {
    /// Items to score.
    pub items: usize,
    /// Completions to score.
    pub completions: usize,
    /// Tokens to compute, extrapolated from a sample by characters.
    pub tokens: u64,
    /// Milliseconds at the speed of a trial.
    pub ms: f64,
    /// Bytes that the weights and a batch take on the device.
    pub memory_bytes: u64,
}

/// What keeps marks from being the benchmark's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// Items selected.
    pub items: usize,
    /// Those of them without scores.
    pub missing: usize,
    /// Those with a completion that was cut at the context's end.
    pub cut: usize,
}

impl Shortfall {
    /// Takes the overall mark away where items are missing: what is left is partial. Says so, and
    /// what was cut.
    pub fn qualify(self, assessment: &mut Assessment) {
        let Self { items, missing, cut } = self;
        if cut > 0 {
            assessment
                .remarks
                .push(format!("{cut} of {items} items have a completion that was cut at the context's end"));
        }
        if missing > 0 {
            assessment.remarks.push(format!("{missing} of {items} items have no scores: the marks are partial"));
            if let Some(overall) = assessment.overall.take() {
                assessment.partial = Some(overall);
            }
        }
    }
}

/// A selection of a dataset's items with what has been scored of it.
#[derive(Debug, Clone)]
pub struct Run {
    items: Vec<Item>,
    results: Vec<ItemResult>,
    devices: Vec<String>,
    benchmark: &'static Benchmark,
    variant: &'static Variant,
}

impl Run {
    /// A run over the selected items of a dataset, marked in the benchmark's first way.
    pub fn new(benchmark: &'static Benchmark, dataset: &[Item], selection: Selection) -> Self {
        let items = stratified(benchmark, dataset, selection).into_iter().map(|i| dataset[i].clone()).collect();
        Self { items, results: Vec::new(), devices: Vec::new(), benchmark, variant: &benchmark.variants[0] }
    }

    /// The benchmark that marks it.
    pub fn benchmark(&self) -> &'static Benchmark {
        self.benchmark
    }

    /// The way of marking.
    pub fn variant(&self) -> &'static Variant {
        self.variant
    }

    /// Marks the run in another of its benchmark's ways from here on.
    pub fn mark_by(&mut self, variant: &'static Variant) {
        self.variant = variant;
    }

    /// The selected items, in the dataset's order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What has come of the items so far, in the same order.
    pub fn results(&self) -> &[ItemResult] {
        &self.results
    }

    /// Whether every item has its result.
    pub fn is_done(&self) -> bool {
        self.results.len() == self.items.len()
    }

    /// The next item to score; `None` when all are done.
    pub fn next_item(&self) -> Option<&Item> {
        self.items.get(self.results.len())
    }

    /// Takes the outcome of [`Self::next_item`].
    pub fn push(&mut self, outcome: ItemOutcome) {
        if !self.is_done() {
            self.results.push(ItemResult { item: self.results.len(), outcome });
        }
    }

    /// Notes the device that scores from here on.
    pub(crate) fn record_device(&mut self, device: &str) {
        if !self.devices.iter().any(|known| known == device) {
            self.devices.push(device.to_owned());
        }
    }

    /// The devices that scored, in their order.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// What keeps the run's marks from being the benchmark's.
    pub(crate) fn shortfall(&self) -> Shortfall {
        let scored = self.results.iter().filter_map(|result| result.outcome.scores.as_ref().ok());
        let cut = |scores: &&Vec<CompletionScore>| scores.iter().any(CompletionScore::truncated);
        Shortfall {
            items: self.items.len(),
            missing: self.items.len() - scored.clone().count(),
            cut: scored.filter(cut).count(),
        }
    }

    /// Devices differ in a score's last digits, so a run that was on several says so.
    pub(crate) fn device_remark(&self) -> Option<String> {
        let several = self.devices.len() > 1;
        several
            .then(|| format!("the run was scored on several devices, one after another: {}", self.devices.join(", ")))
    }

    /// How far the run is.
    pub fn progress(&self) -> RunProgress {
        let ms: f64 = self.results.iter().map(|result| result.outcome.ms).sum();
        let tokens: usize = self.results.iter().map(|result| result.outcome.computed_tokens).sum();
        let saved: usize = self.results.iter().map(|result| result.outcome.saved_tokens()).sum();
        let characters = |items: &[Item]| items.iter().map(characters).sum::<usize>() as f64;
        let (done, left) = self.items.split_at(self.results.len());
        RunProgress {
            items_done: done.len(),
            items_total: self.items.len(),
            tokens: tokens as u64,
            saved_tokens: saved as u64,
            tokens_per_second: if ms > 0.0 { tokens as f64 / ms * 1e3 } else { 0.0 },
            ms_left: if done.is_empty() { None } else { Some(ms * characters(left) / characters(done).max(1.0)) },
        }
    }

    /// The size of what is left, with a trial of the first item for the speed.
    ///
    /// # Errors
    /// When the trial fails.
    pub async fn estimate(&self, scorer: &Scorer, cancel: &Cancel) -> Result<Estimate, EngineError> {
        const SAMPLE: usize = 24;
        let left = &self.items[self.results.len()..];
        let completions = left.iter().map(|item| item.completions.len()).sum();
        let (mut tokens, mut sampled) = (0usize, 0usize);
        for item in left.iter().step_by((left.len() / SAMPLE).max(1)) {
            cancel.check()?;
            let prompt = conversation(item);
            // An item that cannot be tokenized costs the run its own row, and the estimate nothing.
            let Ok(sequences) = scorer.tokenize(&prompt, item.completions.iter().map(String::as_str)) else {
                continue;
            };
            let Ok(computed) = scorer.computed_tokens(&sequences) else {
                continue;
            };
            tokens += computed;
            sampled += characters(item);
        }
        let all: usize = left.iter().map(characters).sum();
        let tokens = (tokens as f64 * all as f64 / sampled.max(1) as f64).round();
        let mut ms = 0.0;
        for item in left {
            let first = Item { completions: item.completions[..1].to_vec(), ..item.clone() };
            let Ok(scores) = score_item(scorer, &first, cancel).await?.scores else {
                continue;
            };
            // The first time also compiles; the second tells the speed.
            let again = score_item(scorer, &first, cancel).await?;
            let trial_tokens: usize = scores.iter().map(|score| score.tokens).sum();
            ms = again.ms / trial_tokens.max(1) as f64 * tokens;
            break;
        }
        Ok(Estimate { items: left.len(), completions, tokens: tokens as u64, ms, memory_bytes: scorer.memory_bytes() })
    }
}

fn remarks(item: &Item, scores: &[CompletionScore], side: TruncationSide) -> Vec<String> {
    let end = match side {
        TruncationSide::Left => "first",
        TruncationSide::Right => "last",
    };
    let mut remarks = Vec::new();
    for (position, (score, completion)) in scores.iter().zip(&item.completions).enumerate() {
        let which = format!("{}/{}, completion {}", item.subset, item.id, position + 1);
        if completion.is_empty() {
            remarks.push(format!("{which}: a text was expected, an empty one was found; it was scored as it is"));
        }
        if score.truncated() {
            remarks.push(format!(
                "{which}: {} tokens were found, the context holds {}; the {end} {} were cut off",
                score.tokens + score.cut_tokens,
                score.tokens,
                score.cut_tokens
            ));
        }
        if !score.score.is_finite() {
            remarks.push(format!("{which}: a finite score was expected, {} was found", score.score));
        }
    }
    remarks
}

/// The scored items of a run as the benchmarks take them.
pub(crate) fn scored<'a>(items: &'a [Item], results: &'a [ItemResult], scores: &'a [Vec<f64>]) -> Vec<ScoredItem<'a>> {
    results
        .iter()
        .zip(scores)
        .filter(|(result, _)| result.outcome.scores.is_ok())
        .map(|(result, scores)| {
            let item = &items[result.item];
            ScoredItem { id: &item.id, subset: &item.subset, num_correct: item.num_correct, scores }
        })
        .collect()
}

/// A row of a score file: what marking needs, correct completions first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ScoredRow {
    /// As in the dataset.
    pub id: String,
    /// As in the dataset.
    pub subset: String,
    /// How many scores, from the front, are correct completions'.
    pub num_correct: usize,
    /// One a completion. NaN and infinities are written as texts.
    #[serde(with = "json_floats")]
    pub scores: Vec<f64>,
}

impl ScoredRow {
    /// The row as the benchmarks take it.
    pub fn as_item(&self) -> ScoredItem<'_> {
        ScoredItem { id: &self.id, subset: &self.subset, num_correct: self.num_correct, scores: &self.scores }
    }
}

pub(crate) fn values(result: &ItemResult) -> Vec<f64> {
    result.outcome.scores.iter().flatten().map(|score| score.score).collect()
}

/// Tokens of each completion's conversation, cut or not: the prompt is the same in all.
pub(crate) fn lengths(scores: &[CompletionScore]) -> Vec<f64> {
    scores.iter().map(|score| (score.tokens + score.cut_tokens) as f64).collect()
}
