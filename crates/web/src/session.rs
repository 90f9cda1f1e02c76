//! What the page has open: one model, one dataset, one run, and runs beside it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rewardscope_benchmarks::{Benchmark, Item, reward_bench_2};
use rewardscope_engine::{Cancel, Clock, RewardHead, Scorer};
use rewardscope_eval::{Claims, DatasetColumns, Explorer, Journal, RunReport, Skipped};
use rewardscope_fit::FeatureCache;
use rewardscope_store::{HUB, Hub, Shelf, Store, Token};
use wasm_bindgen::prelude::*;

use crate::bridge::{clock, sentence};
use crate::opened::Opened;

/// The model, dataset and run that the page has open.
#[wasm_bindgen]
#[derive(Default)]
pub struct Session {
    pub(crate) scorer: RefCell<Option<Rc<Scorer>>>,
    pub(crate) store: RefCell<Option<Store>>,
    pub(crate) dataset: RefCell<(String, Vec<Item>)>,
    /// The rows of it that were skipped.
    pub(crate) skipped: RefCell<Vec<Skipped>>,
    /// RewardBench 2 where nothing else is known.
    pub(crate) benchmark: Cell<Option<&'static Benchmark>>,
    /// What was asked for; what the columns show where nothing was.
    pub(crate) asked: Cell<Option<&'static Benchmark>>,
    pub(crate) columns: RefCell<Option<DatasetColumns>>,
    pub(crate) split: RefCell<Option<String>>,
    /// What chat templates are told, where it is not now.
    pub(crate) date: Cell<Option<Clock>>,
    pub(crate) journal: RefCell<Option<Journal>>,
    /// The run's report, and of how many items it is.
    pub(crate) report: RefCell<Option<(usize, Rc<RunReport>)>>,
    pub(crate) runs: RefCell<Vec<Opened>>,
    /// What is looked at, and which that is.
    pub(crate) explorer: RefCell<(String, Explorer)>,
    /// How often another dataset was opened.
    pub(crate) datasets: Cell<usize>,
    pub(crate) claims: RefCell<Claims>,
    pub(crate) features: RefCell<Option<FeatureCache>>,
    pub(crate) fitted: RefCell<Option<RewardHead>>,
    pub(crate) cancel: RefCell<Cancel>,
    pub(crate) busy: Cell<bool>,
}

/// Marks the session busy while it lives, so that two long calls never interleave.
pub(crate) struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[wasm_bindgen]
impl Session {
    /// A session with nothing open.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which Hub is asked and as whom, and whether files are kept on the visitor's device. The
    /// token stays in memory.
    pub fn configure(&self, endpoint: Option<String>, token: Option<String>, keep: bool) -> Result<(), JsError> {
        let token = token.as_deref().and_then(Token::new);
        let hub = Hub::new(endpoint.as_deref().unwrap_or(HUB), token).map_err(sentence)?;
        *self.store.borrow_mut() = Some(Store::new(hub, Shelf::new(keep)));
        Ok(())
    }

    /// Stops the long call that is under way at its next step.
    pub fn cancel(&self) {
        self.cancel.borrow().cancel();
    }

    /// What chat templates are told of the time.
    pub(crate) fn clock(&self) -> Clock {
        self.date.get().unwrap_or_else(clock)
    }

    pub(crate) fn benchmark(&self) -> &'static Benchmark {
        self.benchmark.get().unwrap_or(&reward_bench_2::BENCHMARK)
    }

    pub(crate) fn store(&self) -> Result<Store, JsError> {
        if self.store.borrow().is_none() {
            self.configure(None, None, true)?;
        }
        self.store.borrow().clone().ok_or_else(|| sentence("fetching: the store is not set up"))
    }

    pub(crate) fn scorer(&self) -> Result<Rc<Scorer>, JsError> {
        self.scorer.borrow().clone().ok_or_else(|| sentence("scoring: no model is loaded; load one first"))
    }

    pub(crate) fn begin(&self) -> Result<(Busy<'_>, Cancel), JsError> {
        if self.busy.replace(true) {
            return Err(sentence("the engine is at work already; wait, or cancel that first"));
        }
        let cancel = Cancel::default();
        *self.cancel.borrow_mut() = cancel.clone();
        Ok((Busy(&self.busy), cancel))
    }
}
