//! Reads texts and conversations in the forms that datasets use.

use rewardscope_conversation::Message;
use serde_json::{Map, Value};

use crate::reader::json_list;
use crate::skip::{Reason, Skip};

/// The value of a prompt or completion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Text {
    Plain(String),
    Texts(Vec<String>),
    Turns(Vec<Message>),
}

/// Names of roles in datasets, and the role that each means.
const ROLES: &[(&str, &str)] = &[
    ("system", "system"),
    ("developer", "system"),
    ("user", "user"),
    ("human", "user"),
    ("prompter", "user"),
    ("instruction", "user"),
    ("assistant", "assistant"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("bot", "assistant"),
    ("chatbot", "assistant"),
    ("model", "assistant"),
    ("ai", "assistant"),
    ("agent", "assistant"),
    ("response", "assistant"),
];

/// Roles of turns that call a tool or hold its answer.
const TOOL_ROLES: [&str; 7] =
    ["tool", "function", "function_call", "observation", "tool_call", "tool_response", "ipython"];

/// A value in a few words that tell its shape, for messages.
pub(crate) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "null".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "an empty text".to_owned(),
        Some(Value::String(text)) => {
            let start: String = text.chars().take(40).collect();
            let more = if text.chars().nth(40).is_some() { "…" } else { "" };
            format!("the text {start:?}{more}")
        }
        Some(Value::Array(values)) if values.is_empty() => "an empty list".to_owned(),
        Some(Value::Array(values)) => {
            let kind = |value: &Value| match value {
                Value::Object(turn) if turn.contains_key("role") || turn.contains_key("from") => "messages",
                Value::Object(_) => "objects",
                Value::String(_) => "texts",
                Value::Number(_) => "numbers",
                Value::Bool(_) => "true and false",
                Value::Null => "nulls",
                Value::Array(_) => "lists",
            };
            let of = values.iter().find(|value| !value.is_null()).map_or("nulls", kind);
            let odd = values.iter().position(|value| kind(value) != of);
            let odd = odd.map(|at| format!("; the {} is {}", ordinal(at + 1), shown(Some(&values[at]))));
            format!("a list of {} {of}{}", values.len(), odd.unwrap_or_default())
        }
        Some(Value::Object(object)) => {
            let keys: Vec<&str> = object.keys().take(6).map(String::as_str).collect();
            format!("an object with {}", if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") })
        }
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => format!("the number {number}"),
    }
}

fn ordinal(number: usize) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

/// Reads a value as a text, texts or messages. With `is_json`, a text that is a list or a message as JSON is parsed.
/// `what` names the value in error messages.
pub(crate) fn text_of(value: &Value, what: &str, is_json: bool) -> Result<Text, Skip> {
    let wrong = || {
        let reason = if value.is_null() { Reason::NoCompletion } else { Reason::Shape };
        Skip::new(reason, format!("{what}: a text, a list of texts or a list of messages"), shown(Some(value)))
    };
    match value {
        Value::String(text) if is_json => match json_list(text) {
            Some(inner) => text_of(&inner, what, false),
            None if ["[{'", "['", "[\""].iter().any(|start| text.trim_start().starts_with(start)) => Err(Skip::new(
                Reason::Shape,
                format!("{what}: a list as JSON writes it ([\"a\", \"b\"])"),
                "a list as Python prints it",
            )),
            None => Ok(Text::Plain(text.clone())),
        },
        Value::String(text) => Ok(Text::Plain(text.clone())),
        Value::Object(turn) if turn.contains_key("role") || turn.contains_key("from") => {
            Ok(Text::Turns(vec![turn_of(turn, 1, 1)?]))
        }
        Value::Array(values) if values.iter().all(Value::is_string) => {
            Ok(Text::Texts(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()))
        }
        Value::Array(values) if values.iter().all(Value::is_object) => {
            let turns = values.iter().enumerate().filter_map(|(at, value)| Some((at, value.as_object()?)));
            let has_roles = turns.clone().all(|(_, turn)| role_of(turn).is_some());
            if !has_roles {
                return Err(wrong());
            }
            turns.map(|(at, turn)| turn_of(turn, at + 1, values.len())).collect::<Result<_, _>>().map(Text::Turns)
        }
        _ => Err(wrong()),
    }
}

fn role_of(turn: &Map<String, Value>) -> Option<&str> {
    ["role", "from", "speaker", "author"].iter().find_map(|name| turn.get(*name)?.as_str())
}

/// Reads a message, whatever its keys and roles are called. It is message `number`, from 1, of `count`.
fn turn_of(turn: &Map<String, Value>, number: usize, count: usize) -> Result<Message, Skip> {
    let which = || match count {
        1 => "a message".to_owned(),
        _ => format!("a list of {count} messages; the {}", ordinal(number)),
    };
    let role = role_of(turn).unwrap_or_default().trim();
    let lower = role.to_ascii_lowercase();
    let is_given = |name: &str| match turn.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Object(values)) => values.values().any(|value| !value.is_null()),
        Some(_) => true,
    };
    if TOOL_ROLES.contains(&lower.as_str()) {
        return Err(Skip::new(
            Reason::Tools,
            "turns of system, user and assistant",
            format!("{} is of {role:?}", which()),
        ));
    }
    if let Some(name) =
        ["tool_calls", "function_call", "tool_call_id", "functions", "tools"].iter().find(|name| is_given(name))
    {
        return Err(Skip::new(Reason::Tools, "messages of text alone", format!("{} has {name}", which())));
    }
    if let Some(name) =
        ["reasoning_content", "reasoning", "thinking", "thought", "images", "audio"].iter().find(|name| is_given(name))
    {
        return Err(Skip::new(Reason::NotText, "messages of text alone", format!("{} has {name}", which())));
    }
    let known = ROLES.iter().find(|(name, _)| *name == lower).map(|(_, role)| *role);
    let content = ["content", "value", "text", "message"].iter().find_map(|name| turn.get(*name));
    let content = match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts_of(parts, &which)?,
        Some(Value::Object(part)) => parts_of(&[Value::Object(part.clone())], &which)?,
        other => {
            let found = format!("{} has content {}", which(), shown(other));
            return Err(Skip::new(Reason::Shape, "messages with a text as content", found));
        }
    };
    Ok(Message { role: known.unwrap_or(role).to_owned(), content })
}

