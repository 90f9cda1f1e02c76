//! Chat templates as transformers renders them (`utils/chat_template_utils.py`): Jinja with
//! `trim_blocks` and `lstrip_blocks`, Python's string methods, `raise_exception`, `strftime_now`
//! and a `tojson` that writes JSON as Python does.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime};
use minijinja::value::{Kwargs, ValueKind, merge_maps};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use crate::{Message, TextError};

/// Instructions a template may take: a real one takes a few thousand a message.
const FUEL: u64 = 50_000_000;

/// A template longer than this is no chat template.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// No context holds a longer text.
const MAX_TEXT_BYTES: usize = 1 << 24;

const NAME: &str = "chat_template";

/// Text that refuses to grow without end.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(std::io::Error::other(format!("more than {MAX_TEXT_BYTES} bytes of text")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The time that `strftime_now` tells. Scores of templates that write the date depend on it, so it
/// is stated, never read from the system here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(NaiveDateTime);

impl Clock {
    /// The local time that is this many seconds after 1970-01-01T00:00:00 by the local calendar.
    /// Times out of range read as 1970.
    pub fn from_local_seconds(seconds: i64) -> Self {
        Self(DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc())
    }

    /// Seconds after 1970-01-01T00:00:00 by the local calendar.
    pub fn local_seconds(&self) -> i64 {
        self.0.and_utc().timestamp()
    }

    /// A local time in ISO 8601 without a zone, such as `2025-02-03T04:05:06`, or a day, which begins at midnight.
    pub fn parse(iso: &str) -> Option<Self> {
        let day = || iso.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
        iso.parse().ok().or_else(day).map(Self)
    }
}

/// As [`Clock::parse`] reads it.
impl std::fmt::Display for Clock {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))
    }
}

/// A compiled chat template with the special tokens that it may name.
#[derive(Debug)]
pub struct ChatTemplate {
    file: String,
    environment: Environment<'static>,
    clock: Arc<Mutex<Clock>>,
    special_tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    /// Compiles a template. `special_tokens` are `bos_token` and its like, by name.
    ///
    /// # Errors
    /// When it is no valid template.
    pub fn new(
        file: &str,
        source: String,
        special_tokens: Vec<(&'static str, String)>,
        clock: Clock,
    ) -> Result<Self, TextError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TextError::Format {
                file: file.to_owned(),
                expected: format!("a chat template of at most {MAX_TEMPLATE_BYTES} bytes"),
                found: format!("one of {} bytes", source.len()),
            });
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from),
            ValueKind::None => out.write_str("None").map_err(Error::from),
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        let clock = Arc::new(Mutex::new(clock));
        let told = clock.clone();
        environment.add_function("strftime_now", move |format: String| {
            strftime(*told.lock().unwrap_or_else(PoisonError::into_inner), &format)
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source).map_err(|e| TextError::Format {
            file: file.to_owned(),
            expected: "a valid chat template".to_owned(),
            found: e.to_string(),
        })?;
        Ok(Self { file: file.to_owned(), environment, clock, special_tokens })
    }

    /// The template as it was given.
    pub fn source(&self) -> String {
        self.environment.get_template(NAME).map(|template| template.source().to_owned()).unwrap_or_default()
    }

    /// Whether it asks for the time.
    pub fn tells_time(&self) -> bool {
        self.source().contains("strftime_now")
    }

    /// The special tokens that it may name, by name.
    pub fn special_tokens(&self) -> &[(&'static str, String)] {
        &self.special_tokens
    }

    /// The time that is told from now on.
    pub fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where an answer begins.
    ///
    /// # Errors
    /// [`TextError::Template`] when the template raises an exception, fails or runs away.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        self.render_with(messages, context! { add_generation_prompt })
    }

    /// The text of messages of any form that the template knows, with what else it is told, as
    /// transformers' `apply_chat_template` takes them.
    ///
    /// # Errors
    /// As [`Self::render`], and when the text is longer than any context.
    pub fn render_with(&self, messages: impl Serialize, told: impl Serialize) -> Result<String, TextError> {
        let failed = |e: Error| TextError::Template {
            file: self.file.clone(),
            found: match (e.kind(), e.detail()) {
                (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
                _ => e.to_string(),
            },
        };
        let tokens =
            Value::from_iter(self.special_tokens.iter().map(|(name, token)| (*name, Value::from(token.as_str()))));
        self.environment
            .get_template(NAME)
            .and_then(|template| {
                // Later ones go before earlier ones.
                let defaults = context! { tools => (), documents => (), add_generation_prompt => false };
                let messages = Value::from_serialize(&messages);
                let told = Value::from_serialize(&told);
                let mut text = Bounded::default();
                template
                    .render_captured_to(context! { messages, ..merge_maps([defaults, tokens, told]) }, &mut text)?;
                Ok(text.0)
            })
            .map_err(failed)
            .and_then(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|e| TextError::Template { file: self.file.clone(), found: e.to_string() })
            })
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime(clock: Clock, format: &str) -> Result<String, Error> {
    use std::fmt::Write;
    let mut text = String::new();
    write!(text, "{}", clock.0.format(format))
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write {format:?}")))?;
    Ok(text)
}

