//! Reward heads: read, fitted and saved.

use js_sys::Function;
use rewardscope_engine::{Backbone, Cancel, EngineError, HeadConfig, Pooling, RewardHead, Scorer};
use rewardscope_fit::{FeatureCache, FeaturesHeader, FitError, OverlapRule, PreferenceFiles, Tell, gather, learn};
use rewardscope_store::Source;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::bridge::{fit_sentence, from_js, sentence, tell, to_js};
use crate::session::Session;

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
    pub report: Option<rewardscope_fit::FitReport>,
}

impl HeadReport {
    fn of(head: &RewardHead, computed: usize) -> Self {
        // A report of another version is no reason to refuse the head.
        let report = head.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { config: head.config.clone(), computed, report }
    }
}

pub(crate) async fn read_head(bytes: Vec<u8>) -> Result<RewardHead, EngineError> {
    RewardHead::read(&Source::memory("the reward head", bytes)).await
}

#[wasm_bindgen]
impl Session {
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

    /// The file of the head that was fitted last.
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
