//! From prompts and completions to token sequences, and from a sequence's values back to its text.

use rewardscope_models::Head;
use rewardscope_text::{Conversation, Message, Pair, TruncationSide};

use crate::Cancel;
use crate::error::EngineError;
use crate::reader::layout::{Answer, Placed};
use crate::scoring::score::Detail;
use crate::scoring::scorer::Scorer;
use crate::scoring::sequence::{TokenSequence, Trace, TracedToken};

impl Scorer {
    /// The token sequences of a prompt with each of its completions, in their order.
    ///
    /// # Errors
    /// When the template or the tokenizer fails.
    pub fn tokenize<'a>(
        &self,
        prompt: &[Message],
        completions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<TokenSequence>, EngineError> {
        let encoding = self.encoding();
        if self.options.protocol.is_dpo {
            return self.dpo_rows(prompt, &mut completions.into_iter());
        }
        if let Some(own) = &self.reader {
            let answers = completions.into_iter().map(Answer::Whole);
            let placed = own.layout.place(&self.text, prompt, answers, encoding)?;
            return Ok(placed.into_iter().map(|placed| placed.sequence).collect());
        }
        if self.compares() {
            return self.contestants(prompt, &mut completions.into_iter());
        }
        if self.forward.summary.head == Head::Pooled {
            let pairs = self.text.pairs(prompt, completions, encoding)?;
            let sequence = |pair: Pair| TokenSequence {
                token_type_ids: pair.token_type_ids,
                cut_tokens: pair.cut_tokens,
                ..TokenSequence::new(pair.input_ids, pair.first_completion_token)
            };
            return Ok(pairs.into_iter().map(sequence).collect());
        }
        let conversations = self.text.conversations(prompt, completions, encoding)?;
        Ok(conversations.into_iter().map(|conversation| self.ended(conversation)).collect())
    }

    /// A conversation with the token at its end that the score is read at. It stands there though the text is cut.
    fn ended(&self, conversation: Conversation) -> TokenSequence {
        let Conversation { mut input_ids, mut first_completion_token, mut cut_tokens, .. } = conversation;
        let most = self.report.context_tokens;
        if self.reading.append(&mut input_ids) && input_ids.len() > most {
            let over = input_ids.len() - most;
            cut_tokens += over;
            match self.truncation() {
                TruncationSide::Left => {
                    drop(input_ids.drain(..over));
                    first_completion_token = first_completion_token.saturating_sub(over);
                }
                TruncationSide::Right => drop(input_ids.drain(most - 1..most - 1 + over)),
            }
        }
        TokenSequence { cut_tokens, ..TokenSequence::new(input_ids, first_completion_token) }
    }

