//! A language model as a policy: what it is measured against, and the rows that RewardBench makes for both.

use rewardscope_models::Head;
use rewardscope_store::Hasher;
use rewardscope_text::TextError;

use crate::error::EngineError;
use crate::scoring::implicit::{Against, LogRatios, Reference};
use crate::scoring::scorer::Scorer;
use crate::scoring::sequence::TokenSequence;
use crate::{Cancel, LoadOptions, LoadProgress, Message, ModelFiles, OpenDevice, Protocol, ReaderChoice};

/// What RewardBench leaves of a prompt that is too long.
const DPO_PROMPT_TOKENS: usize = 128;

impl Scorer {
    /// This language model as a policy whose rewards are measured against a reference, which is loaded beside it: from
    /// now on, scores are implicit rewards. Both models see the ids of the policy's tokenizer. Of the options, those
    /// of the weights and of batches are the reference's too.
    ///
    /// # Errors
    /// As [`Self::load`], when the two do not fit into memory together, one of them is no language model, or their
    /// vocabularies differ.
    pub async fn against(
        self,
        files: &ModelFiles,
        log_ratios: LogRatios,
        device: OpenDevice,
        cancel: &Cancel,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, EngineError> {
        self.is_language_model("policy", &self)?;
        let device = device.beside(self.report.device_bytes);
        // Its own output is read, whatever reader is known for it.
        let options = LoadOptions { reader: ReaderChoice::None, ..self.options.clone() };
        let reference = Self::load(files, None, device, options, cancel, progress).await?;
        self.is_language_model("reference", &reference)?;
        self.measured(reference, log_ratios)
    }

    /// Checks that a scorer gives log-probabilities.
    fn is_language_model(&self, role: &str, scorer: &Self) -> Result<(), EngineError> {
        if scorer.forward.summary.head == Head::LanguageModel && scorer.against.is_none() {
            return Ok(());
        }
        let (kind, name, scores) = (&scorer.report.architecture, &scorer.report.name, scorer.report.scores());
        Err(self.no_implicit(format!(
            "a language model was expected as the {role}, {name} ({kind}) was found, whose scores are {scores}; choose a \
             language model, or load it without a reader (--reader none)"
        )))
    }

    fn measured(mut self, reference: Self, log_ratios: LogRatios) -> Result<Self, EngineError> {
        self.same_vocabulary(&reference)?;
        let Self { forward, report: other, batch_tokens, .. } = reference;
        let reference =
            Reference { model: other.origin.unwrap_or(other.name), fingerprint: other.fingerprint, log_ratios };
        let report = &mut self.report;
        let LogRatios { beta, normalise_length } = log_ratios;
        let mut hash = Hasher::sha256();
        let (policy, measured) = (&report.fingerprint, &reference.fingerprint);
        hash.update(format!("implicit {policy} {measured} {beta} {normalise_length}").as_bytes());
        report.fingerprint = hash.finish().hex();
        report.context_tokens = report.context_tokens.min(other.context_tokens);
        report.device_bytes += other.device_bytes;
        report.weight_bytes += other.weight_bytes;
        report.aggregate = None;
        report.is_reward_model = true;
        report.reference = Some(reference.clone());
        self.against = Some(Against { forward, layers: other.layers, batch_tokens, reference });
        Ok(self)
    }

    /// Checks that an id stands for the same token in both models, where both have it: fine-tuning adds tokens.
    fn same_vocabulary(&self, reference: &Self) -> Result<(), EngineError> {
        let most = self.forward.summary.vocab_size.min(reference.forward.summary.vocab_size);
        for id in 0..u32::try_from(most).unwrap_or(u32::MAX) {
            let tokens = (self.text.tokenizer.token(id), reference.text.tokenizer.token(id));
            if let (Some(own), Some(other)) = tokens
                && own != other
            {
                let name = &reference.report.name;
                return Err(self.no_implicit(format!("a reference of the same vocabulary was expected; in {name}, the token {id} is {other:?}, in the policy {own:?}; choose the model that the policy was trained from")));
            }
        }
        Ok(())
    }

    /// The refusal of an implicit reward.
    pub(super) fn no_implicit(&self, found: String) -> EngineError {
        EngineError::Implicit { model: self.report.name.clone(), found }
    }

    /// The token sequences of a prompt with each of its completions as RewardBench gives them to a policy and its
    /// reference (`allenai/reward-bench` at 0ba1f18, `rewardbench/dpo.py`): the prompt is rendered without what begins
    /// an answer, so that this counts as completion; a BOS is put before whatever the template writes and an EOS behind
    /// it; a text that is too long for the longest completion loses all but its prompt's last 128 tokens, and then
    /// the end of the completion.
    pub(super) fn dpo_rows(
        &self,
        prompt: &[Message],
        completions: &mut dyn Iterator<Item = &str>,
    ) -> Result<Vec<TokenSequence>, EngineError> {
        if self.forward.summary.head != Head::LanguageModel {
            let found = "RewardBench's protocol for language models was chosen (rewardbench-dpo), and this is none; choose the protocol reference, or the default";
            return Err(self.no_implicit(found.to_owned()));
        }
        let tokenizer = &self.text.tokenizer;
        let missing = || TextError::NoTemplate { file: tokenizer.file().to_owned() };
        let template = self.text.template.as_ref().ok_or_else(missing)?;
        let (bos, eos) = (self.special("bos_token")?, self.special("eos_token")?);
        let asked = template.render(prompt, false)?;
        let alone = tokenizer.encode(&asked)?;
        let mut rows = Vec::new();
        for completion in completions {
            let mut messages = prompt.to_vec();
            messages.push(Message::new("assistant", completion));
            let answer = template.render(&messages, false)?.replace(asked.as_str(), "");
            let whole = tokenizer.encode(&format!("{asked}{answer}"))?;
            // Where the prompt's last token grows into the answer, it belongs to the answer.
            let start = if whole.starts_with(&alone) { alone.len() } else { alone.len().saturating_sub(1) };
            let (before, after) = whole.split_at(start.min(whole.len()));
            rows.push(([&[bos], before].concat(), [after, &[eos]].concat()));
        }
        let longest = rows.iter().map(|(_, answer)| answer.len()).max().unwrap_or_default();
        Ok(rows.into_iter().map(|(before, answer)| dpo_cut(before, answer, longest)).collect())
    }

    /// The id of a special token by its name in the tokenizer's settings.
    fn special(&self, name: &str) -> Result<u32, EngineError> {
        let tokenizer = &self.text.tokenizer;
        let token = tokenizer.special_tokens().iter().find(|(known, _)| known == name).map(|(_, token)| token);
        token.and_then(|token| tokenizer.id(token)).ok_or_else(|| {
            self.no_implicit(format!("RewardBench's protocol (rewardbench-dpo) puts the tokenizer's {name}, and it has none; choose the default protocol"))
        })
    }
}

/// Cuts a prompt and its answer as RewardBench does, and joins them. `longest` is the longest answer's length.
fn dpo_cut(mut before: Vec<u32>, mut answer: Vec<u32>, longest: usize) -> TokenSequence {
    let all = before.len() + answer.len();
    if before.len() + longest > Protocol::REFERENCE_TOKENS {
        drop(before.drain(..before.len().saturating_sub(DPO_PROMPT_TOKENS)));
    }
    if before.len() + longest > Protocol::REFERENCE_TOKENS {
        answer.truncate(Protocol::REFERENCE_TOKENS - DPO_PROMPT_TOKENS);
    }
    let start = before.len();
    before.append(&mut answer);
    TokenSequence { cut_tokens: all - before.len(), ..TokenSequence::new(before, start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected lengths by hand from `DPOInference.tokenize_row`: the longest answer decides for all.
    #[test]
    fn prompts_are_cut_before_answers() {
        let ids = |count: u32| (0..count).collect::<Vec<_>>();
        let lengths = |before, answer, longest| {
            let row = dpo_cut(ids(before), ids(answer), longest);
            (row.first_completion_token, row.input_ids.len(), row.cut_tokens)
        };
        assert_eq!(lengths(1000, 1048, 1048), (1000, 2048, 0));
        assert_eq!(lengths(1000, 10, 1049), (128, 138, 872), "another answer is too long");
        assert_eq!(lengths(100, 3000, 3000), (100, 100 + 1920, 1080), "a short prompt stays whole");
        assert_eq!(lengths(1000, 1920, 1920), (128, 2048, 872));
        assert_eq!(lengths(1000, 1921, 1921), (128, 2048, 873));
        let row = dpo_cut(ids(3000), ids(1), 1);
        assert_eq!(row.input_ids[..2], [2872, 2873], "the end of the prompt is kept");
    }
}
