//! Reward heads: reading, fitting and saving.

use js_sys::Function;
use rewardscope_engine::{Backbone, Cancel, EngineError, HeadConfig, Pooling, RewardHead, Scorer};
use rewardscope_fit::{FeatureCache, FeaturesHeader, FitError, OverlapRule, PreferenceFiles, Tell, gather, learn};
use rewardscope_store::Source;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::bridge::{fit_sentence, from_js, sentence, tell, to_js};
use crate::session::Session;

/// Options for fitting a reward head.
#[derive(Deserialize, tsify::Tsify)]
pub struct FitOptions {
    /// Name for the new head.
    pub name: String,
    /// Seed of the folds and of all resampling.
    pub seed: u32,
    /// How many of the model's layers run before the final norm; all of them when left out.
    pub layers: Option<usize>,
    /// Which hidden states the head reads.
    pub pooling: Pooling,
    /// Whether to keep or drop preference pairs whose prompt also occurs in the open dataset.
    pub overlap: OverlapRule,
}

/// Progress of a fit.
#[derive(Serialize, tsify::Tsify)]
pub struct FitProgress {
    /// The current stage.
    pub stage: FitStage,
    /// How much of the stage is done: preference pairs for `features`, a share of 1 for `fitting`.
    pub done: f64,
    /// The stage's whole, in the same unit.
    pub total: f64,
}

/// Stage of a fit.
#[derive(Serialize, tsify::Tsify)]
#[serde(rename_all = "lowercase")]
pub enum FitStage {
    /// Computes the hidden states of the preference pairs.
    Features,
    /// Fits the head's weight to them.
    Fitting,
}

/// A reward head, with the report of its quality.
#[derive(Serialize, tsify::Tsify)]
pub struct HeadReport {
    /// The head's name, its backbone model, and where it reads hidden states.
    pub config: HeadConfig,
    /// Completions whose hidden states this fit had to compute; 0 for a head that was read from a file.
    pub computed: usize,
    /// Accuracy and calibration on held-out pairs, where the head's file has this report.
    pub report: Option<rewardscope_fit::FitReport>,
}

impl HeadReport {
    fn of(head: &RewardHead, computed: usize) -> Self {
        // The report may be of another version; the head is good without it.
        let report = head.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { config: head.config.clone(), computed, report }
    }
}

pub(crate) async fn read_head(bytes: Vec<u8>) -> Result<RewardHead, EngineError> {
    RewardHead::read(&Source::memory("the reward head", bytes)).await
}

#[wasm_bindgen]
impl Session {
    /// Reads a reward head's file and describes the head. Does not put the head on the model: pass the file to
    /// `loadSite`, `loadHub` or `loadFiles` for that.
    #[wasm_bindgen(js_name = readHead, unchecked_return_type = "HeadReport")]
    pub async fn read_head(&self, bytes: Vec<u8>) -> Result<JsValue, JsError> {
        let told = HeadReport::of(&read_head(bytes).await.map_err(sentence)?, 0);
        // A report that JavaScript cannot represent is left out; the head is good without it.
        to_js(&told).or_else(|_| to_js(&HeadReport { report: None, ..told }))
    }

    /// Fits a reward head on the loaded model's hidden states. `preferences` is a file of preference pairs. `features`
    /// is a file of hidden states that were computed elsewhere. Missing ones are computed here and kept in memory for
    /// the next fit. `fittedHead` then gives the head's file. `progress` is called with each step.
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

    /// The file of the head that was fitted last, as bytes.
    #[wasm_bindgen(js_name = fittedHead)]
    pub fn fitted_head(&self) -> Result<Vec<u8>, JsError> {
        let fitted = self.fitted.borrow();
        let head = fitted.as_ref().ok_or_else(|| sentence("saving: no head was fitted; fit one first"))?;
        head.to_bytes().map_err(sentence)
    }
}

impl Session {
    #[allow(clippy::too_many_arguments, reason = "one caller, above")]
    pub(crate) async fn fit_with(
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
}
