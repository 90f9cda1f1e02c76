//! A run: the selected items of a dataset, with the outcomes of those scored so far.

use rewardscope_benchmarks::{Assessment, Benchmark, Item, ScoredItem, Selection, Variant, stratified};
use rewardscope_engine::device::now_ms;
use rewardscope_engine::{
    Cancel, Detail, EngineError, Message, PositionBias, Score, Scorer, TokenSequence, TruncationSide,
};
use serde::{Deserialize, Serialize};

use crate::dataset::conversation;
use crate::json_floats;

/// The part of a completion's [`Score`] that a run keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompletionScore {
    /// The score: a reward, or an aggregate of log-probabilities. As [`Score::score`].
    pub score: f64,
    /// Tokens of the conversation that the model saw. As [`Score::tokens`].
    pub tokens: usize,
    /// Tokens cut off at the context limit; 0 where nothing was cut. As [`Score::cut_tokens`].
    pub cut_tokens: usize,
}

impl CompletionScore {
    /// Whether the conversation was cut at the context limit.
    pub fn truncated(&self) -> bool {
        self.cut_tokens > 0
    }
}

impl From<&Score> for CompletionScore {
    fn from(score: &Score) -> Self {
        Self { score: score.score, tokens: score.tokens, cut_tokens: score.cut_tokens }
    }
}

/// The outcome of scoring one item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemOutcome {
    /// One score per completion; or one sentence that says why there is none.
    pub scores: Result<Vec<CompletionScore>, String>,
    /// Notes about the scores, one sentence each.
    pub remarks: Vec<String>,
    /// Tokens that were computed. The beginning that completions share, such as the prompt, counts once.
    pub computed_tokens: usize,
    /// Milliseconds that scoring took.
    pub ms: f64,
    /// How much the order of two completions decided, where the model compares them.
    pub position_bias: Option<PositionBias>,
}

impl ItemOutcome {
    /// Tokens that the model saw without computing them again.
    pub(crate) fn saved_tokens(&self) -> usize {
        let seen: usize = self.scores.iter().flatten().map(|score| score.tokens).sum();
        seen.saturating_sub(self.computed_tokens)
    }
}

/// The outcome of one item of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemResult {
    /// The item's index in [`Run::items`].
    pub item: usize,
    /// The item's outcome.
    pub outcome: ItemOutcome,
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunProgress {
    /// Items that have an outcome.
    pub items_done: usize,
    /// Items selected.
    pub items_total: usize,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens that the model saw without computing them again, because completions share their beginning.
    pub saved_tokens: u64,
    /// Tokens computed per second, over the run so far.
    pub tokens_per_second: f64,
    /// Estimated milliseconds for the remaining items, by the length of their texts. `None` before the first outcome.
    pub ms_left: Option<f64>,
    /// Whether every outcome is stored on this device; if not, the rest lasts until the page closes.
    pub is_kept: bool,
}

/// Checks that a model can score a benchmark's items. Call it before a run: otherwise every item fails for one reason.
///
/// # Errors
/// As [`Scorer::check_template`]; when items are solutions in steps and the model has no reader of steps.
pub fn check_scorer(scorer: &Scorer, benchmark: &Benchmark) -> Result<(), EngineError> {
    match benchmark.reads_steps() {
        true => scorer.tokenize_steps(&[Message::new("user", "?")], &[vec![".".to_owned()]]).map(|_| ()),
        false => scorer.check_template(),
    }
}

/// Scores one item. An item that cannot be scored gets an outcome with the reason.
///
/// # Errors
/// When the device fails or the work is cancelled; then the item has no outcome.
pub async fn score_item(scorer: &Scorer, item: &Item, cancel: &Cancel) -> Result<ItemOutcome, EngineError> {
    let started = now_ms();
    let (mut computed_tokens, mut position_bias) = (0, None);
    let scored = async {
        let sequences = sequences(scorer, item)?;
        let scores = scorer.score_tokens(&sequences, Detail::Score, cancel).await?;
        Ok((sequences, scores))
    };
    let scores = match scored.await {
        Ok((sequences, scores)) => {
            computed_tokens = scores.iter().map(|score| score.computed_tokens).sum();
            position_bias = PositionBias::of(scores.iter().map(|score| score.duels.as_slice()));
            Ok(match item.are_steps {
                true => scores.iter().zip(&sequences).flat_map(|(whole, sequence)| of_steps(whole, sequence)).collect(),
                false => scores.iter().map(CompletionScore::from).collect::<Vec<_>>(),
            })
        }
        Err(stop @ (EngineError::Cancelled | EngineError::DeviceFailed { .. })) => {
            return Err(stop);
        }
        Err(error) => Err(format!("{}/{}: {error}", item.subset, item.id)),
    };
    let remarks = scores.as_ref().map(|scores| remarks(item, scores, scorer.truncation())).unwrap_or_default();
    Ok(ItemOutcome { scores, remarks, computed_tokens, ms: now_ms() - started, position_bias })
}

