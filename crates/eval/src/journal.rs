//! The journal of a run: a file of JSON Lines. The first line identifies the run. Each further line holds one finished
//! item, or the device that scores the items after it.

use rewardscope_benchmarks::{Item, NameError, Selection, Variant, benchmark};
use rewardscope_engine::{Clock, DeviceReport, PositionBias};
use rewardscope_store::{Log, LogPlace, StoreError};
use serde::{Deserialize, Serialize};

use crate::json_floats;
use crate::run::{CompletionScore, ItemOutcome, Run, RunProgress};
use crate::run_identity::RunIdentity;

/// Why a run cannot be continued from its journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The journal's file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal belongs to another run.
    #[error(
        "going on with {place}: a run of {expected} was expected, the journal is of {found}; choose another place, or forget it and start anew there (--restart)"
    )]
    OtherRun {
        /// The journal's file.
        place: String,
        /// The run that was to be continued.
        expected: String,
        /// The run that the journal belongs to.
        found: String,
    },
    /// The journal names an unknown benchmark.
    #[error("going on with {place}: {error}")]
    Benchmark {
        /// The journal's file.
        place: String,
        /// The name that was asked for, and the names that exist.
        error: NameError,
    },
    /// A complete line of the journal is not the line that belongs there.
    #[error("going on with {place}: {expected} was expected on line {line}, {found} was found; start the run anew")]
    Damaged {
        /// The journal's file.
        place: String,
        /// The line's number, from 1.
        line: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// One line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line: which run this is.
    Run {
        identity: Box<RunIdentity>,
        /// Items selected.
        items: usize,
        /// Local time that chat templates are told, the same for all items, in seconds since 1970-01-01.
        local_seconds: i64,
    },
    /// The device that scores the items that follow.
    Device {
        name: String,
        backend: String,
        version: String,
    },
    Item(ItemLine),
}

/// One item's outcome, as the journal stores it and as workers exchange it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ItemLine {
    item: usize,
    subset: String,
    id: String,
    #[serde(with = "json_floats")]
    scores: Vec<f64>,
    tokens: Vec<usize>,
    cut_tokens: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    /// `None` in journals older than the sharing of prompts: then every token was computed.
    #[serde(default)]
    computed_tokens: Option<usize>,
    ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position_bias: Option<PositionBias>,
}

impl ItemLine {
    pub fn new(place: usize, item: &Item, outcome: &ItemOutcome) -> Self {
        let scores = outcome.scores.as_deref().unwrap_or_default();
        Self {
            item: place,
            subset: item.subset.clone(),
            id: item.id.clone(),
            scores: scores.iter().map(|s| s.score).collect(),
            tokens: scores.iter().map(|s| s.tokens).collect(),
            cut_tokens: scores.iter().map(|s| s.cut_tokens).collect(),
            error: outcome.scores.as_ref().err().cloned(),
            remarks: outcome.remarks.clone(),
            computed_tokens: Some(outcome.computed_tokens),
            ms: outcome.ms,
            position_bias: outcome.position_bias,
        }
    }

    /// The item's index in the run, from 0.
    pub fn place(&self) -> usize {
        self.item
    }

    /// The outcome; `None` when the line has another number of scores or token counts than the item has completions.
    pub fn outcome(self, item: &Item) -> Option<ItemOutcome> {
        let computed_tokens = self.computed_tokens.unwrap_or_else(|| self.tokens.iter().sum());
        let scores = match self.error {
            Some(error) => Err(error),
            None => {
                let count = item.completions.len();
                if [self.scores.len(), self.tokens.len(), self.cut_tokens.len()] != [count; 3] {
                    return None;
                }
                let lengths = self.tokens.into_iter().zip(self.cut_tokens);
                let scores = self.scores.into_iter().zip(lengths);
                Ok(scores.map(|(score, (tokens, cut_tokens))| CompletionScore { score, tokens, cut_tokens }).collect())
            }
        };
        let Self { remarks, ms, position_bias, .. } = self;
        Some(ItemOutcome { scores, remarks, computed_tokens, ms, position_bias })
    }
}