/// `json.dumps(value, ensure_ascii=False)` with Python's separators, or indented.
fn to_json(value: Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let _ensure_ascii: Option<bool> = kwargs.get("ensure_ascii")?;
    kwargs.assert_all_used()?;
    let value =
        serde_json::to_value(&value).map_err(|e| Error::new(ErrorKind::BadSerialization, format!("tojson: {e}")))?;
    let mut text = String::new();
    write_json(&value, indent, 0, &mut text);
    Ok(text)
}

fn write_json(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value;
    let newline = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent.min(16) * depth));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(separator);
                }
                newline(out, depth + 1);
                write_json(item, indent, depth + 1, out);
            }
            newline(out, depth);
            out.push(']');
        }
        Value::Object(entries) if !entries.is_empty() => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(separator);
                }
                newline(out, depth + 1);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            newline(out, depth);
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let clock = Clock::parse("2025-02-03T04:05:06").expect("a time");
        ChatTemplate::new("test.json", source.to_owned(), vec![("bos_token", "<s>".to_owned())], clock).expect("valid")
    }

    fn said(source: &str) -> Result<String, TextError> {
        template(source).render(&[Message::new("user", " Hi ")], true)
    }

    #[test]
    fn python_methods_and_special_tokens_work() {
        let text = said(
            "{{ bos_token }}{% for m in messages %}\n{{ m['role'].upper() + ':' + m.content.strip() }}{% endfor %}",
        );
        assert_eq!(text.expect("renders"), "<s>USER:Hi");
    }

    #[test]
    fn the_date_is_the_stated_one() {
        assert_eq!(said("{{ strftime_now('%d %b %Y') }}").expect("renders"), "03 Feb 2025");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        assert_eq!(said("{{ messages | tojson }}").expect("renders"), r#"[{"role": "user", "content": " Hi "}]"#);
    }

    #[test]
    fn a_raised_exception_is_the_message() {
        let message = said("{{ raise_exception('Roles must alternate') }}").expect_err("raises").to_string();
        assert_eq!(message, "rendering a conversation with the chat template of test.json: Roles must alternate");
    }

    #[test]
    fn a_template_that_runs_away_is_stopped() {
        let source = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        assert!(said(source).is_err());
    }

    #[test]
    fn a_text_without_end_is_stopped() {
        let source = "{% set x = 'x' * 10000000 %}{{ x }}{{ x }}";
        assert!(said(source).is_err());
    }

    #[test]
    fn a_template_cannot_write_without_end() {
        let endless = "{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}";
        let message = said(endless).expect_err("endless").to_string();
        assert!(message.contains("test.json"), "{message}");
    }

    #[test]
    fn what_the_caller_says_goes_before_the_defaults() {
        let told = context! { add_generation_prompt => true, enable_thinking => false };
        let source =
            "{{ messages[0].parts[0] }}{{ add_generation_prompt }}{{ enable_thinking }}{{ tools is none }}{{ none }}";
        let messages = serde_json::json!([{ "role": "user", "parts": ["a"] }]);
        assert_eq!(template(source).render_with(&messages, told).expect("renders"), "aTrueFalseTrueNone");
    }

    #[test]
    fn a_broken_template_names_the_file() {
        let clock = Clock::from_local_seconds(0);
        let message =
            ChatTemplate::new("broken.json", "{% for %}".to_owned(), vec![], clock).expect_err("broken").to_string();
        assert!(message.contains("broken.json"), "{message}");
    }
}
