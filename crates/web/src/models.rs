//! Devices, the catalogue of models, and loading a model.

use std::rc::Rc;

use js_sys::Function;
use rewardscope_engine::{
    CATALOG, Cancel, Clock, DeviceChoice, DeviceReport, Dtype, EngineError, FORMATS, Format, Gives, Listed,
    LoadOptions, LoadProgress, LogRatios, ModelFiles, NamedReader, PUBLISHED_MARKS, PairAggregate, READERS, Reader,
    ReaderChoice, ReaderSpec, ScoreKind, Scorer, StepAggregate, device,
};
use rewardscope_store::{FetchProgress, Folder, PARTS_FILE, RepositoryId, Source, is_address};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::bridge::{clock, engine_sentence, from_js, sentence, tell, to_js};
use crate::heads::read_head;
use crate::session::Session;

/// Settings for loading a model.
#[derive(Deserialize, tsify::Tsify)]
pub struct LoadSettings {
    /// The device that computes.
    pub device: DeviceChoice,
    /// Weight type on the device.
    pub dtype: Dtype,
    /// Use the reference evaluator's protocol and token limit.
    pub is_reference: bool,
    /// Name of a conversation format to use instead of the model's chat template; see `Catalog.formats`.
    pub format: Option<String>,
    /// Index of the logit that is the score, for a classifier with several.
    pub label: Option<usize>,
    /// What reads the score: the name of a known reader, `none`, or a reader's own JSON; the reader that is known for
    /// the model when left out.
    #[serde(default)]
    pub reader: Option<String>,
    /// What the reader asks, instead of its own instruction.
    #[serde(default)]
    pub instruction: Option<String>,
    /// How the values of a solution's steps become its score.
    #[serde(default)]
    pub step_aggregate: Option<StepAggregate>,
    /// How outcomes against other completions become a score, for a model that compares them.
    #[serde(default)]
    pub pair_aggregate: Option<PairAggregate>,
    /// Use RewardBench's protocol and token limit for a policy and its reference.
    #[serde(default)]
    pub is_dpo: bool,
    /// The model that a language model's rewards are measured against, where they are to be implicit.
    #[serde(default)]
    pub reference: Option<ReferenceSettings>,
    /// Local date that chat templates are told, `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ss`; the current time when left out.
    pub date: Option<String>,
}

/// A model to measure rewards against.
#[derive(Deserialize, tsify::Tsify)]
pub struct ReferenceSettings {
    /// Its Hub id, or the address of a model in parts.
    pub model: String,
    /// How log-ratios become a reward.
    pub log_ratios: LogRatios,
}

impl LoadSettings {
    /// The date as a clock; `None` when it is left out.
    fn date(&self) -> Result<Option<Clock>, JsError> {
        let asked = self.date.as_deref().map(str::trim).filter(|date| !date.is_empty());
        let read = |date: &str| {
            let wrong = || sentence("loading: expected a date as YYYY-MM-DD or YYYY-MM-DDThh:mm:ss");
            Clock::parse(date).ok_or_else(wrong)
        };
        asked.map(read).transpose()
    }

    /// The weight type of which a kept form may be opened instead of the published files. A reader takes rows of the
    /// vocabulary's matrix as they were published, so that its scores do not depend on what was loaded before.
    fn form(&self) -> Dtype {
        match self.reader.as_deref().map(str::trim) {
            None | Some("" | "none") => self.dtype,
            Some(_) => Dtype::Auto,
        }
    }

    fn options(&self, clock: Clock) -> Result<LoadOptions, EngineError> {
        let mut options = match (self.is_dpo, self.is_reference) {
            (true, _) => LoadOptions::rewardbench_dpo(clock),
            (false, true) => LoadOptions::reference(clock),
            (false, false) => LoadOptions::new(clock),
        };
        options.protocol.format = self.format.as_deref().map(Format::named).transpose()?;
        options.label = self.label;
        options.reader = match self.reader.as_deref().map(str::trim) {
            None | Some("") => ReaderChoice::Found,
            Some(json) if json.starts_with('{') => {
                let name = "own reader".to_owned();
                ReaderChoice::Given(Box::new(Reader { spec: ReaderSpec::from_json(&name, json)?, name }))
            }
            Some(name) => ReaderChoice::named(name)?,
        };
        options.instruction = self.instruction.clone().filter(|text| !text.trim().is_empty());
        options.step_aggregate = self.step_aggregate.unwrap_or_default();
        options.pair_aggregate = self.pair_aggregate.unwrap_or_default();
        options.dtype = self.dtype;
        Ok(options)
    }
}

