//! Scoring of single prompts and completions.

use js_sys::{Array, Function};
use rewardscope_engine::{Detail, Message, TokenSequence};
use wasm_bindgen::prelude::*;

use crate::bridge::{engine_sentence, from_js, sentence, tell, to_js};
use crate::session::Session;

#[wasm_bindgen]
impl Session {
    /// Scores the completions of one prompt. Texts that are unchanged since the call before are not computed again.
    #[wasm_bindgen(unchecked_return_type = "Score[]")]
    pub async fn score(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Message[]")] prompt: JsValue,
        completions: Vec<String>,
        #[wasm_bindgen(unchecked_param_type = "(progress: ScoreProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(self.clock());
        let prompt: Vec<Message> = from_js(prompt)?;
        let completions = completions.iter().map(String::as_str);
        let scores = scorer.rescore(&prompt, completions, &cancel, &mut |now| tell(&progress, &now)).await;
        Ok(to_js(&scores.map_err(engine_sentence)?)?)
    }

    /// The tokens of a prompt and a completion as the model sees them, with the value at each token.
    #[wasm_bindgen(unchecked_return_type = "Trace")]
    pub async fn trace(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Message[]")] prompt: JsValue,
        completion: String,
    ) -> Result<JsValue, JsValue> {
        let (_busy, cancel) = self.begin()?;
        let scorer = self.scorer()?;
        scorer.set_clock(self.clock());
        let prompt: Vec<Message> = from_js(prompt)?;
        Ok(to_js(&scorer.trace(&prompt, &completion, &cancel).await.map_err(engine_sentence)?)?)
    }

    /// Scores token ids as they are: one score per list of ids. The completion begins at index `first_completion_token`
    /// of each list; a language model's values begin there. With `every_token`, each score comes with the value at
    /// every token.
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

    /// Milliseconds to hand one layer's work over `tokens` tokens to the device, without waiting for the result. The
    /// first call also compiles kernels.
    #[wasm_bindgen(js_name = encodeMs)]
    pub async fn encode_ms(&self, tokens: usize) -> Result<f64, JsError> {
        let (_busy, _) = self.begin()?;
        self.scorer()?.encode_ms(tokens).await.map_err(sentence)
    }
}
