//! A language model as a policy: what it is measured against, and the rows that RewardBench makes for both.

use rewardscope_models::{Head, Summary};
use rewardscope_store::Hasher;
use rewardscope_text::{TextError, TextPipeline};

use crate::error::EngineError;
use crate::reader::attach::attach;
use crate::scoring::implicit::{Against, By, LogRatios, Reference};
use crate::scoring::kept::{KeptReference, KeptText, OfReference};
use crate::scoring::report::ModelReport;
use crate::scoring::score::Detail;
use crate::scoring::scorer::{Scorer, formatted};
use crate::scoring::sequence::TokenSequence;
use crate::{Cancel, LoadOptions, LoadProgress, Message, ModelFiles, OpenDevice, Protocol, ReaderChoice};

/// What RewardBench leaves of a prompt that is too long.
const DPO_PROMPT_TOKENS: usize = 128;

fn of_reference(report: &ModelReport) -> OfReference {
    OfReference {
        model: report.origin.as_ref().unwrap_or(&report.name).clone(),
        fingerprint: report.fingerprint.clone(),
        dtype: report.dtype,
        context_tokens: report.context_tokens,
        device_bytes: report.device_bytes,
        weight_bytes: report.weight_bytes,
    }
}

/// Checks that a model gives log-probabilities.
fn is_language_model(role: &str, name: &str, summary: &Summary) -> Result<(), EngineError> {
    if summary.head == Head::LanguageModel {
        return Ok(());
    }
    let found = format!(
        "a language model was expected as the {role}, {name} ({}) was found, whose scores are those of a head or a \
         reader; choose a language model, or load it without a reader (--reader none)",
        summary.architecture
    );
    Err(EngineError::Implicit { model: name.to_owned(), found })
}

/// Checks that an id stands for the same token in a policy and its reference, where both have it: fine-tuning adds
/// tokens. Each has a name, a number of ids and a tokenizer.
fn same_vocabulary(both: [(&str, usize, &TextPipeline); 2]) -> Result<(), EngineError> {
    let [(policy, own_size, own), (name, size, other)] = both;
    for id in 0..u32::try_from(own_size.min(size)).unwrap_or(u32::MAX) {
        if let (Some(own), Some(other)) = (own.tokenizer.token(id), other.tokenizer.token(id))
            && own != other
        {
            let found = format!(
                "a reference of the same vocabulary was expected; in {name}, the token {id} is {other:?}, in the policy {own:?}; choose the model that the policy was trained from"
            );
            return Err(EngineError::Implicit { model: policy.to_owned(), found });
        }
    }
    Ok(())
}

