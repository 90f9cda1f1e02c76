//! What the page's worker calls. No logic: a [`Session`] holds the opened model, dataset and run,
//! and hands calls on to `engine` and `eval`. Reports are declared to TypeScript by `tsify`.

mod constructors;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Function};
use rewardscope_benchmarks::published::{
    Downstream, DownstreamCorrelation, MadeUnder, PublishedRow, downstream, downstream_correlation,
    downstream_correlations_by_subset, published,
};
use rewardscope_benchmarks::reward_bench_2::{self, OFFICIAL_ROWS};
use rewardscope_benchmarks::{
    Assessment, BENCHMARKS, Benchmark, Item, Selection, Turn, Variant, benchmark, reward_bench,
};
use rewardscope_engine::{
    Backbone, CATALOG, Cancel, Clock, Detail, DeviceChoice, DeviceReport, Dtype, EngineError, FORMATS, Format,
    HeadConfig, Listed, LoadOptions, LoadProgress, Message, ModelFiles, PUBLISHED_MARKS, Pooling, RewardHead, Scorer,
    TokenSequence, device,
};
use rewardscope_eval::{
    Asked, BoardRow, ClaimError, Claims, Dataset, DatasetColumns, ExploreQuery, Explorer, Insight, Journal,
    JournalSummary, Reading, Report, Rows, Run, RunComparison, RunFile, RunIdentity, RunsTogether, ScoreFile, Skipped,
    dataset_name, fetch_dataset, item_with, marks_json, open_remote_dataset, read_items, reference_scores,
    reference_summary, row_without_texts, rows_of_folder, score_claim, score_item,
};
use rewardscope_fit::{FeatureCache, FeaturesHeader, FitError, OverlapRule, PreferenceFiles, Tell, gather, learn};
use rewardscope_store::{
    FetchProgress, Folder, HUB, Hasher, Hub, PARTS_FILE, RepositoryId, Shelf, Source, Store, Token, is_address,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

/// Runs once, when the module is instantiated.
#[wasm_bindgen(start)]
fn start() {
    constructors::call_once();
    // The worker is thrown away after a panic; its last words go to the console and, through the
    // worker's error event, to the page.
    std::panic::set_hook(Box::new(|info| report_panic(&info.to_string())));
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn report_panic(message: &str);
}

/// How a model is loaded.
#[derive(Deserialize, tsify::Tsify)]
pub struct LoadSettings {
    /// What computes.
    pub device: DeviceChoice,
    /// What the weights are there.
    pub dtype: Dtype,
    /// Whether as the reference evaluator has it.
    pub is_reference: bool,
    /// A conversation format in place of the model's chat template.
    pub format: Option<String>,
    /// Which logit of a classifier with several is the score.
    pub label: Option<usize>,
    /// The date that chat templates are told, `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ss`; now without it.
    pub date: Option<String>,
}

impl LoadSettings {
    /// The date that is asked for.
    fn date(&self) -> Result<Option<Clock>, JsError> {
        let asked = self.date.as_deref().map(str::trim).filter(|date| !date.is_empty());
        let read = |date: &str| {
            let wrong = || sentence("loading: expected a date as YYYY-MM-DD or YYYY-MM-DDThh:mm:ss");
            Clock::parse(date).ok_or_else(wrong)
        };
        asked.map(read).transpose()
    }

    fn options(&self, clock: Clock) -> Result<LoadOptions, EngineError> {
        let mut options = if self.is_reference { LoadOptions::reference(clock) } else { LoadOptions::new(clock) };
        options.protocol.format = self.format.as_deref().map(Format::named).transpose()?;
        options.label = self.label;
        options.dtype = self.dtype;
        Ok(options)
    }
}

/// What there is to choose from before a model is loaded.
#[derive(Serialize, tsify::Tsify)]
pub struct Catalog {
    /// Models of the Hub, smallest first.
    pub models: Vec<ListedModel>,
    /// Where their published marks are from.
    pub marks_from: String,
    /// Names of conversation formats.
    pub formats: Vec<String>,
    /// The device that they would be on.
    pub device: DeviceReport,
}

/// A model of the Hub, of which nothing was fetched.
#[derive(Serialize, tsify::Tsify)]
pub struct ListedModel {
    /// Its id.
    pub id: String,
    /// Its architecture.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes to fetch.
    pub stored_bytes: u64,
    /// Bytes of its weights on the device.
    pub memory_bytes: u64,
    /// Its licence's name.
    pub licence: String,
    /// RewardBench 2's published mark, 0 to 1.
    pub reward_bench_2: Option<f64>,
    /// Why it cannot be loaded here, where it cannot.
    pub does_not_fit: Option<String>,
}

fn messages(turns: JsValue) -> Result<Vec<Message>, JsError> {
    let turns: Vec<Turn> = from_js(turns)?;
    Ok(turns.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect())
}

/// What was published elsewhere, with where.
#[derive(Serialize, tsify::Tsify)]
pub struct PublishedFigures {
    /// RewardBench 2's rows, best first.
    pub reward_bench_2: &'static [PublishedRow],
    /// RewardBench's.
    pub reward_bench: &'static [PublishedRow],
    /// The 17 reward models of RewardBench 2's paper that were also used downstream.
    pub downstream: &'static [Downstream],
    /// How their marks go with what came of using them.
    pub correlation: Option<DownstreamCorrelation>,
    /// The same within each group of them.
    pub correlation_by_group: Vec<(String, DownstreamCorrelation)>,
    /// How each subset's mark goes with it, over those of them whose board row is known.
    pub correlation_by_subset: Vec<(String, DownstreamCorrelation)>,
}

/// A benchmark as the page lists it.
#[derive(Serialize, tsify::Tsify)]
pub struct BenchmarkEntry {
    /// Its name in commands.
    pub name: &'static str,
    /// Its name in print.
    pub title: &'static str,
    /// Where it was published.
    pub citation: &'static str,
    /// Whose arithmetic its marks follow.
    pub definition: &'static str,
    /// Its ways of marking, the default first.
    pub variants: Vec<&'static str>,
    /// Where its rows are.
    pub rows_at: &'static str,
}

/// Where rows of one's own have what: names of columns, empty where there is none.
#[derive(Deserialize, tsify::Tsify)]
pub struct ColumnNames {
    /// The conversation up to the completion.
    pub prompt: String,
    /// Correct completions.
    pub chosen: String,
    /// Incorrect ones.
    pub rejected: String,
    /// The part that a row belongs to.
    pub subset: String,
    /// What else is named, as the command takes it: `chosen_if=winner:model_a:model_b id=key`.
    pub more: String,
}

impl ColumnNames {
    fn mapping(self) -> Result<Option<DatasetColumns>, JsError> {
        let more = match self.more.trim() {
            "" => DatasetColumns::default(),
            more => more.parse().map_err(sentence)?,
        };
        let name = |name: &str, more: Vec<String>| match name.trim() {
            "" => more,
            name => vec![name.to_owned()],
        };
        let columns = DatasetColumns {
            prompt: name(&self.prompt, more.prompt.clone()),
            chosen: name(&self.chosen, more.chosen.clone()),
            rejected: name(&self.rejected, more.rejected.clone()),
            subset: name(&self.subset, more.subset.clone()),
            ..more
        };
        Ok((columns != DatasetColumns::default()).then_some(columns))
    }
}

/// A run that is open beside the others: one made here, or a file of scores.
#[derive(Serialize, tsify::Tsify)]
pub struct OpenedRun {
    /// What names it.
    pub key: String,
    /// The file's name, or the dataset's.
    pub name: String,
    /// The model that scored, where that is known.
    pub model: String,
    /// Its benchmark's name in commands.
    pub benchmark: String,
    /// The rows that were scored, where that is known.
    pub dataset: String,
    /// What the weights were, where that is known.
    pub dtype: String,
    /// What published marks may differ by.
    pub under: MadeUnder,
    /// Whether it was made in this visit.
    pub is_own: bool,
    /// Whether it says under what its scores came about.
    pub is_run_file: bool,
    /// Whether scores are rewards, where that is known.
    pub is_reward_model: Option<bool>,
    /// The marks with what they are worth.
    pub assessment: Assessment,
}

/// All that an open run says.
#[derive(Serialize, tsify::Tsify)]
pub struct OpenedReport {
    /// What its scores say beside the marks.
    pub insight: Insight,
    /// The marks, and what else the scores say, as the command writes it.
    pub json: String,
}

/// A run as the reference evaluator writes it.
#[derive(Serialize, tsify::Tsify)]
pub struct ReferenceFiles {
    /// Its file of scores.
    pub scores: String,
    /// Its file of marks.
    pub summary: String,
}

/// A run that is open, with how it is marked.
struct Opened {
    key: String,
    file: ScoreFile,
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    assessment: Assessment,
    is_own: bool,
}

impl Opened {
    /// Texts of a file are as long as whoever made it likes.
    fn card(&self) -> OpenedRun {
        let bounded = |text: &str| text.chars().take(MOST_NAME_CHARACTERS).collect::<String>();
        let protocol = self.file.run.as_ref().map(|run| &run.protocol);
        OpenedRun {
            key: self.key.clone(),
            name: bounded(&self.file.name),
            model: bounded(self.file.model.as_deref().unwrap_or_default()),
            benchmark: self.benchmark.name.to_owned(),
            dataset: bounded(protocol.map(|protocol| protocol.dataset.as_str()).unwrap_or_default()),
            dtype: bounded(protocol.map(|protocol| protocol.dtype.as_str()).unwrap_or_default()),
            under: match protocol {
                None => MadeUnder::default(),
                Some(protocol) => MadeUnder {
                    dtype: Some(bounded(&protocol.dtype)),
                    length_limit: Some(protocol.context_tokens),
                    template: protocol.template.as_deref().map(bounded),
                },
            },
            is_own: self.is_own,
            is_run_file: protocol.is_some(),
            is_reward_model: protocol.map(|protocol| protocol.is_reward_model),
            assessment: self.assessment.clone(),
        }
    }
}

/// Characters of a name out of somebody's file that the page is given.
const MOST_NAME_CHARACTERS: usize = 500;

/// A run file larger than this is not read: its text and its rows would not fit beside a model.
const MOST_RUN_BYTES: u64 = 512 << 20;

/// Where the official rows of RewardBench 2 are.
#[derive(Serialize, tsify::Tsify)]
pub struct OfficialRows {
    /// A Hub id with revision and file.
    pub id: String,
    /// The file's size.
    pub bytes: u64,
}

/// A dataset that was opened.
#[derive(Serialize, tsify::Tsify)]
pub struct DatasetReport {
    /// The file's name.
    pub name: String,
    /// All items.
    pub items: usize,
    /// Items by subset, in the order in which subsets appear.
    pub subsets: Vec<SubsetCount>,
    /// Whose work it is, where its manifest says so.
    pub attribution: String,
    /// What to know before opening it, where its manifest says so.
    pub warning: String,
    /// Whose rows they are: the benchmark's name in commands.
    pub benchmark: String,
    /// How the rows were read, and what of them was not: a sentence each.
    pub remarks: Vec<String>,
    /// Rows that were skipped.
    pub skipped: usize,
    /// The first few of them, with why.
    pub bad_rows: Vec<String>,
}

/// Sentences about skipped rows that the page is given.
const MOST_BAD_ROWS: usize = 50;

/// Items of one subset.
#[derive(Serialize, tsify::Tsify)]
pub struct SubsetCount {
    /// The subset's name.
    pub subset: String,
    /// Its items.
    pub count: usize,
}

/// What is stored on the visitor's device.
#[derive(Serialize, tsify::Tsify)]
pub struct Storage {
    /// Whether this browser keeps anything here.
    pub is_available: bool,
    /// Whether the browser promised not to remove it on its own.
    pub is_persisted: bool,
    /// Bytes that this site uses.
    pub usage_bytes: u64,
    /// Bytes that this site may use.
    pub quota_bytes: u64,
    /// Files of models and datasets, largest first.
    pub files: Vec<StoredFile>,
    /// Runs that were begun.
    pub runs: Vec<StoredRun>,
}

/// A file of a model or dataset.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredFile {
    /// What removes it.
    pub key: String,
    /// The repository that it is of.
    pub of: String,
    /// Its name there.
    pub name: String,
    /// Its whole size.
    pub bytes: u64,
    /// What of it is here.
    pub stored_bytes: u64,
    /// Whether it is whole.
    pub is_complete: bool,
}

