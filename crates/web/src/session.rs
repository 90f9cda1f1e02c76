//! The state of the page's worker: one model, one dataset, the current run, and open runs.

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

/// The model, dataset and runs that the page has open. All calls of the worker are methods of this class.
///
/// Only one long call runs at a time; a second one fails until the first ends or `cancel` stops it.
#[wasm_bindgen]
#[derive(Default)]
pub struct Session {
    pub(crate) scorer: RefCell<Option<Rc<Scorer>>>,
    pub(crate) store: RefCell<Option<Store>>,
    pub(crate) dataset: RefCell<(String, Vec<Item>)>,
    /// The skipped rows of the open dataset.
    pub(crate) skipped: RefCell<Vec<Skipped>>,
    /// The open dataset's benchmark; RewardBench 2 before a dataset is open.
    pub(crate) benchmark: Cell<Option<&'static Benchmark>>,
    /// The benchmark that `chooseBenchmark` named; `None` to find it by the columns.
    pub(crate) asked: Cell<Option<&'static Benchmark>>,
    pub(crate) columns: RefCell<Option<DatasetColumns>>,
    pub(crate) split: RefCell<Option<String>>,
    /// Time that chat templates are told; `None` for the current time.
    pub(crate) date: Cell<Option<Clock>>,
    pub(crate) journal: RefCell<Option<Journal>>,
    /// The current run's report, with the number of items done when it was made.
    pub(crate) report: RefCell<Option<(usize, Rc<RunReport>)>>,
    pub(crate) runs: RefCell<Vec<Opened>>,
    /// The explorer of the last `explore` call, with a key that tells what it was made from.
    pub(crate) explorer: RefCell<(String, Explorer)>,
    /// Number of datasets opened so far; part of the explorer's key.
    pub(crate) datasets: Cell<usize>,
    pub(crate) claims: RefCell<Claims>,
    /// Files picked as the reference of the next model.
    pub(crate) reference: RefCell<Vec<web_sys::File>>,
    pub(crate) features: RefCell<Option<FeatureCache>>,
    pub(crate) fitted: RefCell<Option<RewardHead>>,
    pub(crate) cancel: RefCell<Cancel>,
    pub(crate) busy: Cell<bool>,
}

/// Guard that marks the session busy while it exists, so that two long calls never interleave.
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

    /// Sets how files are fetched. `endpoint` is the Hub's address, huggingface.co when left out; `token` is an access
    /// token for the Hub, which stays in memory. `keep` says whether fetched files are stored on the visitor's device.
    pub fn configure(&self, endpoint: Option<String>, token: Option<String>, keep: bool) -> Result<(), JsError> {
        let token = token.as_deref().and_then(Token::new);
        let hub = Hub::new(endpoint.as_deref().unwrap_or(HUB), token).map_err(sentence)?;
        *self.store.borrow_mut() = Some(Store::new(hub, Shelf::new(keep)));
        Ok(())
    }

    /// Cancels the long call in progress; the call stops at its next step.
    pub fn cancel(&self) {
        self.cancel.borrow().cancel();
    }

    /// The time that chat templates are told.
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
