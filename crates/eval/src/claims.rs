//! Shares a run among several workers. Each worker claims the next free item, and the outcomes are stored in the run's
//! order.

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_benchmarks::Item;
use rewardscope_engine::{Cancel, Clock, EngineError, Scorer};
use serde::{Deserialize, Serialize};

use crate::journal::ItemLine;
use crate::run::{ItemOutcome, Run, score_item};

/// Most items that are claimed or wait for their turn. Outcomes that wait are only in memory: they are lost if the
/// worker that keeps the run dies.
const MOST_AHEAD: usize = 16;

/// The claimed items of a run, and the outcomes that wait for their turn. Places are indices into [`Run::items`].
#[derive(Debug, Default)]
pub struct Claims {
    begun: BTreeSet<usize>,
    ahead: BTreeMap<usize, ItemOutcome>,
    helpers: usize,
}

/// An item for another worker to score, as sent to that worker in JSON.
#[derive(Serialize, Deserialize)]
struct Claim {
    place: usize,
    /// Local time that chat templates are told, in seconds since 1970-01-01.
    local_seconds: i64,
    item: Item,
}

impl Claims {
    /// Sets the number of helpers: workers that score besides the one that keeps the run. Each item's milliseconds are
    /// divided by the number of workers, so that their sum over the run stays the elapsed time.
    pub fn share_with(&mut self, helpers: usize) {
        self.helpers = helpers;
    }

    /// Claims the next free item and gives its place. `None` where no item is free, or where the first unfinished item
    /// is too far behind.
    pub fn claim(&mut self, run: &Run) -> Option<usize> {
        let done = run.results().len();
        let free = |place: &usize| !self.begun.contains(place) && !self.ahead.contains_key(place);
        let place = (done..run.items().len().min(done + MOST_AHEAD)).find(free)?;
        self.begun.insert(place);
        Some(place)
    }

    /// As [`Self::claim`], but gives JSON text for [`score_claim`] in another worker. `clock` is the time that chat
    /// templates are told.
    pub fn claim_text(&mut self, run: &Run, clock: Clock) -> Option<String> {
        let place = self.claim(run)?;
        let claim = Claim { place, local_seconds: clock.local_seconds(), item: run.items()[place].clone() };
        match serde_json::to_string(&claim) {
            Ok(text) => Some(text),
            Err(_) => {
                self.release(place);
                None
            }
        }
    }

    /// Frees a claimed item, whose worker will not bring an outcome. The item can be claimed again.
    pub fn release(&mut self, place: usize) {
        self.begun.remove(&place);
    }

    /// Takes the outcome of the claimed item at `place`. An outcome that is not needed any more is dropped.
    pub fn bring(&mut self, run: &Run, place: usize, mut outcome: ItemOutcome) {
        self.begun.remove(&place);
        if (run.results().len()..run.items().len()).contains(&place) {
            outcome.ms /= (1 + self.helpers) as f64;
            self.ahead.insert(place, outcome);
        }
    }

    /// As [`Self::bring`], for the text that [`score_claim`] gave. `false` where the text fits no item of the run.
    pub fn bring_text(&mut self, run: &Run, text: &str) -> bool {
        let Ok(line) = serde_json::from_str::<ItemLine>(text) else {
            return false;
        };
        let place = line.place();
        match run.items().get(place).and_then(|item| line.outcome(item)) {
            Some(outcome) => {
                self.bring(run, place, outcome);
                true
            }
            None => false,
        }
    }

    /// The outcome of the run's next item; `None` until a worker has brought it.
    pub fn next(&mut self, run: &Run) -> Option<ItemOutcome> {
        self.ahead.remove(&run.results().len())
    }
}

/// Why a claimed item has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The text is no claim.
    #[error("taking an item of another worker's run: an item was expected; {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The item could not be scored.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Scores an item of a run that another worker keeps. `claim` is the text of [`Claims::claim_text`]; the result is the
/// text for [`Claims::bring_text`].
///
/// # Errors
/// As [`score_item`], and when the text is no claim.
pub async fn score_claim(scorer: &Scorer, claim: &str, cancel: &Cancel) -> Result<String, ClaimError> {
    let Claim { place, local_seconds, item } = serde_json::from_str(claim)?;
    scorer.set_clock(Clock::from_local_seconds(local_seconds));
    let outcome = score_item(scorer, &item, cancel).await?;
    Ok(serde_json::to_string(&ItemLine::new(place, &item, &outcome))?)
}

#[cfg(test)]
mod tests {
    use rewardscope_benchmarks::{Selection, reward_bench_2};

    use super::*;

    fn run(items: usize) -> Run {
        let item = |i: usize| Item {
            id: i.to_string(),
            subset: "Math".to_owned(),
            prompt: "How many?".to_owned(),
            turns: Vec::new(),
            completions: vec!["One.".to_owned(); 4],
            num_correct: 1,
            are_steps: false,
            models: Vec::new(),
        };
        let items: Vec<Item> = (0..items).map(item).collect();
        Run::new(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: None, seed: 0 })
    }

    fn outcome(ms: f64) -> ItemOutcome {
        ItemOutcome { scores: Err("none".to_owned()), remarks: Vec::new(), computed_tokens: 1, ms, position_bias: None }
    }

    #[test]
    fn outcomes_come_in_the_runs_order_whoever_is_first() {
        let (mut run, mut claims) = (run(3), Claims::default());
        claims.share_with(1);
        let places: Vec<Option<usize>> = (0..4).map(|_| claims.claim(&run)).collect();
        assert_eq!(places, [Some(0), Some(1), Some(2), None]);
        claims.bring(&run, 1, outcome(4.0));
        assert_eq!(claims.next(&run), None);
        claims.release(0);
        assert_eq!(claims.claim(&run), Some(0), "what nobody brings is claimed again");
        claims.bring(&run, 0, outcome(2.0));
        while let Some(outcome) = claims.next(&run) {
            run.push(outcome);
        }
        assert_eq!(run.results().iter().map(|result| result.outcome.ms).collect::<Vec<_>>(), [1.0, 2.0]);
        // Item 1 comes a second time, as when its first worker was given up too early.
        claims.bring(&run, 1, outcome(9.0));
        claims.bring(&run, 2, outcome(2.0));
        run.push(claims.next(&run).expect("the next outcome"));
        assert!(run.is_done() && claims.next(&run).is_none());
    }

    #[test]
    fn nobody_runs_far_ahead_of_an_item_that_takes_long() {
        let (run, mut claims) = (run(40), Claims::default());
        let claimed = std::iter::from_fn(|| claims.claim(&run)).count();
        assert_eq!(claimed, MOST_AHEAD);
        assert!(!claims.bring_text(&run, "{}"));
    }
}