/// A run's journal.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredRun {
    /// What removes it.
    pub key: String,
    /// Which run it is and how far; none where the journal cannot be read.
    pub summary: Option<JournalSummary>,
}

/// What is settled before a head is fitted.
#[derive(Deserialize, tsify::Tsify)]
pub struct FitOptions {
    /// The head's name.
    pub name: String,
    /// Seed of the folds and of all resampling.
    pub seed: u32,
    /// Layers before the final norm; all that run without it.
    pub layers: Option<usize>,
    /// Where the score is read from.
    pub pooling: Pooling,
    /// What is done about pairs whose prompt the opened dataset has.
    pub overlap: OverlapRule,
}

/// How far a fit is.
#[derive(Serialize, tsify::Tsify)]
pub struct FitProgress {
    /// What is being done.
    pub stage: FitStage,
    /// How much of it is done.
    pub done: f64,
    /// Of how much.
    pub total: f64,
}

/// What a fit is doing.
#[derive(Serialize, tsify::Tsify)]
#[serde(rename_all = "lowercase")]
pub enum FitStage {
    /// Pairs through the backbone.
    Features,
    /// The weight, from their features.
    Fitting,
}

/// A head, and what it is worth.
#[derive(Serialize, tsify::Tsify)]
pub struct HeadReport {
    /// What it is.
    pub config: HeadConfig,
    /// Completions that had to be computed to fit it.
    pub computed: usize,
    /// What it is worth, where its file says so.
    pub report: Option<rewardscope_fit::Report>,
}