/// The choices before a model is loaded.
#[derive(Serialize, tsify::Tsify)]
pub struct Catalog {
    /// Models of the Hub, smallest first.
    pub models: Vec<ListedModel>,
    /// Source of the published marks of these models.
    pub marks_from: String,
    /// Names of the known conversation formats.
    pub formats: Vec<String>,
    /// The known readers.
    pub readers: Vec<ListedReader>,
    /// The kinds of scores.
    pub kinds: Vec<ListedKind>,
    /// The device that the models would run on.
    pub device: DeviceReport,
}

/// A model of the Hub as listed, before anything is fetched.
#[derive(Serialize, tsify::Tsify)]
pub struct ListedModel {
    /// The model's Hub id.
    pub id: String,
    /// The model's architecture.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes to fetch.
    pub stored_bytes: u64,
    /// Bytes of the weights on the device.
    pub memory_bytes: u64,
    /// Name of the model's licence.
    pub licence: String,
    /// Published RewardBench 2 mark, 0 to 1; absent where none is published.
    pub reward_bench_2: Option<f64>,
    /// What the model's scores are.
    pub kind: ScoreKind,
    /// Why the model cannot be loaded on this device; absent where it can.
    pub does_not_fit: Option<String>,
}

/// A kind of scores as listed.
#[derive(Serialize, tsify::Tsify)]
pub struct ListedKind {
    /// The kind.
    pub kind: ScoreKind,
    /// Its name, as a label.
    pub label: String,
    /// What it gives, in sentences.
    pub gives: String,
}

/// A known reader as listed.
#[derive(Serialize, tsify::Tsify)]
pub struct ListedReader {
    /// Its name.
    pub name: String,
    /// What its scores are.
    pub gives: Gives,
    /// Whether it reads a language model; otherwise a model with a head of its own.
    pub is_for_language_models: bool,
    /// The reader as JSON, to be changed.
    pub json: String,
}

/// A model of files that the visitor picked.
async fn picked_files(
    name: &str,
    files: &[web_sys::File],
    cancel: &Cancel,
) -> Result<Result<ModelFiles, EngineError>, JsValue> {
    let folder = Folder::new(name, files.iter().map(Source::picked)).assembled(cancel).await.map_err(sentence)?;
    Ok(ModelFiles::from_sources(name, folder.sources().cloned().collect()))
}

fn listed_kind(kind: ScoreKind) -> ListedKind {
    ListedKind { kind, label: kind.label().to_owned(), gives: kind.gives().to_owned() }
}

fn listed_readers() -> Result<Vec<ListedReader>, EngineError> {
    let listed = |known: &NamedReader| {
        let spec = known.reader()?.spec;
        Ok(ListedReader {
            name: known.name.to_owned(),
            gives: spec.gives,
            is_for_language_models: known.is_for_language_models,
            json: spec.to_json(),
        })
    };
    READERS.iter().map(listed).collect()
}

#[wasm_bindgen]
impl Session {
    /// Opens the device that `choice` leads to. The report says which device it is, and why.
    #[wasm_bindgen(js_name = openDevice, unchecked_return_type = "DeviceReport")]
    pub async fn open_device(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DeviceChoice")] choice: JsValue,
    ) -> Result<JsValue, JsError> {
        let choice: DeviceChoice = from_js(choice)?;
        to_js(&device::open(choice).await.map_err(sentence)?.report)
    }

