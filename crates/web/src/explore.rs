//! Finding and showing the items of a run or a dataset.

use rewardscope_benchmarks::Item;
use rewardscope_eval::{ExploreQuery, Explorer, item_with, row_without_texts};
use wasm_bindgen::prelude::*;

use crate::bridge::{from_js, sentence, to_js};
use crate::opened::Opened;
use crate::session::Session;

/// Name of the current run, in the place of an open run's key.
pub(crate) const RUN: &str = "run";

/// Name of the open dataset, in the place of an open run's key.
pub(crate) const DATASET: &str = "dataset";

#[wasm_bindgen]
impl Session {
    /// Finds and sorts items. `of` says in what: `run` for the current run, `dataset` for the open dataset, or the key
    /// of an open run. `against` is the key of a second open run to compare with. `exploreRows` then gives the items.
    #[wasm_bindgen(unchecked_return_type = "Found")]
    pub fn explore(
        &self,
        of: &str,
        against: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "ExploreQuery")] query: JsValue,
    ) -> Result<JsValue, JsError> {
        let query: ExploreQuery = from_js(query)?;
        let tried = self.journal.borrow().as_ref().map_or(0, |journal| journal.run().results().len());
        let key = format!("{of} {} {tried} {}", against.as_deref().unwrap_or_default(), self.datasets.get());
        if self.explorer.borrow().0 != key {
            let explorer = self.explorer_of(of, against.as_deref())?;
            *self.explorer.borrow_mut() = (key, explorer);
        }
        let found = self.with_texts(of, |texts| self.explorer.borrow_mut().1.find(&query, texts));
        to_js(&found)
    }

    /// Up to `count` of the items that `explore` found last, from index `from` on. `of` as in that call.
    #[wasm_bindgen(js_name = exploreRows, unchecked_return_type = "ItemSummary[]")]
    pub fn explore_rows(&self, of: &str, from: usize, count: usize) -> Result<JsValue, JsError> {
        to_js(&self.with_texts(of, |texts| self.explorer.borrow().1.window(from, count, texts)))
    }

    /// Everything known about one item that `explore` found, with its scores in the second run `against`. `place` is
    /// the `item` of its `ItemSummary`. `of` and `against` as in the call of `explore`.
    #[wasm_bindgen(js_name = exploreItem, unchecked_return_type = "ItemReport")]
    pub fn explore_item(&self, of: &str, against: Option<String>, place: usize) -> Result<JsValue, JsError> {
        let runs = self.runs.borrow();
        let opened =
            |key: Option<&str>| key.and_then(|key| runs.iter().find(|run| run.key == key)).map(|run| &run.file);
        let second = opened(against.as_deref());
        let none = || sentence(format!("looking at item {place}: there is no such item; look for it again"));
        if of == RUN {
            return self.with_run(|run| to_js(&run.item_report(place, second).ok_or_else(none)?));
        }
        let explorer = self.explorer.borrow();
        let (text, subset, id) = explorer.1.item(place).ok_or_else(none)?;
        let first = opened(Some(of));
        let dataset = self.dataset.borrow();
        let report = match (text.and_then(|at| dataset.1.get(at)), first) {
            (Some(item), first) => item_with(item, first, second),
            (None, Some(first)) => row_without_texts(first, subset, id, second).ok_or_else(none)?,
            (None, None) => return Err(none()),
        };
        to_js(&report)
    }
}

impl Session {
    pub(crate) fn explorer_of(&self, of: &str, against: Option<&str>) -> Result<Explorer, JsError> {
        let marks =
            |run: &Opened| run.file.marks(run.benchmark, run.variant).map(|marks| marks.items).map_err(sentence);
        let mut explorer = match of {
            RUN => self.with_run(|run| Explorer::of_run(run).map_err(sentence))?,
            DATASET => Explorer::of_dataset(&self.dataset.borrow().1),
            key => {
                self.with_opened(key, |run| Ok(Explorer::of_file(&run.file, &marks(run)?, &self.dataset.borrow().1)))?
            }
        };
        if let Some(key) = against {
            self.with_opened(key, |run| {
                explorer.against(&run.file, &marks(run)?);
                Ok(())
            })?;
        }
        Ok(explorer)
    }

    /// Calls `use_texts` with the items whose texts belong to `of`.
    pub(crate) fn with_texts<T>(&self, of: &str, use_texts: impl FnOnce(&[Item]) -> T) -> T {
        let journal = self.journal.borrow();
        match journal.as_ref().filter(|_| of == RUN) {
            Some(journal) => use_texts(journal.run().items()),
            None => use_texts(&self.dataset.borrow().1),
        }
    }
}
