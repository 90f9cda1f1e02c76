//! Open runs: opened from files, or kept from the current run.

use js_sys::Function;
use rewardscope_benchmarks::{Benchmark, Variant, benchmark};
use rewardscope_engine::LoadProgress;
use rewardscope_eval::{BoardRow, Insight, RunComparison, RunFile, RunsTogether, ScoreFile, marked_as, marks_json};
use rewardscope_store::{FetchProgress, Hasher, Source};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::{host, sentence, tell, to_js};
use crate::opened::Opened;
use crate::session::Session;

/// The full report of an open run.
#[derive(Serialize, tsify::Tsify)]
pub struct OpenedReport {
    /// What the scores show besides the marks.
    pub insight: Insight,
    /// The marks and the analysis of the scores as JSON text, as the command writes it.
    pub json: String,
}

/// Most bytes of a score file to open. A larger file, as text and as rows, would not fit into memory beside a model.
const MOST_RUN_BYTES: u64 = 512 << 20;

#[wasm_bindgen]
impl Session {
    /// Opens a file of scores, a run file or a reference evaluator's file, and marks it. A run file is marked by the
    /// benchmark that it names; another file by `benchmark`, else by what its rows look like: RewardBench 2 or
    /// preferences. `variant` is one of the benchmark's variants. `key` is the key of a run that was made in this
    /// visit; without it, the key comes from the file's content. An open run with the same key is replaced.
    #[wasm_bindgen(js_name = openRun, unchecked_return_type = "OpenedRun")]
    pub async fn open_run(
        &self,
        file: web_sys::File,
        benchmark: Option<String>,
        variant: Option<String>,
        key: Option<String>,
    ) -> Result<JsValue, JsError> {
        self.open_scores(&Source::picked(&file), benchmark.as_deref(), variant.as_deref(), key).await
    }

    /// As `openRun`, for a file at an address.
    #[wasm_bindgen(js_name = openRunAddress, unchecked_return_type = "OpenedRun")]
    pub async fn open_run_address(
        &self,
        address: String,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let source = store.address(address.trim(), &cancel, tell).await.map_err(sentence)?;
        self.open_scores(&source, None, None, None).await
    }

    /// Adds the current run to the open runs, as a run file would hold it.
    #[wasm_bindgen(js_name = keepRun, unchecked_return_type = "OpenedRun")]
    pub fn keep_run(&self) -> Result<JsValue, JsError> {
        let scorer = self.scorer()?;
        let (key, file, marked) = {
            let journal = self.journal.borrow();
            let journal = journal.as_ref().ok_or_else(|| sentence("keeping a run: none was started"))?;
            let marked = (journal.run().benchmark(), journal.run().variant());
            let run = RunFile::new(journal.run(), journal.identity(), scorer.report(), &host(), journal.clock())
                .map_err(sentence)?;
            let files = journal.identity().dataset.split(", ");
            let name = files.map(|file| file.rsplit('/').next().unwrap_or(file)).collect::<Vec<_>>().join(", ");
            (journal.identity().key(), ScoreFile::of_run(&name, run).map_err(sentence)?, marked)
        };
        self.take_run(key, file, marked, true)
    }

    /// Closes the open run with this key.
    #[wasm_bindgen(js_name = closeOpened)]
    pub fn close_opened(&self, key: &str) {
        self.runs.borrow_mut().retain(|run| run.key != key);
    }

    /// The full report of the open run with this key.
    #[wasm_bindgen(js_name = openedReport, unchecked_return_type = "OpenedReport")]
    pub fn opened_report(&self, key: &str) -> Result<JsValue, JsError> {
        self.with_opened(key, |run| {
            let marks = run.file.marks(run.benchmark, run.variant).map_err(sentence)?;
            to_js(&OpenedReport {
                insight: run.file.insight(&run.assessment),
                json: marks_json(&run.assessment, &marks, Some(&run.file)).to_string(),
            })
        })
    }

    /// The run file of an open run, as JSON text. Fails for a file of scores that is no run file.
    #[wasm_bindgen(js_name = runFile)]
    pub fn run_file(&self, key: &str) -> Result<String, JsError> {
        self.with_run_file(key, |run| serde_json::to_string(run).map_err(sentence))
    }