    /// The models and formats to choose from. Sizes and fit are for the device that `choice` leads to and for weights
    /// of type `dtype` on it.
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
            kind: model.kind,
            does_not_fit: model.does_not_fit(&device, dtype),
        };
        to_js(&Catalog {
            models: CATALOG.iter().map(listed).collect(),
            marks_from: PUBLISHED_MARKS.to_owned(),
            formats: FORMATS.iter().map(|format| format.name.to_owned()).collect(),
            readers: listed_readers().map_err(sentence)?,
            kinds: ScoreKind::ALL.map(listed_kind).into(),
            device: device.report.clone(),
        })
    }

    /// Loads a model that the site hosts. `manifest` is the address of its manifest. `head` is the file of a reward
    /// head to put on the model. The current model is dropped first, and the current run is closed.
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
        let files = ModelFiles::fetch_as(&store, &repository, None, settings.form(), &cancel, tell).await;
        self.load(files, head, &settings, &progress, &cancel).await
    }

    /// Loads a model of the Hub, `owner/name[@revision][:file]`, or a model in parts at an address. Otherwise as
    /// `loadSite`.
    #[wasm_bindgen(js_name = loadHub, unchecked_return_type = "ModelReport")]
    pub async fn load_hub(
        &self,
        id: String,
        head: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "LoadSettings")] settings: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let settings: LoadSettings = from_js(settings)?;
        let files = self.named_files(&id, settings.form(), &progress, &cancel).await?;
        self.load(files, head, &settings, &progress, &cancel).await
    }

    /// Loads a model from files that the visitor picked or dropped. `name` is the name to show. Otherwise as
    /// `loadSite`.
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
        let files = picked_files(&name, &files, &cancel).await?;
        self.load(files, head, &from_js(settings)?, &progress, &cancel).await
    }

    /// Takes files that the visitor picked as the reference of the model that is loaded next, in place of those that its
    /// settings name.
    #[wasm_bindgen(js_name = pickReference)]
    pub fn pick_reference(&self, files: Vec<web_sys::File>) {
        self.reference.replace(files);
    }

    /// Measures the speed of the GPU and of the CPU. Takes about a second.
    #[wasm_bindgen(unchecked_return_type = "DeviceCalibration")]
    pub async fn calibrate(&self) -> Result<JsValue, JsValue> {
        let (_busy, _) = self.begin()?;
        let gpu = device::open(DeviceChoice::Gpu).await.map_err(engine_sentence)?;
        Ok(to_js(&device::calibrate(&gpu).await.map_err(engine_sentence)?)?)
    }
}

impl Session {
    /// The files of a model of the Hub, or of a model in parts at an address.
    async fn named_files(
        &self,
        id: &str,
        dtype: Dtype,
        progress: &Function,
        cancel: &Cancel,
    ) -> Result<Result<ModelFiles, EngineError>, JsValue> {
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(progress, &LoadProgress::from(now));
        let id = id.trim();
        if is_address(id) {
            let manifest = format!("{}/{PARTS_FILE}", id.trim_end_matches(PARTS_FILE).trim_end_matches('/'));
            let repository = store.site(&manifest, cancel, tell).await.map_err(sentence)?;
            return Ok(ModelFiles::fetch_as(&store, &repository, None, dtype, cancel, tell).await);
        }
        let id: RepositoryId = id.parse().map_err(sentence)?;
        Ok(ModelFiles::from_hub(&store, &id, dtype, cancel, tell).await)
    }

    pub(crate) async fn load(
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
        // All is fetched before the old model is dropped.
        let picked = self.reference.take();
        let reference = match &settings.reference {
            Some(ReferenceSettings { model, log_ratios }) => {
                let files = match picked.is_empty() {
                    true => self.named_files(model, settings.dtype, progress, cancel).await?,
                    false => picked_files(model, &picked, cancel).await?,
                };
                Some((files.map_err(engine_sentence)?, *log_ratios))
            }
            None => None,
        };
        self.date.set(date);
        // Drop the old model first: two may not fit into memory together.
        self.scorer.take();
        self.close_run();
        let told = &mut |now| tell(progress, &now);
        let device = device::open(settings.device).await.map_err(engine_sentence)?;
        let scorer = Scorer::load(&files, head.as_ref(), device, options, cancel, told).await;
        let mut scorer = scorer.map_err(engine_sentence)?;
        if let Some((files, log_ratios)) = reference {
            let device = device::open(settings.device).await.map_err(engine_sentence)?;
            scorer = scorer.against(&files, log_ratios, device, cancel, told).await.map_err(engine_sentence)?;
        }
        let scorer = Rc::new(scorer);
        // Hidden states of another backbone are of no use any more; free their memory.
        self.features.borrow_mut().take_if(|cache| cache.header().backbone != scorer.report().backbone_fingerprint);
        let report = to_js(scorer.report())?;
        *self.scorer.borrow_mut() = Some(scorer);
        Ok(report)
    }
}
