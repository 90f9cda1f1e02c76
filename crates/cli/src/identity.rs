//! What two runs over the same rows must share, for one to go on from the other's journal.

use std::path::Path;

use anyhow::bail;
use rewardscope_data::{RewardColumns, Shard};
use rewardscope_engine::{Clock, ModelReport, PairAggregate, Reader, StepAggregate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a later run must share with a journal's run to resume it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// What is recorded, such as `scores of every token`.
    rewardscope_rows: String,
    model_fingerprint: String,
    /// The model's name for messages; not compared.
    model: String,
    aggregate: Option<String>,
    context_tokens: usize,
    protocol: String,
    label: Option<usize>,
    dtype: Option<String>,
    /// The reader, and what becomes of its steps.
    #[serde(default)]
    reader: Option<(Reader, Option<StepAggregate>)>,
    /// What becomes of comparisons.
    #[serde(default)]
    pair_aggregate: Option<PairAggregate>,
    /// Which part of the rows is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard: Option<Shard>,
    /// The columns that rewards are written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<RewardColumns>,
    /// The time that chat templates are told for every row, in seconds of local time.
    local_seconds: i64,
}

impl Identity {
    /// That of a new run.
    pub fn new(what: &str, model: &ModelReport, clock: Clock) -> Self {
        Self {
            rewardscope_rows: what.to_owned(),
            model_fingerprint: model.fingerprint.clone(),
            model: named(model),
            aggregate: model.aggregate.map(|aggregate| format!("{aggregate:?}")),
            context_tokens: model.context_tokens,
            protocol: model.protocol.clone(),
            label: model.label,
            dtype: model.dtype.approximation().map(str::to_owned),
            reader: model.reader.clone().map(|reader| (reader, model.step_aggregate)),
            pair_aggregate: model.pair_aggregate,
            shard: None,
            columns: None,
            local_seconds: clock.local_seconds(),
        }
    }

    /// That of a run over a part of the rows.
    #[must_use]
    pub fn with_shard(self, shard: Option<Shard>) -> Self {
        Self { shard, ..self }
    }

    /// That of a run whose rewards are written to these columns.
    #[must_use]
    pub fn with_columns(self, columns: RewardColumns) -> Self {
        Self { columns: Some(columns), ..self }
    }

    /// The time that chat templates are told.
    pub fn clock(&self) -> Clock {
        Clock::from_local_seconds(self.local_seconds)
    }

    /// What a file says of the run that made it: what its parts, made by several machines, share. `tells_time` is whether
    /// the chat template asks for the date.
    ///
    /// # Errors
    /// Never in practice: all of it is JSON.
    pub fn about(&self, tells_time: bool) -> anyhow::Result<Value> {
        let mut about = serde_json::to_value(Self { shard: None, ..self.clone() })?;
        if let Some(about) = about.as_object_mut() {
            about.shift_remove("local_seconds");
            if tells_time {
                about.insert("template_date".to_owned(), self.clock().to_string().into());
            }
        }
        Ok(about)
    }

    /// The earlier run `found` in the journal at `place`, which this one goes on from. `date` is the time that `--date`
    /// asks for.
    ///
    /// # Errors
    /// When it is another run, or was told another time.
    pub fn resumed(self, found: Self, place: &Path, date: Option<Clock>) -> anyhow::Result<Self> {
        let same = Self { model: found.model.clone(), local_seconds: found.local_seconds, ..self };
        if found != same {
            bail!(
                "resuming {}: it belongs to a run for {} with {}; choose another output, or start over with --overwrite",
                place.display(),
                found.rewardscope_rows,
                found.model
            );
        }
        let clock = found.clock();
        if date.is_some_and(|date| date != clock) {
            bail!(
                "resuming {}: its chat templates were told the date {clock}, not that of --date; leave out --date, or start over with --overwrite",
                place.display()
            );
        }
        Ok(found)
    }
}

/// A model's Hub id, or the name of its file or folder, wherever that lies.
fn named(model: &ModelReport) -> String {
    let place = Path::new(&model.name).file_name().map(|name| name.to_string_lossy().into_owned());
    model.origin.clone().or(place).unwrap_or_else(|| model.name.clone())
}
