//! The journalled run of the loaded model over the open dataset.

use std::rc::Rc;

use js_sys::Function;
use rewardscope_benchmarks::Selection;
use rewardscope_eval::{
    ClaimError, Claims, DriveError, Driven, Journal, Run, RunIdentity, RunReport, drive, reference_scores,
    reference_summary, score_claim,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::{engine_sentence, sentence, tell, to_js};
use crate::session::Session;

/// A run as the reference evaluator writes it.
#[derive(Serialize, tsify::Tsify)]
pub struct ReferenceFiles {
    /// Its file of scores.
    pub scores: String,
    /// Its file of marks.
    pub summary: String,
}

impl Driven for Session {
    fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T> {
        Some(use_run(self.journal.borrow_mut().as_mut()?, &mut self.claims.borrow_mut()))
    }
}

#[wasm_bindgen]
impl Session {
    /// The journal's run as the reference evaluator writes it.
    #[wasm_bindgen(js_name = referenceFiles, unchecked_return_type = "ReferenceFiles")]
    pub fn reference_files(&self) -> Result<JsValue, JsError> {
        let scorer = self.scorer()?;
        self.with_run(|run| {
            let marks = run.marks().map_err(sentence)?;
            let text = |value| serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(sentence);
            to_js(&ReferenceFiles {
                scores: text(reference_scores(run, &marks, scorer.report()))?,
                summary: text(reference_summary(&marks, scorer.report()))?,
            })
        })
    }

    /// Opens the run of the loaded model over the items selected: those of one subset where it is
    /// named, at most `limit` a subset, all without one. What was scored of it earlier is there already, unless `anew` forgets it.
    #[wasm_bindgen(unchecked_return_type = "RunProgress")]
    pub async fn plan(
        &self,
        subset: Option<String>,
        limit: Option<usize>,
        seed: u32,
        anew: bool,
    ) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        let scorer = self.scorer()?;
        // The old journal's file is closed before it may be opened again.
        self.close_run();
        let selection = Selection { limit_per_subset: limit, seed: u64::from(seed) };
        let (name, mut items) = self.dataset.borrow().clone();
        if let Some(subset) = subset {
            items.retain(|item| item.subset == subset);
        }
        if items.is_empty() {
            return Err(sentence("running: no dataset is open, or it has no such subset; open one first"));
        }
        let identity = RunIdentity::new(scorer.report(), self.benchmark(), &name, &items, selection);
        let place = format!("{}.jsonl", identity.key());
        let device = &scorer.report().device;
        let journal = Journal::open(&place, identity, &items, device, self.clock(), anew).await.map_err(sentence)?;
        let progress = to_js(&journal.run().progress());
        *self.journal.borrow_mut() = Some(journal);
        *self.claims.borrow_mut() = Claims::default();
        progress
    }

    /// The size of what is left of the run, with a trial for the speed.
    #[wasm_bindgen(unchecked_return_type = "Estimate")]
    pub async fn estimate(&self) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        let run = self.with_run(|run| Ok(run.clone()))?;
        Ok(to_js(&run.estimate(&scorer, &cancel).await.map_err(engine_sentence)?)?)
    }

    /// Scores what is left of the run; cancelled, it keeps what is done and can be called again.
    pub async fn run(
        &self,
        #[wasm_bindgen(unchecked_param_type = "(progress: RunProgress) => void")] progress: Function,
    ) -> Result<(), JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        let driven = drive(&scorer, self, &cancel, &mut |now| tell(&progress, &now)).await;
        driven.map_err(|error| match error {
            DriveError::Engine(error) => engine_sentence(error),
            other => sentence(other).into(),
        })
    }

    /// An item of the run for another worker to score, one of so many; none where there is none for
    /// now.
    pub fn claim(&self, helpers: usize) -> Option<String> {
        let journal = self.journal.borrow();
        let journal = journal.as_ref()?;
        let mut claims = self.claims.borrow_mut();
        claims.share_with(helpers);
        claims.claim_text(journal.run(), journal.clock())
    }

    /// An item that was claimed will not be brought.
    pub fn release(&self, place: usize) {
        self.claims.borrow_mut().release(place);
    }

    /// The outcome of an item that another worker scored.
    pub fn bring(&self, outcome: &str) -> Result<(), JsError> {
        let fits = self.with_run(|run| Ok(self.claims.borrow_mut().bring_text(run, outcome)))?;
        if fits { Ok(()) } else { Err(sentence("taking an outcome: one of an item of this run was expected")) }
    }

    /// Scores an item of a run that another worker keeps.
    #[wasm_bindgen(js_name = scoreClaim)]
    pub async fn score_claim(&self, claim: String) -> Result<String, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        score_claim(&scorer, &claim, &cancel).await.map_err(|error| match error {
            ClaimError::Engine(error) => engine_sentence(error),
            other => sentence(other).into(),
        })
    }

    /// Closes the run's journal, so that another tab can open it.
    #[wasm_bindgen(js_name = closeRun)]
    pub fn close_run(&self) {
        self.journal.take();
        self.report.take();
        // It may be what was looked at.
        self.explorer.take();
    }

    /// What the run's scores say beside the marks.
    #[wasm_bindgen(unchecked_return_type = "Insight")]
    pub fn insight(&self) -> Result<JsValue, JsError> {
        let scorer = self.scorer.borrow();
        let scorer = scorer.as_ref().ok_or_else(|| sentence("looking at the run: no model is open"))?;
        let report = self.run_report()?;
        self.with_run(|run| to_js(&run.insight(&report.assessment, scorer.report())))
    }

    /// What the run has come to so far.
    #[wasm_bindgen(unchecked_return_type = "RunReport")]
    pub fn report(&self) -> Result<JsValue, JsError> {
        to_js(&*self.run_report()?)
    }

    /// The run's scores as a score file, JSON Lines.
    #[wasm_bindgen(js_name = scoreFile)]
    pub fn score_file(&self) -> Result<String, JsError> {
        self.with_run(|run| {
            let lines: Result<Vec<String>, _> = run.scored_rows().iter().map(serde_json::to_string).collect();
            Ok(lines.map_err(sentence)?.into_iter().map(|line| line + "\n").collect())
        })
    }

    /// The run's marks as JSON, each number in its shortest exact form.
    #[wasm_bindgen(js_name = marksJson)]
    pub fn marks_json(&self) -> Result<String, JsError> {
        self.with_run(|run| serde_json::to_string(&run.marks().map_err(sentence)?).map_err(sentence))
    }
}

impl Session {
    /// Made once for so many items.
    pub(crate) fn run_report(&self) -> Result<Rc<RunReport>, JsError> {
        self.with_run(|run| {
            let done = run.results().len();
            if let Some((_, report)) = self.report.borrow().as_ref().filter(|(of, _)| *of == done) {
                return Ok(Rc::clone(report));
            }
            let report = Rc::new(run.report().map_err(sentence)?);
            *self.report.borrow_mut() = Some((done, Rc::clone(&report)));
            Ok(report)
        })
    }

    pub(crate) fn with_run<T>(&self, use_run: impl FnOnce(&Run) -> Result<T, JsError>) -> Result<T, JsError> {
        let journal = self.journal.borrow();
        use_run(journal.as_ref().ok_or_else(|| sentence("reporting: no run was started"))?.run())
    }
}
