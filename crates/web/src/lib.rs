//! What the page's worker calls. No logic: a [`Session`] holds the opened model, dataset and run,
//! and hands calls on to `engine` and `eval`. Reports are declared to TypeScript by `tsify`.

mod constructors;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Function};
use rewardscope_benchmarks::published::{
    Downstream, DownstreamCorrelation, PublishedRow, downstream, downstream_correlation, published,
};
use rewardscope_benchmarks::reward_bench_2::{self, OFFICIAL_ROWS};
use rewardscope_benchmarks::{Assessment, BENCHMARKS, Benchmark, Item, Selection, benchmark, reward_bench};
use rewardscope_engine::{
    Backbone, CATALOG, Cancel, Clock, Detail, DeviceChoice, DeviceReport, Dtype, EngineError, FORMATS, Format,
    HeadConfig, Listed, LoadOptions, LoadProgress, Message, ModelFiles, PUBLISHED_MARKS, Pooling, RewardHead, Scorer,
    TokenSequence, device,
};
use rewardscope_eval::{
    ClaimError, Claims, DatasetColumns, Journal, JournalSummary, Reading, Rows, Run, RunIdentity, ScoreFile,
    fetch_dataset, marks_json, open_remote_dataset, read_items, score_claim, score_item,
};
use rewardscope_fit::{FeatureCache, FeaturesHeader, FitError, OverlapRule, gather, learn};
use rewardscope_store::{
    FetchProgress, Folder, HUB, Hub, PARTS_FILE, RepositoryId, Shelf, Source, Store, Token, is_address,
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
}

