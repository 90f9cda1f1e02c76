//! Scores of single prompts and completions.

use js_sys::Array;
use rewardscope_benchmarks::Turn;
use rewardscope_engine::{Detail, Message, TokenSequence};
use wasm_bindgen::prelude::*;

use crate::bridge::{engine_sentence, from_js, sentence, to_js};
use crate::session::Session;

fn messages(turns: JsValue) -> Result<Vec<Message>, JsError> {
    let turns: Vec<Turn> = from_js(turns)?;
    Ok(turns.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect())
}

#[wasm_bindgen]
impl Session {
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
}
