//! Models that see two completions at once: the texts that they read, and the round in which every completion meets
//! every other in both orders.

use rewardscope_models::Head;
use rewardscope_text::{Bos, Message, TruncationSide};

use crate::Cancel;
use crate::error::EngineError;
use crate::scoring::forward::Row;
use crate::scoring::round_robin::{Duel, standings};
use crate::scoring::score::Score;
use crate::scoring::scorer::Scorer;
use crate::scoring::sequence::TokenSequence;

/// The tokens that begin the parts of a text; the model is read at them.
const PROMPT: &str = "<|source|>";
const FIRST: &str = "<|candidate1|>";
const SECOND: &str = "<|candidate2|>";
/// Most tokens of a whole text, and how many of them are a prompt's at most (`tokenize_pair`).
const MOST_TOKENS: usize = 2048;
const PROMPT_TOKENS: usize = 1224;
/// What a conversation of several turns begins with, spelt as its publishers do (`get_pair_from_conv`).
const INSTRUCTION: &str =
    "Finish the following coversation in each i-th turn by filling in <Response i> with your response.";

/// Most pairs whose texts are made at a time.
const PAIRS_AT_ONCE: usize = 64;

impl Scorer {
    /// Whether the model sees two completions at once: then all completions of a prompt are scored together.
    pub fn compares(&self) -> bool {
        self.forward.summary.head == Head::Pair
    }

    /// How many completions of a prompt it takes to score one.
    pub fn fewest_completions(&self) -> usize {
        if self.compares() { 2 } else { 1 }
    }

    /// The token sequences of a prompt with each of its completions, as PairRM's publishers make them
    /// (`llm_blender/blender/blender_utils.py` of llm-blender 0.0.2, `tokenize_pair`): prompt and completions are each
    /// encoded with special tokens; what is too long loses its end, the prompt first.
    pub(super) fn contestants(
        &self,
        prompt: &[Message],
        completions: &mut dyn Iterator<Item = &str>,
    ) -> Result<Vec<TokenSequence>, EngineError> {
        // RewardBench makes a conversation of every prompt (`rewardbench/models/pairrm.py`, `tokenize_conv_pair`).
        let is_conversation = self.options.protocol.bos == Bos::RewardBench;
        let texts = Texts::of(prompt, completions, is_conversation).map_err(|found| self.no_pair(found))?;
        let most = MOST_TOKENS.min(self.report.context_tokens);
        let (asked, cut, asked_at) = self.part(PROMPT, &texts.prompt, most * PROMPT_TOKENS / MOST_TOKENS)?;
        let (start, own) = (asked.len(), most.saturating_sub(asked.len()) / 2);
        let sequence = |text: &String| {
            let (first, own_cut, first_at) = self.part(FIRST, text, own)?;
            let (second, _, second_at) = self.part(SECOND, text, own)?;
            Ok(TokenSequence {
                cut_tokens: cut + own_cut,
                read_at: vec![asked_at, start + first_at, second_at],
                as_second: second,
                ..TokenSequence::new([asked.as_slice(), &first].concat(), start)
            })
        };
        texts.completions.iter().map(sequence).collect()
    }

    /// A part of a text: its ids, how many were cut off its end, and where the token stands that begins it.
    fn part(&self, marker: &str, text: &str, most: usize) -> Result<(Vec<u32>, usize, usize), EngineError> {
        let tokenizer = &self.text.tokenizer;
        let (ids, cut) = tokenizer.encode_cut(&format!("{marker}{text}"), true, most, TruncationSide::Right)?;
        let wanted = tokenizer.id(marker);
        match ids.iter().position(|&id| Some(id) == wanted) {
            Some(at) => Ok((ids, cut, at)),
            None if wanted.is_none() => Err(self.no_pair(format!(
                "a tokenizer with the token {marker} was expected, {} has none; fetch the tokenizer of the model's own repository",
                tokenizer.file()
            ))),
            None => Err(self.no_pair(format!(
                "no room was found for {marker} in {most} tokens; allow more tokens (--max-length)"
            ))),
        }
    }

