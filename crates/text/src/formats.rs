//! Conversation formats for models without a chat template: the texts around each turn. Names and texts are those of
//! RewardBench (`rewardbench/chattemplates.py` and FastChat's `conversation.py`).

use crate::TextError;

/// How a conversation is written: first `before`, then each turn between the opening and the closing text of its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its name in RewardBench.
    pub name: &'static str,
    before: &'static str,
    user: [&'static str; 2],
    assistant: [&'static str; 2],
}

const fn format(
    name: &'static str,
    before: &'static str,
    user: [&'static str; 2],
    assistant: [&'static str; 2],
) -> Format {
    Format { name, before, user, assistant }
}

/// All formats; `raw` writes the texts alone.
pub const FORMATS: [Format; 11] = [
    format("raw", "", ["", ""], ["", ""]),
    format("tulu", "", ["<|user|>\n", "\n"], ["<|assistant|>\n", "\n"]),
    format("oasst_pythia", "", ["<|prompter|>", "<|endoftext|>"], ["<|assistant|>", "<|endoftext|>"]),
    format(
        "Robin",
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, \
         detailed, and polite answers to the human's questions.\n",
        ["###Human:\n", "\n"],
        ["###Assistant:\n", "\n"],
    ),
    format("openbmb", "", ["User: ", "\n\n"], ["Assistant: ", "\n\n"]),
    format("pku-align", "BEGINNING OF CONVERSATION: ", ["USER: ", " "], ["ASSISTANT: ", " "]),
    format("Ziya", "\n\n", ["Human: ", "\n\n"], ["Assistant: ", "\n\n"]),
    format("mistral", "", ["[INST] ", " "], ["[/INST] ", "</s>"]),
    format("llama-2", "", ["[INST] ", " "], ["[/INST] ", " </s><s>"]),
    format("Yi-34b-chat", "", ["<|im_start|>user\n", "<|im_end|>\n"], ["<|im_start|>assistant\n", "<|im_end|>\n"]),
    format("TinyLlama", "<|system|>\n</s>\n", ["<|user|>\n", "</s>\n"], ["<|assistant|>\n", "</s>\n"]),
];

impl Format {
    /// The format of this name.
    ///
    /// # Errors
    /// [`TextError::NoFormat`], whose message lists all names.
    pub fn named(name: &str) -> Result<Self, TextError> {
        let named = FORMATS.into_iter().find(|format| format.name == name);
        named.ok_or_else(|| TextError::NoFormat { name: name.to_owned() })
    }

    /// The source of a chat template that writes this format. A prompt ends before the text that opens the answer, as
    /// in RewardBench. A message whose role is neither `user` nor `assistant` is refused.
    pub fn template(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let turn = |[open, close]: [&str; 2]| format!("{{{{ {} + m['content'] + {} }}}}", text(open), text(close));
        let refusal = text(&format!("the format {} has no place for a message of the role ", self.name));
        format!(
            "{{{{ {} }}}}{{% for m in messages %}}{{% if m['role'] == 'user' %}}{}{{% elif m['role'] == 'assistant' \
             %}}{}{{% else %}}{{{{ raise_exception({refusal} + m['role']) }}}}{{% endif %}}{{% endfor %}}",
            text(self.before),
            turn(self.user),
            turn(self.assistant),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatTemplate, Clock, Message};

    #[test]
    fn formats_are_the_reference_evaluators() {
        let fixture = include_str!("../../../tests/fixtures/metrics/fastchat_templates.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        let expected = fixture["templates"].as_object().expect("by name");
        assert_eq!(expected.len(), FORMATS.len());
        for (name, cases) in expected {
            let source = Format::named(name).expect("a format of that name").template();
            let clock = Clock::from_local_seconds(0);
            let template = ChatTemplate::new(name, source, Vec::new(), clock).expect("a template");
            let said = |turns: &[&str]| {
                let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
                let messages: Vec<Message> =
                    turns.iter().enumerate().map(|(i, turn)| Message::new(role(i), *turn)).collect();
                template.render(&messages, true).expect("renders")
            };
            for (found, want) in [
                (said(&["Hi there"]), &cases["single"]["prompt"]),
                (said(&["Hi there", "Hello!"]), &cases["single"]["text_chosen"]),
                (said(&["Hi there", "No."]), &cases["single"]["text_rejected"]),
                (said(&["u1", "a1", "u2"]), &cases["multi"]["prompt"]),
                (said(&["u1", "a1", "u2", "good"]), &cases["multi"]["text_chosen"]),
                (said(&["u1", "a1", "u2", "bad"]), &cases["multi"]["text_rejected"]),
            ] {
                assert_eq!(Some(found.as_str()), want.as_str(), "{name}");
            }
            let system = template.render(&[Message::new("system", "x")], false).expect_err("no place").to_string();
            assert!(system.contains("role system"), "{system}");
        }
    }
}