impl LoadSettings {
    fn options(&self) -> Result<LoadOptions, EngineError> {
        let mut options = if self.is_reference { LoadOptions::reference(clock()) } else { LoadOptions::new(clock()) };
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

/// A turn of a conversation.
#[derive(Deserialize, tsify::Tsify)]
pub struct ChatTurn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

fn messages(turns: JsValue) -> Result<Vec<Message>, JsError> {
    let turns: Vec<ChatTurn> = from_js(turns)?;
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
}

impl ColumnNames {
    fn mapping(self) -> DatasetColumns {
        let name = |name: String| if name.trim().is_empty() { Vec::new() } else { vec![name.trim().to_owned()] };
        DatasetColumns {
            prompt: name(self.prompt),
            chosen: name(self.chosen),
            rejected: name(self.rejected),
            subset: name(self.subset),
            ..DatasetColumns::default()
        }
    }
}

/// The marks of a score file.
#[derive(Serialize, tsify::Tsify)]
pub struct MarkedScores {
    /// The file's name.
    pub name: String,
    /// The marks with what they are worth.
    pub assessment: Assessment,
    /// The same, and what else the scores say, as the command writes it.
    pub json: String,
}

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
}

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
    /// RewardBench 2 where none was chosen.
    benchmark: Cell<Option<&'static Benchmark>>,
    columns: RefCell<Option<DatasetColumns>>,
    journal: RefCell<Option<Journal>>,
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
        let options = settings.options().map_err(engine_sentence)?;
        let head = match head {
            Some(bytes) => Some(read_head(bytes).await.map_err(engine_sentence)?),
            None => None,
        };
        // The old model goes first: two do not fit beside each other.
        self.scorer.take();
        self.journal.take();
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
        scorer.set_clock(clock());
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
        let source = Source::picked(&preferences);
        let at = |stage: FitStage, done: f64, total: f64| tell(progress, &FitProgress { stage, done, total });
        let gathered =
            gather(scorer, &source, (&benchmark, prompts), options.overlap, cache, cancel, &mut |done, total| {
                at(FitStage::Features, done as f64, total as f64);
            })
            .await?;
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
        self.open_data(source, about.attribution, about.warning).await
    }

    /// Opens a dataset of the Hub, `owner/name[@revision][:file]`, or at an address.
    #[wasm_bindgen(js_name = openDataHub, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_hub(
        &self,
        id: String,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let source = open_remote_dataset(&store, id.trim(), Reading::Whole, &cancel, tell).await.map_err(sentence)?;
        self.open_data(source, String::new(), String::new()).await
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
        });
        to_js(&entries)
    }

    /// Chooses the benchmark that datasets opened from here on are of, and where their rows have
    /// what, where that is not as the benchmark has it.
    #[wasm_bindgen(js_name = chooseBenchmark)]
    pub fn choose_benchmark(
        &self,
        name: String,
        #[wasm_bindgen(unchecked_param_type = "ColumnNames | undefined")] columns: JsValue,
    ) -> Result<(), JsError> {
        let columns: Option<ColumnNames> = from_js(columns)?;
        self.benchmark.set(Some(benchmark(&name).map_err(sentence)?));
        *self.columns.borrow_mut() = columns.map(ColumnNames::mapping);
        Ok(())
    }

    /// Marks a file of scores: ours, a run file, or a reference evaluator's.
    #[wasm_bindgen(js_name = markScores, unchecked_return_type = "MarkedScores")]
    pub async fn mark_scores(
        &self,
        file: web_sys::File,
        name: String,
        variant: Option<String>,
    ) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        let benchmark = benchmark(&name).map_err(sentence)?;
        let variant = benchmark.variant(variant.as_deref()).map_err(sentence)?;
        let source = Source::picked(&file);
        let bytes = source.read_all().await.map_err(sentence)?;
        let scores = ScoreFile::read(source.name(), &String::from_utf8_lossy(&bytes)).map_err(sentence)?;
        let assessment = scores.assess(benchmark, variant, 0, false).map_err(sentence)?;
        let marks = scores.marks(benchmark, variant).map_err(sentence)?;
        let json = marks_json(&assessment, &marks, Some(&scores)).to_string();
        to_js(&MarkedScores { name: source.name().to_owned(), assessment, json })
    }

    /// Opens a dataset file that was picked or dropped.
    #[wasm_bindgen(js_name = openDataFile, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_file(&self, file: web_sys::File) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        self.open_data(Source::picked(&file), String::new(), String::new()).await
    }

    async fn open_data(&self, source: Source, attribution: String, warning: String) -> Result<JsValue, JsError> {
        let columns = self.columns.borrow().clone();
        let items = read_items(self.benchmark(), &source, columns.as_ref(), Rows::ALL).await.map_err(sentence)?;
        let mut subsets: Vec<SubsetCount> = Vec::new();
        for item in &items {
            match subsets.iter_mut().find(|s| s.subset == item.subset) {
                Some(subset) => subset.count += 1,
                None => subsets.push(SubsetCount { subset: item.subset.clone(), count: 1 }),
            }
        }
        let name = source.name().to_owned();
        let report = to_js(&DatasetReport { name: name.clone(), items: items.len(), subsets, attribution, warning })?;
        *self.dataset.borrow_mut() = (name, items);
        self.journal.take();
        Ok(report)
    }

    /// Opens the run of the loaded model over the items selected: at most `limit` a subset, all
    /// without one. What was scored of it earlier is there already, unless `anew` forgets it.
    #[wasm_bindgen(unchecked_return_type = "RunProgress")]
    pub async fn plan(&self, limit: Option<usize>, seed: u32, anew: bool) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        let scorer = self.scorer()?;
        // The old journal's file is closed before it may be opened again.
        self.journal.take();
        let selection = Selection { limit_per_subset: limit, seed: u64::from(seed) };
        let (name, items) = self.dataset.borrow().clone();
        if items.is_empty() {
            return Err(sentence("running: no dataset is open; open one first"));
        }
        let identity = RunIdentity::new(scorer.report(), self.benchmark(), &name, &items, selection);
        let place = format!("{}.jsonl", identity.key());
        let device = &scorer.report().device;
        let journal = Journal::open(&place, identity, &items, device, clock(), anew).await.map_err(sentence)?;
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
        let is_bradley_terry = self.scorer.borrow().as_ref().is_some_and(|scorer| scorer.report().head.is_some());
        self.with_run(|run| {
            let report = run.report().map_err(sentence)?;
            to_js(&run.insight(&report.assessment, is_bradley_terry))
        })
    }

    /// What the run has come to so far.
    #[wasm_bindgen(unchecked_return_type = "Report")]
    pub fn report(&self) -> Result<JsValue, JsError> {
        self.with_run(|run| to_js(&run.report().map_err(sentence)?))
    }

    /// All that is known of one item of the run.
    #[wasm_bindgen(unchecked_return_type = "ItemReport")]
    pub fn item(&self, place: usize) -> Result<JsValue, JsError> {
        self.with_run(|run| {
            to_js(&run.item_report(place).ok_or_else(|| sentence(format!("item {place}: there is no such item")))?)
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
        self.with_run(|run| serde_json::to_string(&run.report().map_err(sentence)?.marks).map_err(sentence))
    }

    /// Scores completions of one prompt; what is as it was in the call before is not computed again.
    #[wasm_bindgen(unchecked_return_type = "Score[]")]
    pub async fn score(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ChatTurn[]")] prompt: JsValue,
        completions: Vec<String>,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(clock());
        let prompt = messages(prompt)?;
        let completions = completions.iter().map(String::as_str);
        let scores = scorer.rescore(&prompt, completions, &cancel).await;
        Ok(to_js(&scores.map_err(engine_sentence)?)?)
    }

    /// What the model sees of a prompt and a completion, with the value at every token.
    #[wasm_bindgen(unchecked_return_type = "Trace")]
    pub async fn trace(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ChatTurn[]")] prompt: JsValue,
        completion: String,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(clock());
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

    fn benchmark(&self) -> &'static Benchmark {
        self.benchmark.get().unwrap_or(&reward_bench_2::BENCHMARK)
    }

    fn with_run<T>(&self, use_run: impl FnOnce(&Run) -> Result<T, JsError>) -> Result<T, JsError> {
        let journal = self.journal.borrow();
        use_run(journal.as_ref().ok_or_else(|| sentence("reporting: no run was started"))?.run())
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