/// Joins content parts in OpenAI's form into one text.
fn parts_of(parts: &[Value], which: &dyn Fn() -> String) -> Result<String, Skip> {
    let mut all = String::new();
    for part in parts {
        let is_null = |name: &str| part.get(name).is_none_or(Value::is_null);
        match (part, part.get("text")) {
            (Value::String(text), _) => all += text,
            (_, Some(Value::String(text))) if is_null("image_url") && is_null("image") && is_null("input_audio") => {
                all += text;
            }
            _ => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("another kind");
                let found = format!("{} has a part of {:.30}", which(), kind);
                return Err(Skip::new(Reason::NotText, "content parts of text", found));
            }
        }
    }
    Ok(all)
}

/// Marks that begin a turn in a transcript, and the turn's role.
const MARKS: [&[(&str, &str)]; 2] = [
    &[("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")],
    &[("<extra_id_0>System", "system"), ("<extra_id_1>User", "user"), ("<extra_id_1>Assistant", "assistant")],
];

/// Reads a transcript; `None` where a text is not one. HH-RLHF's turns begin with `\n\nHuman: ` or `\n\nAssistant: `.
/// HelpSteer2's begin with `<extra_id_0>System`, `<extra_id_1>User` or `<extra_id_1>Assistant`; text before the first
/// mark is the user's. An empty assistant turn at the end is left out: the completion goes there.
pub(crate) fn transcript(text: &str) -> Option<Vec<Message>> {
    let (marks, is_open) = if text.starts_with("\n\nHuman:") || text.starts_with("\n\nAssistant:") {
        (MARKS[0], false)
    } else if text.contains("<extra_id_1>") {
        (MARKS[1], true)
    } else {
        return None;
    };
    let begins = |at: usize| marks.iter().find(|(mark, _)| text[at..].starts_with(mark)).copied();
    let first = &marks[0].0[..2];
    let places: Vec<usize> = text.match_indices(first).map(|(at, _)| at).filter(|&at| begins(at).is_some()).collect();
    let mut turns = Vec::new();
    if let Some(before) = places.first().map(|at| text[..*at].trim()).filter(|before| is_open && !before.is_empty()) {
        turns.push(Message::new("user", before));
    }
    for (i, &at) in places.iter().enumerate() {
        let (mark, role) = begins(at)?;
        let end = places.get(i + 1).copied().unwrap_or(text.len());
        let content = text[at + mark.len()..end].trim();
        if !(content.is_empty() && end == text.len() && role == "assistant") {
            turns.push(Message::new(role, content));
        }
    }
    (!turns.is_empty()).then_some(turns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_read_whatever_their_keys_are_called() {
        let expected = Text::Turns(vec![Message::new("user", "a"), Message::new("assistant", "b")]);
        for value in [
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
            json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]),
            json!([{"role": "User", "content": [{"type": "text", "text": "a"}]}, {"role": "model", "content": "b"}]),
            json!(r#"[{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]"#),
        ] {
            assert_eq!(text_of(&value, "chosen", true), Ok(expected.clone()), "{value}");
        }
        let plain = json!("[\"a\"]");
        assert_eq!(text_of(&plain, "chosen", false), Ok(Text::Plain("[\"a\"]".to_owned())));
        for (value, reason, named) in [
            (json!([{"role": "assistant", "content": null, "tool_calls": [{"id": 1}]}]), Reason::Tools, "tool_calls"),
            (json!([{"role": "tool", "content": "18 C"}]), Reason::Tools, "tool"),
            (
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]),
                Reason::Shape,
                "a list of 2 messages; the second has content null",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                Reason::NotText,
                "image_url",
            ),
            (
                json!([{"role": "assistant", "content": "a", "reasoning_content": "b"}]),
                Reason::NotText,
                "reasoning_content",
            ),
            (json!(["a", null]), Reason::Shape, "a list of 2 texts; the second is null"),
        ] {
            let skip = text_of(&value, "chosen", false).expect_err("no text");
            assert!(skip.reason == reason && skip.found.contains(named), "{skip}");
        }
    }

    #[test]
    fn transcripts_have_turns() {
        let hh = transcript("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:").expect("turns");
        assert_eq!(hh.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let helpsteer = transcript("a<extra_id_1>Assistant\nb<extra_id_1>User\nc").expect("turns");
        let roles: Vec<(&str, &str)> =
            helpsteer.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
        assert_eq!(roles, [("user", "a"), ("assistant", "b"), ("user", "c")]);
        assert_eq!(transcript("no transcript"), None);
    }
}