impl HeadReport {
    fn of(head: &RewardHead, computed: usize) -> Self {
        // A report of another version is no reason to refuse the head.
        let report = head.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { config: head.config.clone(), computed, report }
    }
}

/// Errors reach the page as the sentences that they are.
fn sentence(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// As [`sentence`]; a device that failed is named, because another worker may do better.
fn engine_sentence(error: EngineError) -> JsValue {
    let said = js_sys::Error::new(&error.to_string());
    if matches!(error, EngineError::DeviceFailed { .. }) {
        said.set_name("DeviceFailed");
    }
    said.into()
}

/// As [`engine_sentence`], for what a fit says.
fn fit_sentence(error: FitError) -> JsValue {
    match error {
        FitError::Engine(error) => engine_sentence(error),
        other => sentence(other).into(),
    }
}

fn to_js(value: &impl Serialize) -> Result<JsValue, JsError> {
    serde_wasm_bindgen::to_value(value).map_err(sentence)
}

fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, JsError> {
    serde_wasm_bindgen::from_value(value).map_err(sentence)
}

/// Local time by the visitor's calendar, for templates that write the date.
fn clock() -> Clock {
    let now = js_sys::Date::new_0();
    Clock::from_local_seconds((now.get_time() / 1e3 - now.get_timezone_offset() * 60.0) as i64)
}

fn tell(callback: &Function, value: &impl Serialize) {
    if let Ok(value) = to_js(value) {
        let _ = callback.call1(&JsValue::NULL, &value);
    }
}

/// What is looked at: the journal's run, or the open dataset; anything else is an open run's key.
const RUN: &str = "run";
const DATASET: &str = "dataset";

/// What the browser calls itself.
fn host() -> String {
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &name.into()).unwrap_or(JsValue::UNDEFINED);
    get(&get(&js_sys::global(), "navigator"), "userAgent").as_string().unwrap_or_else(|| "a browser".to_owned())
}

async fn read_head(bytes: Vec<u8>) -> Result<RewardHead, EngineError> {
    RewardHead::read(&Source::memory("the reward head", bytes)).await
}

/// The model, dataset and run that the page has open.
#[wasm_bindgen]
#[derive(Default)]
pub struct Session {
    scorer: RefCell<Option<Rc<Scorer>>>,
    store: RefCell<Option<Store>>,
    dataset: RefCell<(String, Vec<Item>)>,
    /// The rows of it that were skipped.
    skipped: RefCell<Vec<Skipped>>,
    /// RewardBench 2 where nothing else is known.
    benchmark: Cell<Option<&'static Benchmark>>,
    /// What was asked for; what the columns show where nothing was.
    asked: Cell<Option<&'static Benchmark>>,
    columns: RefCell<Option<DatasetColumns>>,
    split: RefCell<Option<String>>,
    /// What chat templates are told, where it is not now.
    date: Cell<Option<Clock>>,
    journal: RefCell<Option<Journal>>,
    /// The run's report, and of how many items it is.
    report: RefCell<Option<(usize, Rc<Report>)>>,
    runs: RefCell<Vec<Opened>>,
    /// What is looked at, and which that is.
    explorer: RefCell<(String, Explorer)>,
    /// How often another dataset was opened.
    datasets: Cell<usize>,
    claims: RefCell<Claims>,
    features: RefCell<Option<FeatureCache>>,
    fitted: RefCell<Option<RewardHead>>,
    cancel: RefCell<Cancel>,
    busy: Cell<bool>,
}

