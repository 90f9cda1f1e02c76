//! Chat templates as transformers renders them (`utils/chat_template_utils.py`): Jinja with
//! `trim_blocks` and `lstrip_blocks`, Python's string methods, `raise_exception`, `strftime_now`
//! and a `tojson` that writes JSON as Python does.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime};
use minijinja::value::{Kwargs, ValueKind, merge_maps};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use crate::{Message, TextError, python, template_source};

/// Most instructions of one rendering. A real template takes a few thousand per message.
const FUEL: u64 = 50_000_000;

/// Most bytes of a template's source; no real template is longer.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Most bytes of a rendered text; no context holds more.
const MAX_TEXT_BYTES: usize = 1 << 24;

/// The template's name inside its environment.
const NAME: &str = "chat_template";

/// Rendered text that refuses to grow beyond [`MAX_TEXT_BYTES`].
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

/// The local time that `strftime_now` tells. The scores of a template that writes the date depend on it, so the caller
/// states it: it is never read from the system here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(NaiveDateTime);

impl Clock {
    /// The local time that is this many seconds after 1970-01-01T00:00:00 by the local calendar.
    /// A time out of range becomes 1970-01-01T00:00:00.
    pub fn from_local_seconds(seconds: i64) -> Self {
        Self(DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc())
    }

    /// Seconds after 1970-01-01T00:00:00 by the local calendar.
    pub fn local_seconds(&self) -> i64 {
        self.0.and_utc().timestamp()
    }

    /// Reads a local time in ISO 8601 without a zone, such as `2025-02-03T04:05:06`, or a date alone, which means its
    /// midnight. `None` for any other text.
    pub fn parse(iso: &str) -> Option<Self> {
        let day = || iso.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
        iso.parse().ok().or_else(day).map(Self)
    }
}

/// Writes the time as [`Clock::parse`] reads it.
impl std::fmt::Display for Clock {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))
    }
}