    /// The scores of a prompt's completions: each meets every other in both orders. `told` gets the number of
    /// completions that are done.
    pub(super) async fn compare(
        &self,
        sequences: &[TokenSequence],
        cancel: &Cancel,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vec<Score>, EngineError> {
        let count = sequences.len();
        if count < 2 {
            let found = format!(
                "two completions or more were expected, {count} was found; a model of pairs gives no score to one alone"
            );
            return Err(self.no_pair(found));
        }
        if sequences.iter().any(|sequence| sequence.as_second.is_empty()) {
            return Err(
                self.no_pair("token ids were found, a prompt and completions as texts were expected".to_owned())
            );
        }
        let pairs: Vec<(usize, usize)> =
            (0..count).flat_map(|one| (0..count).map(move |other| (one, other))).filter(|(a, b)| a != b).collect();
        let mut logits = vec![vec![0.0; count]; count];
        let mut computed = vec![0; count];
        let mut done = 0;
        for part in pairs.chunks(PAIRS_AT_ONCE) {
            let ids: Vec<Vec<u32>> =
                part.iter().map(|&(one, other)| joined(&sequences[one], &sequences[other])).collect();
            let rows: Vec<Row<'_>> = part
                .iter()
                .zip(&ids)
                .map(|(&(one, other), ids)| {
                    let (first, second) = (&sequences[one], &sequences[other]);
                    let values = vec![first.read_at[0], first.read_at[1], first.input_ids.len() + second.read_at[2]];
                    Row { ids, types: &[], values, pooled: None }
                })
                .collect();
            self.forward.check_ids(&self.report.name, ids.iter().flatten())?;
            let heard = &mut |rows: usize| told((done + rows) / (count - 1));
            let readings = self.forward.read(&rows, self.report.layers, self.batch_tokens, None, cancel, heard).await?;
            for (&(one, other), reading) in part.iter().zip(readings) {
                let output = |at: usize| reading.values.get(at).map_or(f64::NAN, |&output| f64::from(output));
                logits[one][other] = output(0) - output(1);
                computed[one] += reading.computed;
            }
            done += part.len();
        }
        let standings = standings(&logits, self.options.pair_aggregate);
        let scored = sequences.iter().zip(standings).zip(computed);
        Ok(scored.map(|((sequence, (score, duels)), computed)| compared(sequence, score, duels, computed)).collect())
    }

    /// The number of tokens of all pairs.
    pub(super) fn compared_tokens(sequences: &[TokenSequence]) -> usize {
        let all = sequences.iter().map(|sequence| sequence.input_ids.len() + sequence.as_second.len()).sum::<usize>();
        all * sequences.len().saturating_sub(1)
    }

    /// The refusal of a comparison.
    pub(super) fn no_pair(&self, found: String) -> EngineError {
        EngineError::Pair { model: self.report.name.clone(), found }
    }
}

/// The text of two completions: the prompt with the one, then the other.
fn joined(one: &TokenSequence, other: &TokenSequence) -> Vec<u32> {
    [one.input_ids.as_slice(), &other.as_second].concat()
}

/// The score of a completion that was compared with the others of its prompt.
fn compared(sequence: &TokenSequence, score: f64, duels: Vec<Duel>, computed_tokens: usize) -> Score {
    let tokens = sequence.input_ids.len();
    Score {
        score,
        tokens,
        completion_tokens: tokens - sequence.first_completion_token,
        cut_tokens: sequence.cut_tokens,
        computed_tokens,
        input_ids: sequence.input_ids.clone(),
        duels,
        ..Score::default()
    }
}

/// What the model reads of a prompt and its completions.
#[derive(Debug, PartialEq, Eq)]
struct Texts {
    prompt: String,
    completions: Vec<String>,
}

impl Texts {
    /// A single question is read as it is (`Blender.rank`), with a system message right before it. A conversation of
    /// several turns asks for all of its answers (`get_pair_from_conv`); earlier ones stand in both completions.
    fn of(
        prompt: &[Message],
        completions: &mut dyn Iterator<Item = &str>,
        is_conversation: bool,
    ) -> Result<Self, String> {
        let (system, turns) = match prompt {
            [first, rest @ ..] if first.role == "system" => (first.content.as_str(), rest),
            all => ("", all),
        };
        let roles = ["user", "assistant"].iter().cycle();
        if turns.len() % 2 == 0 || turns.iter().zip(roles).any(|(turn, role)| turn.role != *role) {
            let found: Vec<&str> = turns.iter().map(|turn| turn.role.as_str()).collect();
            return Err(format!(
                "turns of user and assistant were expected, one after the other, the last one the user's; {} were found",
                if found.is_empty() { "none".to_owned() } else { found.join(", ") }
            ));
        }
        if let ([only], false) = (turns, is_conversation) {
            let completions = completions.map(str::to_owned).collect();
            return Ok(Self { prompt: format!("{system}{}", only.content), completions });
        }
        let numbered = |first: usize| turns.iter().skip(first).step_by(2).map(|turn| &turn.content).zip(1..);
        let asked: Vec<String> =
            numbered(0).map(|(content, turn)| format!("USER: {content}\nAssistant: <Response {turn}>")).collect();
        let earlier: String = numbered(1).map(|(content, turn)| format!("<Response {turn}>: {content}\n")).collect();
        let last = asked.len();
        let answered = |completion: &str| format!("{earlier}<Response {last}>: {completion}");
        Ok(Self {
            prompt: format!("{system}{INSTRUCTION}{}", asked.join("\n")),
            completions: completions.map(answered).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(roles: &[(&str, &str)], is_conversation: bool) -> Result<Texts, String> {
        let prompt: Vec<Message> = roles.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        Texts::of(&prompt, &mut ["Yes.", "No."].into_iter(), is_conversation)
    }

    #[test]
    fn texts_are_those_of_the_publishers() {
        let made = |prompt: &str, completions: [&str; 2]| {
            Ok(Texts { prompt: prompt.to_owned(), completions: completions.map(str::to_owned).to_vec() })
        };
        assert_eq!(texts(&[("user", "Is it?")], false), made("Is it?", ["Yes.", "No."]));
        let single = format!("{INSTRUCTION}USER: Is it?\nAssistant: <Response 1>");
        assert_eq!(texts(&[("user", "Is it?")], true), made(&single, ["<Response 1>: Yes.", "<Response 1>: No."]));
        assert_eq!(
            texts(&[("system", "Be terse."), ("user", "Is it?")], false),
            made("Be terse.Is it?", ["Yes.", "No."])
        );
        let turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "Is it?")];
        let asked = format!("{INSTRUCTION}USER: Hi.\nAssistant: <Response 1>\nUSER: Is it?\nAssistant: <Response 2>");
        let answers = ["<Response 1>: Hello.\n<Response 2>: Yes.", "<Response 1>: Hello.\n<Response 2>: No."];
        assert_eq!(texts(&turns, false), made(&asked, answers));
    }

    #[test]
    fn other_turns_are_refused() {
        for turns in [
            &[][..],
            &[("assistant", "a")],
            &[("user", "a"), ("assistant", "b")],
            &[("user", "a"), ("user", "b"), ("user", "c")],
        ] {
            let found = texts(turns, false).expect_err("refused");
            assert!(found.contains("the last one the user's"), "{found}");
        }
        assert!(texts(&[("system", "a")], false).expect_err("refused").ends_with("none were found"));
    }
}