/// Marks the session busy while it lives, so that two long calls never interleave.
struct Busy<'a>(&'a Cell<bool>);

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

    /// The device that a choice would take, and why.
    #[wasm_bindgen(js_name = openDevice, unchecked_return_type = "DeviceReport")]
    pub async fn open_device(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DeviceChoice")] choice: JsValue,
    ) -> Result<JsValue, JsError> {
        let choice: DeviceChoice = from_js(choice)?;
        to_js(&device::open(choice).await.map_err(sentence)?.report)
    }

    /// Models and settings to choose from, on the device that a choice would take, their weights being
    /// such a type.
    #[wasm_bindgen(unchecked_return_type = "Catalog")]
    pub async fn catalog(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DeviceChoice")] choice: JsValue,
        #[wasm_bindgen(unchecked_param_type = "Dtype")] dtype: JsValue,
    ) -> Result<JsValue, JsError> {
        let dtype: Dtype = from_js(dtype)?;
        let device = device::open(from_js(choice)?).await.map_err(sentence)?;
        let listed = |model: &Listed| ListedModel {
            id: model.id.to_owned(),
            architecture: model.architecture.to_owned(),
            parameters: model.parameters,
            stored_bytes: model.stored_bytes,
            memory_bytes: model.memory_bytes(dtype),
            licence: model.licence.to_owned(),
            reward_bench_2: model.reward_bench_2,
            does_not_fit: model.does_not_fit(&device, dtype),
        };
        to_js(&Catalog {
            models: CATALOG.iter().map(listed).collect(),
            marks_from: PUBLISHED_MARKS.to_owned(),
            formats: FORMATS.iter().map(|format| format.name.to_owned()).collect(),
            device: device.report.clone(),
        })
    }

    /// Which Hub is asked and as whom, and whether files are kept on the visitor's device. The
    /// token stays in memory.
    pub fn configure(&self, endpoint: Option<String>, token: Option<String>, keep: bool) -> Result<(), JsError> {
        let token = token.as_deref().and_then(Token::new);
        let hub = Hub::new(endpoint.as_deref().unwrap_or(HUB), token).map_err(sentence)?;
        *self.store.borrow_mut() = Some(Store::new(hub, Shelf::new(keep)));
        Ok(())
    }

    /// Loads the site's own model by the address of its manifest. `head` is a reward head's file to
    /// be put on it.
    #[wasm_bindgen(js_name = loadSite, unchecked_return_type = "ModelReport")]
    pub async fn load_site(
        &self,
        manifest: String,
        head: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "LoadSettings")] settings: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let settings: LoadSettings = from_js(settings)?;
        let repository = store.site(&manifest, &cancel, tell).await.map_err(sentence)?;
        let files = ModelFiles::fetch_as(&store, &repository, None, settings.dtype, &cancel, tell).await;
        self.load(files, head, &settings, &progress, &cancel).await
    }

    /// Loads a model of the Hub, `owner/name[@revision][:file]`, or in parts at an address.
    #[wasm_bindgen(js_name = loadHub, unchecked_return_type = "ModelReport")]
    pub async fn load_hub(
        &self,
        id: String,
        head: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "LoadSettings")] settings: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let settings: LoadSettings = from_js(settings)?;
        let files = if is_address(id.trim()) {
            let manifest = format!("{}/{PARTS_FILE}", id.trim().trim_end_matches(PARTS_FILE).trim_end_matches('/'));
            let repository = store.site(&manifest, &cancel, tell).await.map_err(sentence)?;
            ModelFiles::fetch_as(&store, &repository, None, settings.dtype, &cancel, tell).await
        } else {
            let id: RepositoryId = id.trim().parse().map_err(sentence)?;
            ModelFiles::from_hub(&store, &id, settings.dtype, &cancel, tell).await
        };
        self.load(files, head, &settings, &progress, &cancel).await
    }

    /// Loads a model from files that were picked or dropped.
    #[wasm_bindgen(js_name = loadFiles, unchecked_return_type = "ModelReport")]
    pub async fn load_files(
        &self,
        name: String,
        files: Vec<web_sys::File>,
        head: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "LoadSettings")] settings: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let folder = Folder::new(&name, files.iter().map(Source::picked)).assembled(&cancel).await.map_err(sentence)?;
        let files = ModelFiles::from_sources(&name, folder.sources().cloned().collect());
        self.load(files, head, &from_js(settings)?, &progress, &cancel).await
    }

    async fn load(
        &self,
        files: Result<ModelFiles, EngineError>,
        head: Option<Vec<u8>>,
        settings: &LoadSettings,
        progress: &Function,
        cancel: &Cancel,
    ) -> Result<JsValue, JsValue> {
        let files = files.map_err(engine_sentence)?;
        let date = settings.date()?;
        let options = settings.options(date.unwrap_or_else(clock)).map_err(engine_sentence)?;
        let head = match head {
            Some(bytes) => Some(read_head(bytes).await.map_err(engine_sentence)?),
            None => None,
        };
        self.date.set(date);
        // The old model goes first: two do not fit beside each other.
        self.scorer.take();
        self.close_run();
        let device = device::open(settings.device).await.map_err(engine_sentence)?;
        let scorer =
            Scorer::load(&files, head.as_ref(), device, options, cancel, &mut |now| tell(progress, &now)).await;
        let scorer = Rc::new(scorer.map_err(engine_sentence)?);
        // Features of another backbone would only take room.
        self.features.borrow_mut().take_if(|cache| cache.header().backbone != scorer.report().backbone_fingerprint);
        let report = to_js(scorer.report())?;
        *self.scorer.borrow_mut() = Some(scorer);
        Ok(report)
    }

    /// What a reward head's file says of itself.
    #[wasm_bindgen(js_name = readHead, unchecked_return_type = "HeadReport")]
    pub async fn read_head(&self, bytes: Vec<u8>) -> Result<JsValue, JsError> {
        let told = HeadReport::of(&read_head(bytes).await.map_err(sentence)?, 0);
        // Figures that no page can show are no reason to refuse the head either.
        to_js(&told).or_else(|_| to_js(&HeadReport { report: None, ..told }))
    }

    /// Fits a reward head on the loaded model's hidden states. `features` is a file of them that was
    /// prepared elsewhere; what is missing there is computed, and kept while the page is open.
    #[wasm_bindgen(unchecked_return_type = "HeadReport")]
    pub async fn fit(
        &self,
        preferences: web_sys::File,
        features: Option<web_sys::File>,
        #[wasm_bindgen(unchecked_param_type = "FitOptions")] options: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(progress: FitProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(self.clock());
        let options: FitOptions = from_js(options)?;
        let header = FeaturesHeader::of(scorer.report(), options.layers, options.pooling).map_err(fit_sentence)?;
        let kept = self.features.take().filter(|cache| *cache.header() == header);
        let mut cache = kept.unwrap_or_else(|| FeatureCache::memory(header));
        let fitted = self.fit_with(&scorer, &mut cache, preferences, features, &options, &progress, &cancel).await;
        *self.features.borrow_mut() = Some(cache);
        let (head, computed) = fitted.map_err(fit_sentence)?;
        let report = to_js(&HeadReport::of(&head, computed))?;
        *self.fitted.borrow_mut() = Some(head);
        Ok(report)
    }

    #[allow(clippy::too_many_arguments, reason = "one caller, above")]
    async fn fit_with(
        &self,
        scorer: &Scorer,
        cache: &mut FeatureCache,
        preferences: web_sys::File,
        features: Option<web_sys::File>,
        options: &FitOptions,
        progress: &Function,
        cancel: &Cancel,
    ) -> Result<(RewardHead, usize), FitError> {
        if let Some(file) = features {
            cache.import(&Source::picked(&file), cancel).await?;
        }
        let before = cache.len();
        let (name, items) = self.dataset.borrow().clone();
        let benchmark = if items.is_empty() { "no opened dataset".to_owned() } else { name };
        let prompts = items.iter().map(|item| item.prompt.as_str());
        let sources = [Source::picked(&preferences)];
        let at = |stage: FitStage, done: f64, total: f64| tell(progress, &FitProgress { stage, done, total });
        let mut tell =
            Tell { progress: &mut |done, total| at(FitStage::Features, done as f64, total as f64), bad: &mut |_| {} };
        let files = PreferenceFiles::of(&sources);
        let gathered = gather(scorer, &files, (&benchmark, prompts), options.overlap, cache, cancel, &mut tell).await?;
        let computed = cache.len() - before;
        let learned = learn(&gathered, cache, u64::from(options.seed), cancel, &mut |share| {
            at(FitStage::Fitting, share, 1.0);
        })
        .await?;
        let model = scorer.report();
        let config = HeadConfig {
            name: options.name.clone(),
            backbone: Backbone::of(model, None),
            layers: cache.header().layers,
            pooling: options.pooling,
        };
        let report = serde_json::to_string(&learned.report).ok();
        Ok((RewardHead { config, weight: learned.weight, report }, computed))
    }

    /// The file of the head that was fitted last.
    #[wasm_bindgen(js_name = fittedHead)]
    pub fn fitted_head(&self) -> Result<Vec<u8>, JsError> {
        let fitted = self.fitted.borrow();
        let head = fitted.as_ref().ok_or_else(|| sentence("saving: no head was fitted; fit one first"))?;
        head.to_bytes().map_err(sentence)
    }

    /// Where the official rows of RewardBench 2 are.
    #[wasm_bindgen(js_name = officialRows, unchecked_return_type = "OfficialRows")]
    pub fn official_rows(&self) -> Result<JsValue, JsError> {
        to_js(&OfficialRows { id: OFFICIAL_ROWS.id(), bytes: OFFICIAL_ROWS.bytes })
    }

    /// Opens a dataset of the site by the address of its manifest.
    #[wasm_bindgen(js_name = openDataSite, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_site(
        &self,
        manifest: String,
        file: String,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let repository = store.site(&manifest, &cancel, tell).await.map_err(sentence)?;
        let source = fetch_dataset(&store, &repository, Some(&file), &cancel, tell).await.map_err(sentence)?;
        let about = repository.get(&file).map(|file| file.about.clone()).unwrap_or_default();
        self.open_data(&[source], Rows::ALL, about.attribution, about.warning).await
    }

    /// Opens datasets of the Hub, `owner/name[@revision][:file]`, or at addresses, as one; with `rows`, such
    /// as `12-20`, only these of each, of which no more is fetched than they lie in.
    #[wasm_bindgen(js_name = openDataHub, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_hub(
        &self,
        ids: Vec<String>,
        rows: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let (reading, rows) = match rows {
            None => (Reading::Whole, Rows::ALL),
            Some(rows) => (Reading::ByRange, rows.parse().map_err(sentence)?),
        };
        let mut sources = Vec::new();
        let split = self.split.borrow().clone();
        for id in ids.iter().map(|id| id.trim()) {
            let found = open_remote_dataset(&store, id, reading, split.as_deref(), &cancel, tell).await;
            sources.extend(found.map_err(sentence)?);
        }
        self.open_data(&sources, rows, String::new(), String::new()).await
    }

    /// The benchmarks whose rows and scores can be marked.
    #[wasm_bindgen(unchecked_return_type = "BenchmarkEntry[]")]
    pub fn benchmarks(&self) -> Result<JsValue, JsError> {
        let entries = BENCHMARKS.map(|known| BenchmarkEntry {
            name: known.name,
            title: known.title,
            citation: known.citation,
            definition: known.definition,
            variants: known.variants.iter().map(|variant| variant.name).collect(),
            rows_at: known.rows_at,
        });
        to_js(&entries)
    }

    /// Chooses the benchmark that datasets opened from here on are of, none where their columns tell; where their
    /// rows have what, where that is not as the benchmark has it; and which split of several.
    #[wasm_bindgen(js_name = chooseBenchmark)]
    pub fn choose_benchmark(
        &self,
        name: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "ColumnNames | undefined")] columns: JsValue,
        split: Option<String>,
    ) -> Result<(), JsError> {
        let columns: Option<ColumnNames> = from_js(columns)?;
        self.asked.set(name.as_deref().map(benchmark).transpose().map_err(sentence)?);
        *self.columns.borrow_mut() = columns.map(ColumnNames::mapping).transpose()?.flatten();
        *self.split.borrow_mut() = split.filter(|split| !split.trim().is_empty());
        Ok(())
    }

    /// The rows of the open dataset that were skipped, as JSON Lines.
    #[wasm_bindgen(js_name = badRows)]
    pub fn bad_rows(&self) -> Result<String, JsError> {
        let skipped = self.skipped.borrow();
        let lines: Result<Vec<String>, _> = skipped.iter().map(serde_json::to_string).collect();
        Ok(lines.map_err(sentence)?.into_iter().map(|line| line + "\n").collect())
    }

    /// Opens a file of scores, ours, a run file, or a reference evaluator's, and marks it. Without a
    /// benchmark a run file is of the one that it names, others are of RewardBench 2. A run that was
    /// made in this visit has its key already.
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

    /// The same of a file at an address.
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

    async fn open_scores(
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
        let own = file.run.as_ref().map(|run| (run.benchmark.clone(), run.variant.clone()));
        let benchmark = asked.unwrap_or(file.benchmark);
        let own_variant = own.as_ref().filter(|(own, _)| own == benchmark.name).map(|(_, variant)| variant.as_str());
        let variant = benchmark.variant(variant.or(own_variant)).map_err(sentence)?;
        let is_own = own_key.is_some();
        let key = match own_key {
            Some(key) => key,
            None => {
                let mut hash = Hasher::sha256();
                hash.update(&source.content_hash().await.map_err(sentence)?);
                hash.finish().hex()[..32].to_owned()
            }
        };
        self.take_run(key, file, (benchmark, variant), is_own)
    }

    fn take_run(
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

    /// Opens the journal's run beside the others, as a run file has it.
    #[wasm_bindgen(js_name = keepRun, unchecked_return_type = "OpenedRun")]
    pub fn keep_run(&self) -> Result<JsValue, JsError> {
        let scorer = self.scorer()?;
        let (key, file, marked) = {
            let journal = self.journal.borrow();
            let journal = journal.as_ref().ok_or_else(|| sentence("keeping a run: none was started"))?;
            let benchmark = self.benchmark();
            let marked = (benchmark, &benchmark.variants[0]);
            let run =
                RunFile::new(journal.run(), journal.identity(), scorer.report(), marked, &host(), journal.clock())
                    .map_err(sentence)?;
            let files = journal.identity().dataset.split(", ");
            let name = files.map(|file| file.rsplit('/').next().unwrap_or(file)).collect::<Vec<_>>().join(", ");
            (journal.identity().key(), ScoreFile::of_run(&name, run).map_err(sentence)?, marked)
        };
        self.take_run(key, file, marked, true)
    }

    /// Closes an open run.
    #[wasm_bindgen(js_name = closeOpened)]
    pub fn close_opened(&self, key: &str) {
        self.runs.borrow_mut().retain(|run| run.key != key);
    }

    /// All that an open run says.
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

    /// An open run as a run file.
    #[wasm_bindgen(js_name = runFile)]
    pub fn run_file(&self, key: &str) -> Result<String, JsError> {
        self.with_run_file(key, |run| serde_json::to_string(run).map_err(sentence))
    }

    /// What is sent of an open run to stand on the site's board.
    #[wasm_bindgen(unchecked_return_type = "Contribution")]
    pub fn contribution(&self, key: &str) -> Result<JsValue, JsError> {
        self.with_run_file(key, |run| to_js(&BoardRow::of(run).contribution().map_err(sentence)?))
    }

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

    /// Two open runs beside each other.
    #[wasm_bindgen(js_name = compareRuns, unchecked_return_type = "RunComparison")]
    pub fn compare_runs(&self, first: &str, second: &str) -> Result<JsValue, JsError> {
        self.with_opened(first, |one| {
            self.with_opened(second, |other| {
                to_js(&RunComparison::of(one.benchmark, one.variant, &one.file, &other.file, 0).map_err(sentence)?)
            })
        })
    }

    /// Open runs of one benchmark together: how far each agrees with each, and what their average gets.
    #[wasm_bindgen(js_name = runsTogether, unchecked_return_type = "RunsTogether")]
    pub fn runs_together(&self, keys: Vec<String>) -> Result<JsValue, JsError> {
        let opened = self.runs.borrow();
        let runs: Vec<&Opened> = keys.iter().filter_map(|key| opened.iter().find(|run| run.key == *key)).collect();
        let first = runs.first().ok_or_else(|| sentence("setting runs beside each other: none of them is open"))?;
        let files: Vec<&ScoreFile> = runs.iter().map(|run| &run.file).collect();
        to_js(&RunsTogether::of(first.benchmark, first.variant, &files, 0).map_err(sentence)?)
    }

    /// Looks at the journal's run (`run`), the open dataset (`dataset`) or an open run by its key,
    /// beside another one where that is named, and finds items in it.
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

    fn explorer_of(&self, of: &str, against: Option<&str>) -> Result<Explorer, JsError> {
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

    /// The items that the texts of what is looked at are among.
    fn with_texts<T>(&self, of: &str, use_texts: impl FnOnce(&[Item]) -> T) -> T {
        let journal = self.journal.borrow();
        match journal.as_ref().filter(|_| of == RUN) {
            Some(journal) => use_texts(journal.run().items()),
            None => use_texts(&self.dataset.borrow().1),
        }
    }

    /// A window of what was found last.
    #[wasm_bindgen(js_name = exploreRows, unchecked_return_type = "ItemSummary[]")]
    pub fn explore_rows(&self, of: &str, from: usize, count: usize) -> Result<JsValue, JsError> {
        to_js(&self.with_texts(of, |texts| self.explorer.borrow().1.window(from, count, texts)))
    }

    /// All that is known of an item that was found, and what the run beside says of it.
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

    /// Opens a dataset's files that were picked or dropped.
    #[wasm_bindgen(js_name = openDataFiles, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_files(&self, files: Vec<web_sys::File>) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        let sources: Vec<Source> = files.iter().map(Source::picked).collect();
        // A folder has other things beside rows.
        let names: Vec<String> = sources.iter().map(|source| source.name().to_owned()).collect();
        let sources = match names.len() {
            1 => sources,
            _ => {
                let split = self.split.borrow().clone();
                let (rows, _) = rows_of_folder("the files", &names, split.as_deref()).map_err(sentence)?;
                let of = |name: &String| sources.iter().find(|source| source.name() == name).cloned();
                rows.iter().filter_map(of).collect()
            }
        };
        self.open_data(&sources, Rows::ALL, String::new(), String::new()).await
    }

    async fn open_data(
        &self,
        sources: &[Source],
        rows: Rows,
        attribution: String,
        warning: String,
    ) -> Result<JsValue, JsError> {
        let asked = Asked {
            benchmark: self.asked.get(),
            columns: self.columns.borrow().clone(),
            rows: Some(rows),
            split: self.split.borrow().clone(),
            is_strict: false,
        };
        let Dataset { benchmark, items, remarks, skipped } = read_items(sources, &asked).await.map_err(sentence)?;
        let mut subsets: Vec<SubsetCount> = Vec::new();
        for item in &items {
            match subsets.iter_mut().find(|s| s.subset == item.subset) {
                Some(subset) => subset.count += 1,
                None => subsets.push(SubsetCount { subset: item.subset.clone(), count: 1 }),
            }
        }
        let name = dataset_name(sources);
        let bad = skipped.iter().take(MOST_BAD_ROWS);
        let report = to_js(&DatasetReport {
            name: name.clone(),
            items: items.len(),
            subsets,
            attribution,
            warning,
            benchmark: benchmark.name.to_owned(),
            remarks,
            skipped: skipped.len(),
            bad_rows: bad.map(|row| format!("{}, row {}: {}", row.file, row.row, row.detail)).collect(),
        })?;
        self.benchmark.set(Some(benchmark));
        *self.skipped.borrow_mut() = skipped;
        *self.dataset.borrow_mut() = (name, items);
        self.datasets.set(self.datasets.get() + 1);
        self.close_run();
        Ok(report)
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
        // An item scored the next day reads the date that the first one read.
        if let Some(journal) = self.journal.borrow().as_ref() {
            scorer.set_clock(journal.clock());
        }
        loop {
            while let Some(outcome) = self.with_run(|run| Ok(self.claims.borrow_mut().next(run)))? {
                if let Some(journal) = self.journal.borrow_mut().as_mut() {
                    journal.push(outcome).map_err(sentence)?;
                    tell(&progress, &journal.run().progress());
                }
            }
            if self.with_run(|run| Ok(run.is_done()))? {
                return Ok(());
            }
            let claimed = |run: &Run| {
                let place = self.claims.borrow_mut().claim(run);
                Ok(place.map(|place| (place, run.items()[place].clone())))
            };
            match self.with_run(claimed)? {
                Some((place, item)) => match score_item(&scorer, &item, &cancel).await {
                    Ok(outcome) => self.with_run(|run| {
                        self.claims.borrow_mut().bring(run, place, outcome);
                        Ok(())
                    })?,
                    Err(error) => {
                        self.release(place);
                        return Err(engine_sentence(error));
                    }
                },
                // Others are at work on what is left.
                None => {
                    cancel.check().map_err(sentence)?;
                    device::wait_a_little().await;
                }
            }
            device::pause().await;
        }
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

    /// Stops the long call that is under way at its next step.
    pub fn cancel(&self) {
        self.cancel.borrow().cancel();
    }

    /// What is stored on the visitor's device.
    #[wasm_bindgen(unchecked_return_type = "Storage")]
    pub async fn storage(&self) -> Result<JsValue, JsError> {
        let shelf = Shelf::new(true);
        let found = shelf.report().await.map_err(sentence)?;
        let mut runs = Vec::with_capacity(found.logs.len());
        for (key, _) in found.logs {
            let text = shelf.log_text(&key).await.unwrap_or_default();
            runs.push(StoredRun { summary: JournalSummary::of(&text), key });
        }
        let file = |file: rewardscope_store::StoredFile| StoredFile {
            key: file.key,
            of: file.of,
            name: file.name,
            bytes: file.bytes,
            stored_bytes: file.stored_bytes,
            is_complete: file.is_complete,
        };
        to_js(&Storage {
            is_available: found.is_available,
            is_persisted: found.is_persisted,
            usage_bytes: found.usage_bytes,
            quota_bytes: found.quota_bytes,
            files: found.files.into_iter().map(file).collect(),
            runs,
        })
    }

    /// Removes a stored file.
    #[wasm_bindgen(js_name = removeFile)]
    pub async fn remove_file(&self, key: String) -> Result<(), JsError> {
        Shelf::new(true).remove_file(&key).await.map_err(sentence)
    }

    /// Removes a run's journal; whether it was the open one's.
    #[wasm_bindgen(js_name = removeRun)]
    pub async fn remove_run(&self, key: String) -> Result<bool, JsError> {
        let is_open = self.journal.borrow().as_ref().is_some_and(|journal| journal.name() == key);
        if is_open {
            self.close_run();
        }
        Shelf::new(true).remove_log(&key).await.map_err(sentence)?;
        Ok(is_open)
    }

    /// Closes the run's journal, so that another tab can open it.
    #[wasm_bindgen(js_name = closeRun)]
    pub fn close_run(&self) {
        self.journal.take();
        self.report.take();
        // It may be what was looked at.
        self.explorer.take();
    }

    /// What was published elsewhere.
    #[wasm_bindgen(unchecked_return_type = "PublishedFigures")]
    pub fn published(&self) -> Result<JsValue, JsError> {
        let mut groups: Vec<&str> = downstream().iter().map(|row| row.group.as_str()).collect();
        groups.dedup();
        let of = |group: &&str| Some(((*group).to_owned(), downstream_correlation(Some(group))?));
        to_js(&PublishedFigures {
            reward_bench_2: published(reward_bench_2::NAME),
            reward_bench: published(reward_bench::NAME),
            downstream: downstream(),
            correlation: downstream_correlation(None),
            correlation_by_group: groups.iter().filter_map(of).collect(),
            correlation_by_subset: downstream_correlations_by_subset(),
        })
    }

    /// How fast the GPU and the CPU are, measured within about a second.
    #[wasm_bindgen(unchecked_return_type = "DeviceCalibration")]
    pub async fn calibrate(&self) -> Result<JsValue, JsValue> {
        let (_busy, _) = self.begin()?;
        let gpu = device::open(DeviceChoice::Gpu).await.map_err(engine_sentence)?;
        Ok(to_js(&device::calibrate(&gpu).await.map_err(engine_sentence)?)?)
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
    #[wasm_bindgen(unchecked_return_type = "Report")]
    pub fn report(&self) -> Result<JsValue, JsError> {
        to_js(&*self.run_report()?)
    }

    /// Made once for so many items.
    fn run_report(&self) -> Result<Rc<Report>, JsError> {
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

    /// Scores completions of one prompt; what is as it was in the call before is not computed again.
    #[wasm_bindgen(unchecked_return_type = "Score[]")]
    pub async fn score(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Turn[]")] prompt: JsValue,
        completions: Vec<String>,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(self.clock());
        let prompt = messages(prompt)?;
        let completions = completions.iter().map(String::as_str);
        let scores = scorer.rescore(&prompt, completions, &cancel).await;
        Ok(to_js(&scores.map_err(engine_sentence)?)?)
    }

    /// What the model sees of a prompt and a completion, with the value at every token.
    #[wasm_bindgen(unchecked_return_type = "Trace")]
    pub async fn trace(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Turn[]")] prompt: JsValue,
        completion: String,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(self.clock());
        Ok(to_js(&scorer.trace(&messages(prompt)?, &completion, &cancel).await.map_err(engine_sentence)?)?)
    }

    /// Scores token ids as they are; a language model's values begin at `first_completion_token`. The
    /// value at every token is given with the score where it is asked for.
    #[wasm_bindgen(js_name = scoreTokens, unchecked_return_type = "Score[]")]
    pub async fn score_tokens(
        &self,
        #[wasm_bindgen(unchecked_param_type = "number[][]")] input_ids: Array,
        first_completion_token: usize,
        every_token: bool,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        let input_ids: Vec<Vec<u32>> = from_js(input_ids.into())?;
        let sequences: Vec<TokenSequence> =
            input_ids.into_iter().map(|input_ids| TokenSequence::new(input_ids, first_completion_token)).collect();
        let detail = if every_token { Detail::EveryToken } else { Detail::Score };
        Ok(to_js(&scorer.score_tokens(&sequences, detail, &cancel).await.map_err(engine_sentence)?)?)
    }

    /// Milliseconds to hand one layer's work over `tokens` tokens to the device.
    #[wasm_bindgen(js_name = encodeMs)]
    pub async fn encode_ms(&self, tokens: usize) -> Result<f64, JsError> {
        let (_busy, _) = self.begin()?;
        self.scorer()?.encode_ms(tokens).await.map_err(sentence)
    }

    /// What chat templates are told of the time.
    fn clock(&self) -> Clock {
        self.date.get().unwrap_or_else(clock)
    }

    fn benchmark(&self) -> &'static Benchmark {
        self.benchmark.get().unwrap_or(&reward_bench_2::BENCHMARK)
    }

    fn with_run<T>(&self, use_run: impl FnOnce(&Run) -> Result<T, JsError>) -> Result<T, JsError> {
        let journal = self.journal.borrow();
        use_run(journal.as_ref().ok_or_else(|| sentence("reporting: no run was started"))?.run())
    }

    fn with_opened<T>(&self, key: &str, use_run: impl FnOnce(&Opened) -> Result<T, JsError>) -> Result<T, JsError> {
        let runs = self.runs.borrow();
        let found = runs.iter().find(|run| run.key == key);
        use_run(found.ok_or_else(|| sentence("looking at a run: it is not open any more; open it again"))?)
    }

    fn with_run_file<T>(&self, key: &str, use_run: impl FnOnce(&RunFile) -> Result<T, JsError>) -> Result<T, JsError> {
        self.with_opened(key, |opened| {
            let none =
                || sentence(format!("writing {}: it does not say under what its scores came about", opened.file.name));
            use_run(opened.file.run.as_deref().ok_or_else(none)?)
        })
    }

    fn store(&self) -> Result<Store, JsError> {
        if self.store.borrow().is_none() {
            self.configure(None, None, true)?;
        }
        self.store.borrow().clone().ok_or_else(|| sentence("fetching: the store is not set up"))
    }

    fn scorer(&self) -> Result<Rc<Scorer>, JsError> {
        self.scorer.borrow().clone().ok_or_else(|| sentence("scoring: no model is loaded; load one first"))
    }

    fn begin(&self) -> Result<(Busy<'_>, Cancel), JsError> {
        if self.busy.replace(true) {
            return Err(sentence("the engine is at work already; wait, or cancel that first"));
        }
        let cancel = Cancel::default();
        *self.cancel.borrow_mut() = cancel.clone();
        Ok((Busy(&self.busy), cancel))
    }
}