/// A compiled chat template with the special tokens that it may name.
///
/// ```
/// use rewardscope_text::{ChatTemplate, Clock, Message};
///
/// # fn main() -> Result<(), rewardscope_text::TextError> {
/// let source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content.strip() }}{% endfor %}";
/// let tokens = vec![("bos_token".to_owned(), "<s>".to_owned())];
/// let clock = Clock::parse("2025-02-03").expect("a date");
/// let template = ChatTemplate::new("tokenizer_config.json", source.to_owned(), tokens, clock)?;
/// assert_eq!(template.render(&[Message::new("user", " Hi ")], true)?, "<s>[user] Hi");
/// assert!(!template.tells_time());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    file: String,
    source: String,
    environment: Environment<'static>,
    clock: Arc<Mutex<Clock>>,
    special_tokens: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Compiles a template. `file` is its file's name, for messages; `special_tokens` are pairs of a name, such as
    /// `bos_token`, and the token.
    ///
    /// # Errors
    /// When the source is no valid template, or longer than 1 MiB.
    pub fn new(
        file: &str,
        source: String,
        special_tokens: Vec<(String, String)>,
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
            ValueKind::String | ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
            _ => out.write_str(&python::printed(value)).map_err(Error::from),
        });
        environment.set_unknown_method_callback(python::method);
        environment.add_function("raise_exception", raise_exception);
        let clock = Arc::new(Mutex::new(clock));
        let told = clock.clone();
        environment.add_function("strftime_now", move |format: String| {
            strftime(*told.lock().unwrap_or_else(PoisonError::into_inner), &format)
        });
        environment.add_filter("tojson", to_json);
        environment.add_filter("string", |value: Value| python::printed(&value));
        environment.add_filter("join", |items: Value, separator: Option<String>, kwargs: Kwargs| {
            python::join(&items, separator.as_deref(), kwargs)
        });
        environment.add_filter("percent", |text: String, value: Value, is_tuple: bool| {
            python::percent(&text, &value, is_tuple)
        });
        environment.add_template_owned(NAME, template_source::adapted(&source)).map_err(|e| TextError::Format {
            file: file.to_owned(),
            expected: "a valid chat template".to_owned(),
            found: e.to_string(),
        })?;
        Ok(Self { file: file.to_owned(), source, environment, clock, special_tokens })
    }

    /// The template's source, as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it asks for the time (`strftime_now`).
    pub fn tells_time(&self) -> bool {
        self.source().contains("strftime_now")
    }

    /// The special tokens that it may name, as pairs of name and token.
    pub fn special_tokens(&self) -> &[(String, String)] {
        &self.special_tokens
    }

    /// Sets the time that `strftime_now` tells from now on.
    pub fn set_clock(&self, clock: Clock) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// The message about a variable that is not set: the template's line that names it.
    fn undefined(&self, error: &Error) -> String {
        const MOST: usize = 160;
        let number = error.line().unwrap_or(1);
        let line = self.source.lines().nth(number - 1).unwrap_or_default().trim();
        let line: String = line.chars().take(MOST).collect();
        format!("a variable that is not set, in line {number}: {line}")
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where an answer begins.
    ///
    /// # Errors
    /// [`TextError::Template`] when the template raises an exception, fails, runs too long, or writes a text that is
    /// longer than any context.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        self.render_with(messages, context! { add_generation_prompt })
    }

    /// The text of messages of any form that the template knows. `told` are further variables for it, as in
    /// transformers' `apply_chat_template`.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(&self, messages: impl Serialize, told: impl Serialize) -> Result<String, TextError> {
        let failed = |e: Error| TextError::Template {
            file: self.file.clone(),
            found: match (e.kind(), e.detail()) {
                (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
                (ErrorKind::UndefinedError, _) => self.undefined(&e),
                _ => e.to_string(),
            },
        };
        let tokens = Value::from_iter(
            self.special_tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str()))),
        );
        self.environment
            .get_template(NAME)
            .and_then(|template| {
                // A variable in a later map overrides the same in an earlier one.
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

/// The style in which `json.dumps` writes.
struct JsonStyle {
    indent: Option<usize>,
    /// Text between two items.
    item: String,
    /// Text between a key and its value.
    key: String,
    ascii: bool,
    sorted: bool,
}

/// `json.dumps(value, ensure_ascii, indent, separators, sort_keys)`, as transformers' filter calls it.
fn to_json(value: Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let (ascii, sorted): (Option<bool>, Option<bool>) = (kwargs.get("ensure_ascii")?, kwargs.get("sort_keys")?);
    kwargs.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson takes two separators")),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let value =
        serde_json::to_value(&value).map_err(|e| Error::new(ErrorKind::BadSerialization, format!("tojson: {e}")))?;
    let style = JsonStyle { indent, item, key, ascii: ascii.unwrap_or(false), sorted: sorted.unwrap_or(false) };
    let mut text = String::new();
    style.write(&value, 0, &mut text);
    Ok(text)
}

impl JsonStyle {
    fn newline(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent.min(16) * depth));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = serde_json::Value::from(text).to_string();
        match self.ascii {
            false => out.push_str(&quoted),
            true => {
                let mut units = [0u16; 2];
                for c in quoted.chars() {
                    match c.is_ascii() {
                        true => out.push(c),
                        false => {
                            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")))
                        }
                    }
                }
            }
        }
    }

    fn write(&self, value: &serde_json::Value, depth: usize, out: &mut String) {
        use serde_json::Value;
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(&self.item);
                    }
                    self.newline(out, depth + 1);
                    self.write(item, depth + 1, out);
                }
                self.newline(out, depth);
                out.push(']');
            }
            Value::Object(entries) if !entries.is_empty() => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (i, (key, item)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push_str(&self.item);
                    }
                    self.newline(out, depth + 1);
                    self.text(key, out);
                    out.push_str(&self.key);
                    self.write(item, depth + 1, out);
                }
                self.newline(out, depth);
                out.push('}');
            }
            Value::String(text) => self.text(text, out),
            Value::Number(number) if number.is_f64() => {
                out.push_str(&python::float(number.as_f64().unwrap_or(f64::NAN)));
            }
            plain => out.push_str(&plain.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let clock = Clock::parse("2025-02-03T04:05:06").expect("a time");
        ChatTemplate::new("test.json", source.to_owned(), vec![("bos_token".to_owned(), "<s>".to_owned())], clock)
            .expect("valid")
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
    fn what_jinja_for_python_has_works() {
        for (source, expected) in [
            ("{% generation %}{{ messages[0].role }}{% endgeneration %}", "user"),
            ("{{ '%s=%03d' % (messages[0].role, 7) }}", "user=007"),
            ("{{ 'a.b.c'.rsplit('.', 1) }}", "['a.b', 'c']"),
            ("{{ 'a-b'.partition('-')[2] ~ 'xy'.removeprefix('x') }}", "by"),
            ("{{ messages | join(', ', attribute='role') }}", "user"),
            ("{{ [1, 2.0, none, 'it'] | string }}", "[1, 2.0, None, 'it']"),
            ("{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true) }}", r#"{"a": "\u00e9", "b": 1}"#),
            ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", r#"[1,{"a":2}]"#),
            ("{{ 1e20 }} {{ 0.5 }}", "1e+20 0.5"),
        ] {
            assert_eq!(said(source).expect(source), expected, "{source}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let message = said("a\n{{ tool.name.first }}").expect_err("not set").to_string();
        assert!(message.contains("line 2: {{ tool.name.first }}"), "{message}");
    }

    #[test]
    fn a_broken_template_names_the_file() {
        let clock = Clock::from_local_seconds(0);
        let message =
            ChatTemplate::new("broken.json", "{% for %}".to_owned(), vec![], clock).expect_err("broken").to_string();
        assert!(message.contains("broken.json"), "{message}");
    }
}