/// The token sequences of an item: one for each completion, or one for all steps of a solution.
///
/// # Errors
/// As [`Scorer::tokenize`] and [`Scorer::tokenize_steps`].
pub fn sequences(scorer: &Scorer, item: &Item) -> Result<Vec<TokenSequence>, EngineError> {
    let prompt = conversation(item);
    match item.are_steps {
        true => scorer.tokenize_steps(&prompt, std::slice::from_ref(&item.completions)),
        false => scorer.tokenize(&prompt, item.completions.iter().map(String::as_str)),
    }
}

/// The score of each step of a solution. The tokens of a step are those after the step before it.
fn of_steps(whole: &Score, sequence: &TokenSequence) -> Vec<CompletionScore> {
    let mut start = 0;
    let of_step = |(&score, &at): (&f64, &usize)| {
        let tokens = (at + 1).saturating_sub(start);
        start = at + 1;
        CompletionScore { score, tokens, cut_tokens: whole.cut_tokens }
    };
    let values = whole.steps.iter().flat_map(|steps| &steps.scores);
    values.zip(&sequence.read_at).map(of_step).collect()
}

/// The approximate cost of an item: the bytes of its prompt, which is computed once, and of its completions.
pub(crate) fn characters(item: &Item) -> usize {
    item.prompt.len() + item.completions.iter().map(String::len).sum::<usize>()
}

/// The estimated size of what is left of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Estimate {
    /// Items to score.
    pub items: usize,
    /// Completions to score.
    pub completions: usize,
    /// Tokens to compute, extrapolated from a sample of the items by the length of their texts.
    pub tokens: u64,
    /// Milliseconds, at the speed of a trial.
    pub ms: f64,
    /// Bytes on the device of the weights and of the largest batch.
    pub memory_bytes: u64,
}

/// What qualifies marks: missing and cut items, which keep them from being the benchmark's, and a model's preference for
/// a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shortfall {
    /// Items selected.
    pub items: usize,
    /// Selected items without scores.
    pub missing: usize,
    /// Selected items with a completion whose conversation was cut at the context limit.
    pub cut: usize,
    /// How much the order of two completions decided, where the model compares them.
    pub position_bias: Option<PositionBias>,
}

impl Shortfall {
    /// Qualifies the marks. Adds a remark about missing and about cut items, and about the order of completions. Where
    /// items are missing, the overall mark becomes the partial one.
    pub fn qualify(self, assessment: &mut Assessment) {
        let Self { items, missing, cut, position_bias } = self;
        if let Some(PositionBias { pairs, turned, lean }) = position_bias {
            assessment.remarks.push(format!(
                "position bias: in {turned} of {pairs} pairs the order of the two completions decides which one wins; the \
                 mean logit of the first place is {lean:.4} (0 is none)"
            ));
        }
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

/// The selected items of a dataset, with the outcomes of those scored so far.
#[derive(Debug, Clone)]
pub struct Run {
    items: Vec<Item>,
    results: Vec<ItemResult>,
    devices: Vec<String>,
    benchmark: &'static Benchmark,
    variant: &'static Variant,
}

impl Run {
    /// A new run over the selected items of a dataset, marked by the benchmark's first variant.
    pub fn new(benchmark: &'static Benchmark, dataset: &[Item], selection: Selection) -> Self {
        let items = stratified(benchmark, dataset, selection).into_iter().map(|i| dataset[i].clone()).collect();
        Self { items, results: Vec::new(), devices: Vec::new(), benchmark, variant: &benchmark.variants[0] }
    }

    /// The benchmark that marks the run.
    pub fn benchmark(&self) -> &'static Benchmark {
        self.benchmark
    }

    /// The variant of the benchmark that marks the run.
    pub fn variant(&self) -> &'static Variant {
        self.variant
    }

    /// Marks the run by another variant of its benchmark from now on.
    pub fn mark_by(&mut self, variant: &'static Variant) {
        self.variant = variant;
    }