    /// The contribution of an open run to the site's board: the file and the pull request for it. Fails for a file of
    /// scores that is no run file.
    #[wasm_bindgen(unchecked_return_type = "Contribution")]
    pub fn contribution(&self, key: &str) -> Result<JsValue, JsError> {
        self.with_run_file(key, |run| to_js(&BoardRow::of(run).contribution().map_err(sentence)?))
    }

    /// Compares two open runs, given by their keys, under the benchmark and variant of the first.
    #[wasm_bindgen(js_name = compareRuns, unchecked_return_type = "RunComparison")]
    pub fn compare_runs(&self, first: &str, second: &str) -> Result<JsValue, JsError> {
        self.with_opened(first, |one| {
            self.with_opened(second, |other| {
                to_js(&RunComparison::of(one.benchmark, one.variant, &one.file, &other.file, 0).map_err(sentence)?)
            })
        })
    }

    /// Compares open runs of one benchmark, given by their keys: how often each pair agrees, and the mark of the
    /// average of their scores.
    #[wasm_bindgen(js_name = runsTogether, unchecked_return_type = "RunsTogether")]
    pub fn runs_together(&self, keys: Vec<String>) -> Result<JsValue, JsError> {
        let opened = self.runs.borrow();
        let runs: Vec<&Opened> = keys.iter().filter_map(|key| opened.iter().find(|run| run.key == *key)).collect();
        let first = runs.first().ok_or_else(|| sentence("setting runs beside each other: none of them is open"))?;
        let files: Vec<&ScoreFile> = runs.iter().map(|run| &run.file).collect();
        to_js(&RunsTogether::of(first.benchmark, first.variant, &files, 0).map_err(sentence)?)
    }
}

impl Session {
    pub(crate) async fn open_scores(
        &self,
        source: &Source,
        named: Option<&str>,
        variant: Option<&str>,
        own_key: Option<String>,
    ) -> Result<JsValue, JsError> {
        if source.bytes() > MOST_RUN_BYTES {
            let (name, bytes) = (source.name(), source.bytes());
            return Err(sentence(format!(
                "reading {name}: at most {MOST_RUN_BYTES} bytes were expected, it has {bytes}"
            )));
        }
        let asked = named.map(benchmark).transpose().map_err(sentence)?;
        let file = ScoreFile::open(source, asked).await.map_err(sentence)?;
        let marked = marked_as(&file, asked, variant).map_err(sentence)?;
        let is_own = own_key.is_some();
        let key = match own_key {
            Some(key) => key,
            None => {
                let mut hash = Hasher::sha256();
                hash.update(&source.content_hash().await.map_err(sentence)?);
                hash.finish().hex()[..32].to_owned()
            }
        };
        self.take_run(key, file, marked, is_own)
    }

    pub(crate) fn take_run(
        &self,
        key: String,
        file: ScoreFile,
        (benchmark, variant): (&'static Benchmark, &'static Variant),
        is_own: bool,
    ) -> Result<JsValue, JsError> {
        let assessment = file.assess(benchmark, variant, 0, false).map_err(sentence)?;
        let opened = Opened { key, file, benchmark, variant, assessment, is_own };
        let card = to_js(&opened.card())?;
        let mut runs = self.runs.borrow_mut();
        runs.retain(|run| run.key != opened.key);
        runs.push(opened);
        Ok(card)
    }

    pub(crate) fn with_opened<T>(
        &self,
        key: &str,
        use_run: impl FnOnce(&Opened) -> Result<T, JsError>,
    ) -> Result<T, JsError> {
        let runs = self.runs.borrow();
        let found = runs.iter().find(|run| run.key == key);
        use_run(found.ok_or_else(|| sentence("looking at a run: it is not open any more; open it again"))?)
    }

    pub(crate) fn with_run_file<T>(
        &self,
        key: &str,
        use_run: impl FnOnce(&RunFile) -> Result<T, JsError>,
    ) -> Result<T, JsError> {
        self.with_opened(key, |opened| {
            let none = || {
                sentence(format!(
                    "writing {}: it holds scores without the model and settings that gave them",
                    opened.file.name
                ))
            };
            use_run(opened.file.run.as_deref().ok_or_else(none)?)
        })
    }
}
