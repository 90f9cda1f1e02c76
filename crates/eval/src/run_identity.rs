//! What tells runs apart.

use rewardscope_benchmarks::{Benchmark, Item, Selection, reward_bench_2};
use rewardscope_engine::{Aggregate, ModelReport, PairAggregate, Reader, Reference, StepAggregate};
use rewardscope_store::Hasher;
use serde::{Deserialize, Serialize};

/// What identifies a run. Two runs with the same model, dataset, benchmark and selection give the same marks, so they
/// count as one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunIdentity {
    /// The model: its Hub id with the commit, or its name. For display; not part of the identity.
    pub model: String,
    /// Hash over the model's files and its fitted head: [`ModelReport::fingerprint`].
    pub model_fingerprint: String,
    /// How a language model's log-probabilities become a score; `None` for a reward model.
    pub aggregate: Option<Aggregate>,
    /// Context limit, in tokens; longer conversations are cut.
    pub context_tokens: usize,
    /// Settings that change token ids; empty for the default: [`ModelReport::protocol`].
    #[serde(default)]
    pub protocol: String,
    /// Which of a classifier's logits is the score, where it has several: [`ModelReport::label`].
    #[serde(default)]
    pub label: Option<usize>,
    /// The reader that reads the scores, where there is one: [`ModelReport::reader`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// What rewards are measured against, where they are implicit. The fingerprint covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// How the values of steps become the score, where the reader reads steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_aggregate: Option<StepAggregate>,
    /// How outcomes against other completions become the score, where the model compares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_aggregate: Option<PairAggregate>,
    /// Weight type on the device, where scores may differ from those of f32:
    /// [`Dtype::approximation`](rewardscope_engine::Dtype::approximation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Name of the benchmark that marks the run. Journals older than this field mean RewardBench 2.
    #[serde(default = "RunIdentity::first_benchmark")]
    pub benchmark: String,
    /// The dataset's name, as [`crate::dataset_name`] gives it. For display; not part of the identity.
    pub dataset: String,
    /// sha256 over every item of the dataset, in hexadecimal digits.
    pub dataset_fingerprint: String,
    /// Most items per subset, as in [`Selection`]; `None` for all.
    pub limit_per_subset: Option<usize>,
    /// Seed of the draw, as in [`Selection`].
    pub seed: u64,
}

impl RunIdentity {
    /// The identity of a run over a dataset. `dataset` is its name; `items` are all of its items, before the selection.
    pub fn new(
        model: &ModelReport,
        benchmark: &Benchmark,
        dataset: &str,
        items: &[Item],
        selection: Selection,
    ) -> Self {
        let mut hash = Hasher::sha256();
        for item in items {
            // Each text follows its length. Without it, moving characters between neighbours would keep the hash.
            let completions = item.completions.iter();
            let turns = item.turns.iter().flat_map(|turn| [&turn.role, &turn.content]);
            for text in [&item.subset, &item.id, &item.prompt].into_iter().chain(turns).chain(completions) {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(&(item.num_correct as u64).to_le_bytes());
        }
        Self {
            model: model.origin.as_ref().unwrap_or(&model.name).clone(),
            model_fingerprint: model.fingerprint.clone(),
            aggregate: model.aggregate,
            context_tokens: model.context_tokens,
            protocol: model.protocol.clone(),
            label: model.label,
            reader: model.reader.clone(),
            reference: model.reference.clone(),
            step_aggregate: model.step_aggregate,
            pair_aggregate: model.pair_aggregate,
            dtype: model.dtype.approximation().map(str::to_owned),
            benchmark: benchmark.name.to_owned(),
            dataset: dataset.to_owned(),
            dataset_fingerprint: hash.finish().hex(),
            limit_per_subset: selection.limit_per_subset,
            seed: selection.seed,
        }
    }

    /// A name for the run's journal: 32 hexadecimal digits. The same run always has the same key; the names of model
    /// and dataset do not matter.
    pub fn key(&self) -> String {
        let mut hash = Hasher::sha256();
        let Self { model: _, dataset: _, model_fingerprint, dataset_fingerprint, .. } = self;
        // Without a limit the seed selects nothing.
        let seed = self.limit_per_subset.map(|_| self.seed);
        let rest = (self.aggregate, self.context_tokens, self.limit_per_subset, seed);
        let label = self.label();
        let reader = self.reader_key();
        let benchmark = self.benchmark();
        let settings = &self.protocol;
        let (dtype, pairs) = (self.dtype(), self.pairs());
        hash.update(
            format!(
                "{model_fingerprint} {dataset_fingerprint} {rest:?}{settings}{label}{reader}{pairs}{dtype}{benchmark}"
            )
            .as_bytes(),
        );
        hash.finish().hex()[..32].to_owned()
    }

    /// Empty where scores are those of f32.
    fn dtype(&self) -> String {
        self.dtype.as_ref().map(|dtype| format!(", as {dtype}")).unwrap_or_default()
    }

    fn first_benchmark() -> String {
        reward_bench_2::NAME.to_owned()
    }

    /// Empty for RewardBench 2, so that journals older than the other benchmarks keep their names.
    fn benchmark(&self) -> String {
        let is_first = self.benchmark == reward_bench_2::NAME;
        if is_first { String::new() } else { format!(", for {}", self.benchmark) }
    }

    /// Empty without a reader, so that journals older than readers keep their names.
    fn reader_key(&self) -> String {
        let spec = self.reader.as_ref().and_then(|reader| serde_json::to_string(&reader.spec).ok());
        spec.map(|spec| format!(", read by {spec}{}", self.steps())).unwrap_or_default()
    }

    fn steps(&self) -> String {
        let name = |aggregate| format!("{aggregate:?}").to_lowercase();
        self.step_aggregate.map(|aggregate| format!(", {} of the steps", name(aggregate))).unwrap_or_default()
    }

    /// Empty for a model that compares nothing.
    fn pairs(&self) -> String {
        self.pair_aggregate.map(|aggregate| format!(", {} of comparisons", aggregate.name())).unwrap_or_default()
    }

    fn label(&self) -> String {
        self.label.map(|label| format!(", label {label}")).unwrap_or_default()
    }

    /// What the run is, in words.
    pub(crate) fn described(&self) -> String {
        let size = match self.limit_per_subset {
            Some(limit) => format!("at most {limit} items a subset by seed {}", self.seed),
            None => "all items".to_owned(),
        };
        let protocol = if self.protocol.is_empty() { String::new() } else { format!(", {}", self.protocol) };
        let reader = self.reader.as_ref().map(|reader| format!(", read by {}{}", reader.name, self.steps()));
        let reader = reader.unwrap_or_default();
        let reference = self.reference.as_ref().map(|reference| format!(", against {}", reference.model));
        let reference = reference.unwrap_or_default();
        format!(
            "{}{} on {}{}, {size}, at most {} tokens{protocol}{}{}{reader}{reference}",
            self.model,
            self.dtype(),
            self.dataset,
            self.benchmark(),
            self.context_tokens,
            self.label(),
            self.pairs()
        )
    }
}