/// A run with its journal: every finished item is on disk.
pub struct Journal {
    log: Log,
    identity: RunIdentity,
    run: Run,
    clock: Clock,
    /// Device line still to be written, before the first item that this device scores.
    device: Option<Line>,
}

impl Journal {
    /// Opens the journal at `place` for the run that `identity` describes. An empty journal starts the run; an existing
    /// one continues it. With `anew` an existing journal is discarded first.
    ///
    /// `dataset` holds all items, before the selection. `clock` is the time that chat templates are told; an existing
    /// journal keeps its own.
    ///
    /// # Errors
    /// When the journal belongs to another run, is damaged, is open elsewhere, or cannot be read or written; when the
    /// benchmark is unknown.
    pub async fn open(
        place: &LogPlace,
        identity: RunIdentity,
        dataset: &[Item],
        device: &DeviceReport,
        clock: Clock,
        anew: bool,
    ) -> Result<Self, JournalError> {
        let (log, lines) = Log::open(place, anew).await?;
        let shown = log.name().to_owned();
        let selection = Selection { limit_per_subset: identity.limit_per_subset, seed: identity.seed };
        let benchmark =
            benchmark(&identity.benchmark).map_err(|error| JournalError::Benchmark { place: shown.clone(), error })?;
        let mut run = Run::new(benchmark, dataset, selection);
        let damaged = |line: usize, expected: &str, found: String| JournalError::Damaged {
            place: shown.clone(),
            line: line + 1,
            expected: expected.to_owned(),
            found,
        };
        let mut clock = clock;
        for (number, line) in lines.iter().enumerate() {
            let parsed = serde_json::from_str(line).map_err(|e| damaged(number, "a journal's line", e.to_string()))?;
            match parsed {
                Line::Run { identity: found, local_seconds, .. } if number == 0 => {
                    if found.key() != identity.key() {
                        return Err(JournalError::OtherRun {
                            place: shown.clone(),
                            expected: identity.described(),
                            found: found.described(),
                        });
                    }
                    clock = Clock::from_local_seconds(local_seconds);
                }
                Line::Device { name, .. } if number > 0 => run.record_device(&name),
                Line::Item(line) if number > 0 => {
                    let next = run.next_item().filter(|item| {
                        (line.item, &line.subset, &line.id) == (run.results().len(), &item.subset, &item.id)
                    });
                    let found = format!("item {} ({}/{})", line.item, line.subset, line.id);
                    let outcome = next.and_then(|item| line.outcome(item));
                    let expected = format!("item {} of the run", run.results().len());
                    run.push(outcome.ok_or_else(|| damaged(number, &expected, found))?);
                }
                _ => {
                    return Err(damaged(
                        number,
                        "a run's header first, then its items",
                        line.chars().take(80).collect(),
                    ));
                }
            }
        }
        let mut journal = Self { log, identity, run, clock, device: None };
        if lines.is_empty() {
            let items = journal.run.items().len();
            let identity = Box::new(journal.identity.clone());
            journal.write(&Line::Run { identity, items, local_seconds: clock.local_seconds() })?;
        }
        journal.device = Some(Line::Device {
            name: device.name.clone(),
            backend: device.backend.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        Ok(journal)
    }

    /// The journal's file name, for messages.
    pub fn name(&self) -> &str {
        self.log.name()
    }

    /// The run's identity.
    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    /// The run so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// How far the run is.
    pub fn progress(&self) -> RunProgress {
        RunProgress { is_kept: self.log.is_kept(), ..self.run.progress() }
    }

    /// Marks the run by another variant of its benchmark from now on.
    pub fn mark_by(&mut self, variant: &'static Variant) {
        self.run.mark_by(variant);
    }

    /// The time that chat templates are told. It stays that of the run's start, so that an item scored the next day
    /// gets the same date.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Stores the outcome of [`Run::next_item`]. The outcome is on disk when this returns.
    ///
    /// # Errors
    /// When the outcome cannot be written; then the item has none.
    pub fn push(&mut self, outcome: ItemOutcome) -> Result<(), StoreError> {
        if let Some(device) = self.device.take() {
            if let Err(error) = self.write(&device) {
                self.device = Some(device);
                return Err(error);
            }
            if let Line::Device { name, .. } = &device {
                self.run.record_device(name);
            }
        }
        if let Some(item) = self.run.next_item() {
            let line = Line::Item(ItemLine::new(self.run.results().len(), item, &outcome));
            self.write(&line)?;
            self.run.push(outcome);
        }
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), StoreError> {
        let text = serde_json::to_string(line)
            .map_err(|e| StoreError::Read { name: self.log.name().to_owned(), reason: e.to_string() })?;
        self.log.append(&text)
    }
}

/// What a journal tells without the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct JournalSummary {
    /// The run's identity.
    pub identity: RunIdentity,
    /// Items that have an outcome.
    pub items_done: usize,
    /// Items selected.
    pub items_total: usize,
}

impl JournalSummary {
    /// Summarises a journal's text; `None` when the text is no journal.
    pub fn of(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let Ok(Line::Run { identity, items, .. }) = serde_json::from_str(lines.next()?) else {
            return None;
        };
        let items_done = lines.filter(|line| line.starts_with("{\"item\":")).count();
        Some(Self { identity: *identity, items_done, items_total: items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;
    use rewardscope_benchmarks::reward_bench_2;
    use rewardscope_engine::{Aggregate, ModelReport, Reader};
    use std::path::PathBuf;

    fn item(id: &str) -> Item {
        Item {
            id: id.to_owned(),
            subset: "Math".to_owned(),
            prompt: "Why?".to_owned(),
            completions: vec!["a".to_owned(), "b".to_owned()],
            num_correct: 1,
            are_steps: false,
            models: Vec::new(),
            turns: Vec::new(),
        }
    }

    fn identity(model: &str, items: &[Item]) -> RunIdentity {
        let device = device("CPU");
        let model = ModelReport {
            notes: Vec::new(),
            name: "m".to_owned(),
            origin: None,
            template: "tokenizer".to_owned(),
            fingerprint: model.to_owned(),
            backbone_fingerprint: model.to_owned(),
            head: None,
            hidden_size: 1,
            architecture: "Llama".to_owned(),
            is_reward_model: true,
            aggregate: None,
            context_tokens: 64,
            protocol: String::new(),
            reading: String::new(),
            reader: None,
            reference: None,
            step_aggregate: None,
            label: None,
            pair_aggregate: None,
            tokenizer_fingerprint: String::new(),
            template_seconds: None,
            layers: 1,
            parameters: 1,
            weight_bytes: 4,
            dtype: rewardscope_engine::Dtype::Auto,
            device_bytes: 4,
            device,
            self_test: rewardscope_engine::SelfTest::default(),
            load_ms: 0.0,
        };
        RunIdentity::new(
            &model,
            &reward_bench_2::BENCHMARK,
            "rows",
            items,
            Selection { limit_per_subset: None, seed: 0 },
        )
    }

    fn device(name: &str) -> DeviceReport {
        DeviceReport {
            kind: rewardscope_engine::DeviceKind::Cpu,
            name: name.to_owned(),
            backend: "flex".to_owned(),
            software: false,
            reason: String::new(),
            calibration: None,
        }
    }

    fn outcome(scores: [f64; 2]) -> ItemOutcome {
        let score = |score| CompletionScore { score, tokens: 7, cut_tokens: 0 };
        ItemOutcome {
            scores: Ok(scores.map(score).to_vec()),
            remarks: vec!["so".to_owned()],
            computed_tokens: 9,
            ms: 1.5,
            position_bias: Some(PositionBias { pairs: 1, turned: 0, lean: 0.25 }),
        }
    }

    fn open(path: &PathBuf, model: &str, items: &[Item], on: &str, anew: bool) -> Result<Journal, JournalError> {
        let clock = Clock::from_local_seconds(if on == "CPU" { 1000 } else { 99_000 });
        block_on(Journal::open(path, identity(model, items), items, &device(on), clock, anew))
    }

    #[test]
    fn a_run_goes_on_from_its_journal() {
        let path = std::env::temp_dir().join(format!("rewardscope-journal-{}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let items = [item("1"), item("2"), item("3")];
        let mut journal = open(&path, "f", &items, "CPU", false).expect("new");
        let odd = outcome([0.1 + 0.2, f64::NAN]);
        journal.push(odd).expect("written");
        let (scores, remarks) = (Err("Math/2: no".to_owned()), Vec::new());
        let failed = ItemOutcome { scores, remarks, computed_tokens: 0, ms: 0.0, position_bias: None };
        journal.push(failed.clone()).expect("written");
        drop(journal);

        // The third item's line is incomplete, as when the process ends while it writes.
        let text = std::fs::read_to_string(&path).expect("there");
        std::fs::write(&path, format!("{text}{{\"item\":{{\"item\":2,\"sub")).expect("torn");
        let summary = JournalSummary::of(&text).expect("a journal");
        assert_eq!((summary.items_done, summary.items_total), (2, 3));
        let mut journal = open(&path, "f", &items, "GPU", false).expect("goes on");
        assert_eq!(journal.run().results().len(), 2);
        assert_eq!(journal.clock().local_seconds(), 1000);
        let kept = journal.run().results()[0].outcome.scores.as_ref().expect("scores");
        assert_eq!(kept[0].score.to_bits(), (0.1f64 + 0.2).to_bits());
        assert!(kept[1].score.is_nan());
        assert_eq!(journal.run().results()[1].outcome, failed);
        journal.push(outcome([1.0, 2.0])).expect("written");
        assert!(journal.run().is_done());
        assert!(journal.run().device_remark().expect("two devices").contains("CPU, GPU"));
        drop(journal);

        let message = open(&path, "g", &items, "CPU", false).err().expect("another model").to_string();
        assert!(message.contains("m on rows"), "{message}");
        let renamed = [item("1"), item("2"), item("4")];
        assert!(open(&path, "f", &renamed, "CPU", false).is_err());
        let text = std::fs::read_to_string(&path).expect("there");
        let doubled = text.lines().chain(text.lines().filter(|l| l.contains("\"item\":0"))).collect::<Vec<_>>();
        std::fs::write(&path, doubled.join("\n") + "\n").expect("doubled");
        let message = open(&path, "f", &items, "CPU", false).err().expect("an item twice").to_string();
        assert!(message.contains("line 7"), "{message}");
        assert_eq!(open(&path, "g", &items, "CPU", true).expect("anew").run().results().len(), 0);
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn what_changes_a_score_makes_another_run() {
        let items = [item("1")];
        let plain = identity("f", &items);
        let other = |change: fn(&mut RunIdentity)| {
            let mut identity = plain.clone();
            change(&mut identity);
            identity.key()
        };
        let keys = [
            plain.key(),
            other(|run| run.label = Some(0)),
            other(|run| run.label = Some(1)),
            other(|run| run.protocol = "format tulu".to_owned()),
            other(|run| run.context_tokens = 32),
            other(|run| run.aggregate = Some(Aggregate::Sum)),
            other(|run| run.reader = Reader::named("criterion").ok()),
            other(|run| run.reader = Reader::named("criterion-digit").ok()),
            other(|run| run.dtype = Some("q8".to_owned())),
            other(|run| run.seed = 1),
        ];
        // The seed selects nothing where all items run.
        assert_eq!(keys[0], keys[9]);
        let different: std::collections::BTreeSet<&String> = keys[..9].iter().collect();
        assert_eq!(different.len(), 9);
    }
}