    /// The selected items, in the dataset's order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The outcomes so far, in the order of the items.
    pub fn results(&self) -> &[ItemResult] {
        &self.results
    }

    /// Whether every item has an outcome.
    pub fn is_done(&self) -> bool {
        self.results.len() == self.items.len()
    }

    /// The next item to score; `None` when all are done.
    pub fn next_item(&self) -> Option<&Item> {
        self.items.get(self.results.len())
    }

    /// Adds the outcome of [`Self::next_item`]; does nothing when the run is done.
    pub fn push(&mut self, outcome: ItemOutcome) {
        if !self.is_done() {
            self.results.push(ItemResult { item: self.results.len(), outcome });
        }
    }

    /// Records the device that scores from now on.
    pub(crate) fn record_device(&mut self, device: &str) {
        if !self.devices.iter().any(|known| known == device) {
            self.devices.push(device.to_owned());
        }
    }

    /// Names of the devices that scored, in order of first use.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// Missing and cut items, which keep the run's marks from being the benchmark's.
    pub(crate) fn shortfall(&self) -> Shortfall {
        let scored = self.results.iter().filter_map(|result| result.outcome.scores.as_ref().ok());
        let cut = |scores: &&Vec<CompletionScore>| scores.iter().any(CompletionScore::truncated);
        Shortfall {
            items: self.items.len(),
            missing: self.items.len() - scored.clone().count(),
            cut: scored.filter(cut).count(),
            position_bias: PositionBias::over(self.results.iter().filter_map(|result| result.outcome.position_bias)),
        }
    }

    /// A remark where several devices scored the run, because devices differ in the last digits of a score.
    pub(crate) fn device_remark(&self) -> Option<String> {
        let several = self.devices.len() > 1;
        several
            .then(|| format!("the run was scored on several devices, one after another: {}", self.devices.join(", ")))
    }

    /// The progress of the run.
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
            is_kept: true,
        }
    }

    /// Estimates the size of what is left. A trial on the first item that can be scored measures the speed.
    ///
    /// # Errors
    /// When the device fails or the work is cancelled.
    pub async fn estimate(&self, scorer: &Scorer, cancel: &Cancel) -> Result<Estimate, EngineError> {
        const SAMPLE: usize = 24;
        let left = &self.items[self.results.len()..];
        let completions = left.iter().map(|item| item.completions.len()).sum();
        let (mut tokens, mut sampled) = (0usize, 0usize);
        for item in left.iter().step_by((left.len() / SAMPLE).max(1)) {
            cancel.check()?;
            // An item that cannot be tokenized does not stop the estimate: the run only lacks that item's scores.
            let Ok(sequences) = sequences(scorer, item) else {
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
            let fewest = scorer.fewest_completions().min(item.completions.len());
            let first = Item { completions: item.completions[..fewest].to_vec(), ..item.clone() };
            if score_item(scorer, &first, cancel).await?.scores.is_err() {
                continue;
            }
            // The first call also compiles kernels; the second one measures the speed.
            let again = score_item(scorer, &first, cancel).await?;
            ms = again.ms / again.computed_tokens.max(1) as f64 * tokens;
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

/// A run's scored items in the form that benchmarks take. `scores` holds the scores of each result.
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

/// A row of a score file: what marking needs of one item, correct completions first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ScoredRow {
    /// The item's id, as in the dataset.
    pub id: String,
    /// The item's subset, as in the dataset.
    pub subset: String,
    /// How many of the scores, from the first, belong to correct completions.
    pub num_correct: usize,
    /// One score per completion. NaN and infinities are written as texts.
    #[serde(with = "json_floats")]
    pub scores: Vec<f64>,
}

impl ScoredRow {
    /// The row in the form that benchmarks take.
    pub fn as_item(&self) -> ScoredItem<'_> {
        ScoredItem { id: &self.id, subset: &self.subset, num_correct: self.num_correct, scores: &self.scores }
    }
}

pub(crate) fn values(result: &ItemResult) -> Vec<f64> {
    result.outcome.scores.iter().flatten().map(|score| score.score).collect()
}

/// Tokens of each completion's whole conversation, cut tokens included. The prompt adds the same to each.
pub(crate) fn lengths(scores: &[CompletionScore]) -> Vec<f64> {
    scores.iter().map(|score| (score.tokens + score.cut_tokens) as f64).collect()
}
