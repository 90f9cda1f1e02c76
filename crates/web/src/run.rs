//! The current run: the loaded model over the open dataset, with its journal.

use std::rc::Rc;

use js_sys::Function;
use rewardscope_benchmarks::Selection;
use rewardscope_eval::{
    ClaimError, Claims, DriveError, Driven, Journal, Run, RunIdentity, RunReport, check_scorer, drive,
    reference_scores, reference_summary, score_claim,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::{engine_sentence, sentence, tell, to_js};
use crate::session::Session;

/// A run's files in the reference evaluator's form, as JSON texts.
#[derive(Serialize, tsify::Tsify)]
pub struct ReferenceFiles {
    /// The file of scores.
    pub scores: String,
    /// The summary: the mark of each subset.
    pub summary: String,
}

impl Driven for Session {
    fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T> {
        Some(use_run(self.journal.borrow_mut().as_mut()?, &mut self.claims.borrow_mut()))
    }
}

#[wasm_bindgen]
impl Session {
    /// The current run's files in the reference evaluator's form.
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

    /// Opens the run of the loaded model over the open dataset, as the current run. `subset` selects one subset; `limit`
    /// is the most items per subset, drawn by `seed`. Without them, all items run. Items that were scored earlier keep
    /// their outcomes, unless `anew` discards them.
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
        // Close the old journal's file first: it may be the same one.
        self.close_run();
        let selection = Selection { limit_per_subset: limit, seed: u64::from(seed) };
        let (name, mut items) = self.dataset.borrow().clone();
        if let Some(subset) = subset {
            items.retain(|item| item.subset == subset);
        }
        if items.is_empty() {
            return Err(sentence("running: no dataset is open, or it has no such subset; open one first"));
        }
        check_scorer(&scorer, self.benchmark()).map_err(sentence)?;
        let identity = RunIdentity::new(scorer.report(), self.benchmark(), &name, &items, selection);
        let place = format!("{}.jsonl", identity.key());
        let device = &scorer.report().device;
        let journal = Journal::open(&place, identity, &items, device, self.clock(), anew).await.map_err(sentence)?;
        let progress = to_js(&journal.progress());
        *self.journal.borrow_mut() = Some(journal);
        *self.claims.borrow_mut() = Claims::default();
        progress
    }

    /// Estimates the size of what is left of the run. A trial on one item measures the speed.
    #[wasm_bindgen(unchecked_return_type = "Estimate")]
    pub async fn estimate(&self) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        let run = self.with_run(|run| Ok(run.clone()))?;
        Ok(to_js(&run.estimate(&scorer, &cancel).await.map_err(engine_sentence)?)?)
    }

    /// Scores what is left of the run. After `cancel`, finished items keep their outcomes and the call can be repeated.
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

    /// Claims the run's next item for another worker and returns it as JSON text for `scoreClaim`. `undefined` where no
    /// item is free now. `helpers` is the number of workers that score besides this one. Each item's milliseconds are
    /// divided by the number of all workers, so that their sum stays the elapsed time.
    pub fn claim(&self, helpers: usize) -> Option<String> {
        let journal = self.journal.borrow();
        let journal = journal.as_ref()?;
        let mut claims = self.claims.borrow_mut();
        claims.share_with(helpers);
        claims.claim_text(journal.run(), journal.clock())
    }

    /// Frees a claimed item whose worker will not bring an outcome. `place` is the claim's field of that name.
    pub fn release(&self, place: usize) {
        self.claims.borrow_mut().release(place);
    }

    /// Takes the outcome of a claimed item, as `scoreClaim` returned it in another worker.
    pub fn bring(&self, outcome: &str) -> Result<(), JsError> {
        let fits = self.with_run(|run| Ok(self.claims.borrow_mut().bring_text(run, outcome)))?;
        if fits { Ok(()) } else { Err(sentence("taking an outcome: one of an item of this run was expected")) }
    }

    /// Scores an item of a run that another worker keeps. `claim` is the text that `claim` returned there; the result
    /// is the text for `bring` there.
    #[wasm_bindgen(js_name = scoreClaim)]
    pub async fn score_claim(&self, claim: String) -> Result<String, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        score_claim(&scorer, &claim, &cancel).await.map_err(|error| match error {
            ClaimError::Engine(error) => engine_sentence(error),
            other => sentence(other).into(),
        })
    }

    /// Closes the current run and its journal, so that another tab can open it.
    #[wasm_bindgen(js_name = closeRun)]
    pub fn close_run(&self) {
        self.journal.take();
        self.report.take();
        // The explorer may hold items of this run.
        self.explorer.take();
    }

    /// What the current run's scores show besides the marks. Needs the loaded model.
    #[wasm_bindgen(unchecked_return_type = "Insight")]
    pub fn insight(&self) -> Result<JsValue, JsError> {
        let scorer = self.scorer.borrow();
        let scorer = scorer.as_ref().ok_or_else(|| sentence("looking at the run: no model is open"))?;
        let report = self.run_report()?;
        self.with_run(|run| to_js(&run.insight(&report.assessment, scorer.report())))
    }

    /// The report of the current run so far.
    #[wasm_bindgen(unchecked_return_type = "RunReport")]
    pub fn report(&self) -> Result<JsValue, JsError> {
        to_js(&*self.run_report()?)
    }

    /// The current run's scores as a file of scores: JSON Lines, one row per scored item.
    #[wasm_bindgen(js_name = scoreFile)]
    pub fn score_file(&self) -> Result<String, JsError> {
        self.with_run(|run| {
            let lines: Result<Vec<String>, _> = run.scored_rows().iter().map(serde_json::to_string).collect();
            Ok(lines.map_err(sentence)?.into_iter().map(|line| line + "\n").collect())
        })
    }

    /// The current run's marks as JSON text, each number in its shortest exact form.
    #[wasm_bindgen(js_name = marksJson)]
    pub fn marks_json(&self) -> Result<String, JsError> {
        self.with_run(|run| serde_json::to_string(&run.marks().map_err(sentence)?).map_err(sentence))
    }
}

impl Session {
    /// The current run's report. It is made again only when more items are done.
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