impl Scorer {
    /// This language model as a policy whose rewards are measured against a reference, which is loaded beside it: from
    /// now on, scores are implicit rewards. Both models see the ids of the policy's tokenizer. Of the options, those
    /// of the weights and of batches are the reference's too.
    ///
    /// # Errors
    /// As [`Self::load`], when the two do not fit into memory together (then see [`Self::reference_for`]), one of them is
    /// no language model, or their vocabularies differ.
    pub async fn against(
        self,
        files: &ModelFiles,
        log_ratios: LogRatios,
        device: OpenDevice,
        cancel: &Cancel,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, EngineError> {
        is_language_model("policy", &self.report.name, &self.forward.summary)?;
        let device = device.beside(self.report.device_bytes);
        // Its own output is read, whatever reader is known for it.
        let options = LoadOptions { reader: ReaderChoice::None, ..self.options.clone() };
        let reference = Self::load(files, None, device, options, cancel, progress).await?;
        is_language_model("reference", &reference.report.name, &reference.forward.summary)?;
        same_vocabulary([self.vocabulary(), reference.vocabulary()])?;
        let of = of_reference(&reference.report);
        let Self { forward, report, batch_tokens, .. } = reference;
        let by = By::Loaded { forward: Box::new(forward), layers: report.layers, batch_tokens };
        Ok(self.measured(of, log_ratios, by))
    }

    /// A reference by itself, which sees texts as its policy does: by the policy's tokenizer, template and limits. What
    /// it says of texts ([`Self::keep`]) is for [`Self::against_kept`]. The options are those of the policy.
    ///
    /// # Errors
    /// As [`Self::against`], but for memory.
    pub async fn reference_for(
        policy: &ModelFiles,
        files: &ModelFiles,
        device: OpenDevice,
        options: LoadOptions,
        cancel: &Cancel,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, EngineError> {
        let mut opened = policy.open(options.clock).await?;
        attach(&mut opened, policy.name(), false, &options).await?;
        let summary = opened.architecture.summary();
        is_language_model("policy", policy.name(), summary)?;
        let most = options.max_tokens.unwrap_or(usize::MAX).min(summary.context_tokens);
        let vocab_size = summary.vocab_size;
        let own = LoadOptions { reader: ReaderChoice::None, ..options.clone() };
        let mut reference = Self::load(files, None, device, own, cancel, progress).await?;
        is_language_model("reference", &reference.report.name, &reference.forward.summary)?;
        let both = [(policy.name(), vocab_size, &opened.text), reference.vocabulary()];
        same_vocabulary(both)?;
        formatted(&mut opened.text, &options)?;
        let side = options.protocol.truncation.unwrap_or(opened.text.tokenizer.side());
        reference.options.protocol.truncation = Some(side);
        reference.text = opened.text;
        reference.report.context_tokens = reference.report.context_tokens.min(most);
        Ok(reference)
    }

    /// The name, the number of ids and the tokenizer of a model.
    fn vocabulary(&self) -> (&str, usize, &TextPipeline) {
        (&self.report.name, self.forward.summary.vocab_size, &self.text)
    }

    /// This model as a reference of which nothing is kept yet.
    pub fn kept(&self) -> KeptReference {
        KeptReference::new(of_reference(&self.report))
    }

    /// What a reference says of token sequences, in their order; nothing where `known` has it all.
    ///
    /// # Errors
    /// As [`Self::score_tokens`].
    pub async fn keep(
        &self,
        sequences: &[TokenSequence],
        known: &KeptReference,
        cancel: &Cancel,
    ) -> Result<Vec<KeptText>, EngineError> {
        let rows = self.rows(sequences, Detail::Score)?;
        if known.has(&rows) {
            return Ok(Vec::new());
        }
        let (layers, budget) = (self.report.layers, self.batch_tokens);
        let readings = self.forward.read(&rows, layers, budget, None, cancel, &mut |_| ()).await?;
        Ok(rows.iter().zip(readings).map(|(row, readings)| KeptText::of(row, readings)).collect())
    }

    /// As [`Self::against`], with what the reference says of all texts that will be scored. Its weights are not loaded.
    ///
    /// # Errors
    /// When this is no language model. Scoring then fails for a text that is not kept.
    pub fn against_kept(self, reference: KeptReference, log_ratios: LogRatios) -> Result<Self, EngineError> {
        is_language_model("policy", &self.report.name, &self.forward.summary)?;
        let of = OfReference { device_bytes: 0, weight_bytes: 0, ..reference.of.clone() };
        Ok(self.measured(of, log_ratios, By::Kept(reference)))
    }

    fn measured(mut self, of: OfReference, log_ratios: LogRatios, by: By) -> Self {
        let reference = Reference { model: of.model, fingerprint: of.fingerprint, log_ratios };
        let report = &mut self.report;
        let LogRatios { beta, normalise_length } = log_ratios;
        let mut hash = Hasher::sha256();
        let (policy, measured) = (&report.fingerprint, &reference.fingerprint);
        hash.update(format!("implicit {policy} {measured} {beta} {normalise_length}").as_bytes());
        report.fingerprint = hash.finish().hex();
        report.context_tokens = report.context_tokens.min(of.context_tokens);
        report.device_bytes += of.device_bytes;
        report.weight_bytes += of.weight_bytes;
        report.aggregate = None;
        report.is_reward_model = true;
        report.reference = Some(reference.clone());
        self.against = Some(Against { by, reference });
        self
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