    /// The token sequence of a text that is rendered already, as training loops send it: its special tokens are parsed.
    /// With `adds_special` the tokenizer's own are put around it, but no second BOS before one that it has; an encoder
    /// always gets them. All of it counts as prompt.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn tokenize_text(&self, text: &str, adds_special: bool) -> Result<TokenSequence, EngineError> {
        let tokenizer = &self.text.tokenizer;
        let special = adds_special || self.forward.summary.head == Head::Pooled;
        let most = self.report.context_tokens;
        let (mut ids, mut cut_tokens) = tokenizer.encode_cut(text, special, most, self.truncation())?;
        let bos = tokenizer.special_tokens().iter().find(|(name, _)| name == "bos_token");
        let bos = bos.and_then(|(_, token)| tokenizer.id(token));
        if special && bos.is_some_and(|bos| ids.starts_with(&[bos, bos])) {
            ids.remove(0);
        }
        // The token that the score is read at stands at the end though the text is cut.
        if self.reading.append(&mut ids) && ids.len() > most {
            cut_tokens += 1;
            match self.truncation() {
                TruncationSide::Left => drop(ids.remove(0)),
                TruncationSide::Right => drop(ids.remove(most - 1)),
            }
        }
        Ok(TokenSequence { cut_tokens, ..self.whole(ids) })
    }

    /// The token sequence of ids as they are. All of it counts as prompt; of a language model's, all but the first token
    /// as completion.
    pub fn whole(&self, input_ids: Vec<u32>) -> TokenSequence {
        let first = if self.forward.summary.head == Head::LanguageModel { 1 } else { input_ids.len() };
        TokenSequence::new(input_ids, first)
    }

    /// The token sequences of a prompt with solutions in steps, in their order, for a model whose reader reads steps.
    ///
    /// # Errors
    /// As [`Self::tokenize`], and when the model's reader reads no steps.
    pub fn tokenize_steps(
        &self,
        prompt: &[Message],
        solutions: &[Vec<String>],
    ) -> Result<Vec<TokenSequence>, EngineError> {
        let Some(own) = &self.reader else {
            let found = "steps, and no reader of steps; choose one (--reader NAME)".to_owned();
            return Err(EngineError::Reader { reader: "none".to_owned(), found });
        };
        let answers = solutions.iter().map(|steps| Answer::Steps(steps));
        let placed = own.layout.place(&self.text, prompt, answers, self.encoding())?;
        Ok(placed.into_iter().map(|placed| placed.sequence).collect())
    }

    /// Checks that conversations can become texts. Call it before many of them are scored.
    ///
    /// # Errors
    /// When the model has no chat template and the protocol names no format, or the protocol is not for such models.
    pub fn check_template(&self) -> Result<(), EngineError> {
        match self.tokenize(&[Message::new("user", "?")], ["."]) {
            Err(error @ EngineError::Text(rewardscope_text::TextError::NoTemplate { .. })) => Err(error),
            Err(error @ (EngineError::Implicit { .. } | EngineError::Pair { .. })) => Err(error),
            // Another error for this conversation does not mean that others fail too.
            _ => Ok(()),
        }
    }

    /// What the model sees of a prompt and a completion, token by token, with a value at each token. A decoder
    /// with a score gives the score that the text would have if it ended there. A language model gives the
    /// token's log-probability. An encoder has one value for the whole text.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub async fn trace(&self, prompt: &[Message], completion: &str, cancel: &Cancel) -> Result<Trace, EngineError> {
        let encoding = self.encoding();
        let placed = match &self.reader {
            Some(own) => own.layout.place(&self.text, prompt, [Answer::Whole(completion)], encoding)?.pop(),
            None => None,
        };
        let (sequences, placed) = match placed {
            Some(Placed { sequence, text }) => (vec![sequence], Some(text)),
            None => (self.tokenize(prompt, [completion])?, None),
        };
        let text = match self.forward.summary.head {
            _ if placed.is_some() => placed,
            Head::Pooled | Head::Pair => None,
            Head::Score | Head::LanguageModel => {
                self.text.conversations(prompt, [completion], encoding)?.pop().map(|conversation| conversation.text)
            }
        };
        let mut scores = self.score_tokens(&sequences, Detail::EveryToken, cancel).await?;
        let (Some(sequence), Some(score)) = (sequences.first(), scores.pop()) else {
            return Err(EngineError::Cancelled);
        };
        let ids = self.within_context(std::slice::from_ref(sequence))?.concat();
        let texts = match &text {
            Some(text) => self.text.token_texts(text, &ids)?,
            None => ids.iter().map(|&id| self.text.tokenizer.token(id).unwrap_or_default()).collect(),
        };
        // A language model's values begin where the completion begins; a classifier's where the text begins.
        let values = match &self.report.reference {
            Some(_) => running(&score.token_scores),
            None => score.token_scores,
        };
        let first_value = ids.len().saturating_sub(values.len());
        // Before an answer begins, a gated head has no value.
        let known = |at: usize| values.get(at).filter(|value| !value.is_nan()).map(|&value| f64::from(value));
        let value = |place: usize| place.checked_sub(first_value).and_then(known);
        let token = |(place, (&id, text)): (usize, (&u32, String))| TracedToken { id, text, value: value(place) };
        Ok(Trace {
            tokens: ids.iter().zip(texts).enumerate().map(token).collect(),
            first_completion_token: self.completion_start(sequence),
            score: score.score,
            is_reward: self.report.is_reward_model,
        })
    }
}

/// The reward of the completion up to each token, the empty completion's 0 first: it stands at the prompt's last token.
fn running(shares: &[f32]) -> Vec<f32> {
    let sums = shares.iter().scan(0.0, |sum, &share| {
        *sum += f64::from(share);
        Some(*sum as f32)
    });
    std::iter::once(0.0).chain(sums).collect()
}
