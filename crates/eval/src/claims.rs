//! A run that several workers score at once: each takes the next item that nobody has begun, and the
//! outcomes are kept in the run's order.

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_benchmarks::Item;
use rewardscope_engine::{Cancel, Clock, EngineError, Scorer};
use serde::{Deserialize, Serialize};

use crate::journal::ItemLine;
use crate::run::{ItemOutcome, Run, score_item};

/// What is brought before its turn is lost when the worker ends: at most so many items.
const MOST_AHEAD: usize = 16;

/// Who has begun what of a run.
#[derive(Debug, Default)]
pub struct Claims {
    begun: BTreeSet<usize>,
    ahead: BTreeMap<usize, ItemOutcome>,
    helpers: usize,
}

/// An item that another worker is to score, as it is sent there.
#[derive(Serialize, Deserialize)]
struct Claim {
    place: usize,
    /// What templates are told of the time.
    local_seconds: i64,
    item: Item,
}

impl Claims {
    /// How many others score beside the worker that keeps the run: an item's milliseconds are shared
    /// among them, so that the run's times stay those of a clock.
    pub fn share_with(&mut self, helpers: usize) {
        self.helpers = helpers;
    }

    /// The place of the next item that nobody has begun; `None` where there is none, or the first one
    /// that was begun is too far behind.
    pub fn claim(&mut self, run: &Run) -> Option<usize> {
        let done = run.results().len();
        let free = |place: &usize| !self.begun.contains(place) && !self.ahead.contains_key(place);
        let place = (done..run.items().len().min(done + MOST_AHEAD)).find(free)?;
        self.begun.insert(place);
        Some(place)
    }

    /// The item that [`Self::claim`] gives, to be sent to [`score_claim`] in another worker.
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

    /// An item that was claimed will not be brought by whoever claimed it.
    pub fn release(&mut self, place: usize) {
        self.begun.remove(&place);
    }

    /// Takes the outcome of a claimed item.
    pub fn bring(&mut self, run: &Run, place: usize, mut outcome: ItemOutcome) {
        self.begun.remove(&place);
        if (run.results().len()..run.items().len()).contains(&place) {
            outcome.ms /= (1 + self.helpers) as f64;
            self.ahead.insert(place, outcome);
        }
    }

    /// As [`Self::bring`], for what [`score_claim`] gave; whether it fits the run.
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

    /// The outcome of the run's next item, where somebody has brought it.
    pub fn next(&mut self, run: &Run) -> Option<ItemOutcome> {
        self.ahead.remove(&run.results().len())
    }
}

/// Why a claimed item has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// What came is no claim.
    #[error("taking an item of another worker's run: an item was expected; {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The item could not be scored.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Scores an item of a run that another worker keeps: what [`Claims::claim_text`] gave to what
/// [`Claims::bring_text`] takes.
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
            models: Vec::new(),
        };
        let items: Vec<Item> = (0..items).map(item).collect();
        Run::new(&reward_bench_2::BENCHMARK, &items, Selection { limit_per_subset: None, seed: 0 })
    }

    fn outcome(ms: f64) -> ItemOutcome {
        ItemOutcome { scores: Err("none".to_owned()), remarks: Vec::new(), computed_tokens: 1, ms }
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
        // Brought twice, as when its first worker was given up too early.
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
