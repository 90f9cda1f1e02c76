//! Python's methods and ways of printing, as far as chat templates use them and Jinja for Rust (minijinja) lacks them.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// Calls a method of a text, list or dict.
pub(crate) fn method(state: &State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, format!("the method {name} of a variable that is not set")));
    }
    match value.as_str().map(|text| text_method(text, name, args)) {
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
        Some(Err(error)) if error.kind() == ErrorKind::UnknownMethod => {
            minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
        }
        Some(result) => result,
    }
}

fn text_method(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    /// Most characters of a padded text: more than any template needs.
    const MOST_WIDTH: usize = 10_000;
    let wrong = |found: String| Error::new(ErrorKind::InvalidOperation, found);
    let padded = |text: &str| -> Result<(usize, char), Error> {
        let (width, fill): (usize, Option<&str>) = from_args(args)?;
        let mut fill = fill.unwrap_or(" ").chars();
        match (fill.next(), fill.next()) {
            (Some(fill), None) if width <= MOST_WIDTH => Ok((width.saturating_sub(text.chars().count()), fill)),
            _ => Err(wrong(format!("{name} takes a width of at most {MOST_WIDTH} and one character"))),
        }
    };
    let fill = |count: usize, fill: char| -> String { std::iter::repeat_n(fill, count).collect() };
    let parted = |found: Option<(&str, &str)>, separator: &str, is_last: bool| match (found, is_last) {
        (Some((before, after)), _) => Value::from(vec![before.to_owned(), separator.to_owned(), after.to_owned()]),
        (None, false) => Value::from(vec![text.to_owned(), String::new(), String::new()]),
        (None, true) => Value::from(vec![String::new(), String::new(), text.to_owned()]),
    };
    Ok(match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            parted(text.split_once(separator), separator, false)
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            parted(text.rsplit_once(separator), separator, true)
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            Value::from(split_from_the_end(text, separator, most))
        }
        "index" | "rindex" => {
            let (part,): (&str,) = from_args(args)?;
            let at = if name == "index" { text.find(part) } else { text.rfind(part) };
            let at = at.ok_or_else(|| wrong("ValueError: substring not found".to_owned()))?;
            Value::from(text[..at].chars().count())
        }
        "ljust" => padded(text).map(|(count, with)| Value::from(format!("{text}{}", fill(count, with))))?,
        "rjust" => padded(text).map(|(count, with)| Value::from(format!("{}{text}", fill(count, with))))?,
        "center" => {
            let (count, with) = padded(text)?;
            let width = count + text.chars().count();
            // Python puts an odd fill character on the left where the width is odd too.
            let left = count / 2 + (count & width & 1);
            Value::from(format!("{}{text}{}", fill(left, with), fill(count - left, with)))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let count = width.min(MOST_WIDTH).saturating_sub(text.chars().count());
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            Value::from(format!("{sign}{}{digits}", fill(count, '0')))
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase())
        }
        "swapcase" => {
            let () = from_args(args)?;
            let of = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            Value::from(text.chars().map(of).collect::<String>())
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Python's `rsplit`.
fn split_from_the_end(text: &str, separator: Option<&str>, most: Option<i64>) -> Vec<String> {
    let most = most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<String> = match separator {
        Some(separator) => text.rsplitn(most, separator).map(str::to_owned).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let place = (parts.len() + 1 < most).then(|| rest.rfind(char::is_whitespace)).flatten();
                let start = place.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                parts.push(rest[start..].to_owned());
                rest = if start == 0 { "" } else { rest[..start].trim_end() };
            }
            if let Some(last) = parts.last_mut() {
                *last = last.trim_start().to_owned();
            }
            parts
        }
    };
    parts.reverse();
    parts
}

/// A value as Python's `str` writes it.
pub(crate) fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        _ => shown(value),
    }
}

/// A value as Python's `repr` writes it.
fn shown(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => float(f64::try_from(value.clone()).unwrap_or(f64::NAN)),
        ValueKind::String => value.as_str().map_or_else(|| value.to_string(), quoted),
        ValueKind::Seq | ValueKind::Iterable => match value.try_iter() {
            Ok(items) => format!("[{}]", items.map(|item| shown(&item)).collect::<Vec<_>>().join(", ")),
            Err(_) => value.to_string(),
        },
        ValueKind::Map => match value.try_iter() {
            Ok(keys) => {
                let entry = |key: Value| {
                    let item = value.get_item(&key).unwrap_or_default();
                    format!("{}: {}", shown(&key), shown(&item))
                };
                format!("{{{}}}", keys.map(entry).collect::<Vec<_>>().join(", "))
            }
            Err(_) => value.to_string(),
        },
        _ => value.to_string(),
    }
}

/// A text in quotes, as Python's `repr` chooses them.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() && (c as u32) < 256 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A number as Python's `repr` writes it: the fewest digits, and an exponent below 1e-4 and from 1e16 on.
pub(crate) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// Jinja's filter `join`, with its `attribute`.
pub(crate) fn join(items: &Value, separator: Option<&str>, kwargs: Kwargs) -> Result<String, Error> {
    let named: Option<String> = kwargs.get("d")?;
    let attribute: Option<Value> = kwargs.get("attribute")?;
    kwargs.assert_all_used()?;
    let separator = separator.map(str::to_owned).or(named).unwrap_or_default();
    let of = |item: Value| match &attribute {
        None => Ok(printed(&item)),
        Some(attribute) => at_path(&item, attribute).map(|item| printed(&item)),
    };
    if let Some(text) = items.as_str() {
        return Ok(text.chars().map(String::from).collect::<Vec<_>>().join(&separator));
    }
    let parts: Result<Vec<String>, Error> = items.try_iter()?.map(of).collect();
    Ok(parts?.join(&separator))
}

/// The value at a path: names with dots between, or an index.
fn at_path(item: &Value, path: &Value) -> Result<Value, Error> {
    let Some(names) = path.as_str() else {
        return item.get_item(path);
    };
    names.split('.').try_fold(item.clone(), |item, name| match name.parse::<usize>() {
        Ok(index) => item.get_item(&Value::from(index)),
        Err(_) => item.get_attr(name),
    })
}

/// `text % value` with Python's `%s`, `%r`, `%d`, `%i`, `%f`, `%x`, `%%`, widths and precisions. With `is_tuple`,
/// `value` is a list of several values.
pub(crate) fn percent(text: &str, value: &Value, is_tuple: bool) -> Result<String, Error> {
    let wrong = |found: &str| Error::new(ErrorKind::InvalidOperation, format!("formatting {text:?}: {found}"));
    let mut values = match is_tuple {
        true => value.try_iter()?.collect::<Vec<_>>(),
        false => vec![value.clone()],
    }
    .into_iter();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = match rest.strip_prefix('(').and_then(|named| named.split_once(')')) {
            Some((name, after)) => {
                rest = after;
                Some(name)
            }
            None => None,
        };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "-+ #0.".contains(c)));
        let end = end.ok_or_else(|| wrong("incomplete format"))?;
        let (flags, kind) = (&rest[..end], rest[end..].chars().next().unwrap_or_default());
        rest = &rest[end + kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let item = match name {
            Some(name) => value.get_item(&Value::from(name))?,
            None => values.next().ok_or_else(|| wrong("not enough arguments for format string"))?,
        };
        out.push_str(&formatted(&item, flags, kind).ok_or_else(|| wrong(&format!("%{flags}{kind} of {item}")))?);
    }
    out.push_str(rest);
    if is_tuple && values.next().is_some() {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn formatted(item: &Value, flags: &str, kind: char) -> Option<String> {
    const MOST_WIDTH: usize = 1_000;
    let (before, precision) = flags.split_once('.').map_or((flags, None), |(before, after)| (before, Some(after)));
    let precision: Option<usize> = match precision {
        None => None,
        Some("") => Some(0),
        Some(digits) => Some(digits.parse().ok().filter(|&digits| digits <= 100)?),
    };
    let width = before.trim_start_matches(['-', '+', ' ', '#', '0']);
    let width: usize = if width.is_empty() { 0 } else { width.parse().ok().filter(|&width| width <= MOST_WIDTH)? };
    let marks = &before[..before.len() - before.trim_start_matches(['-', '+', ' ', '#', '0']).len()];
    let number = || f64::try_from(item.clone()).ok();
    let cut = |text: String| match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    let body = match kind {
        's' => cut(printed(item)),
        'r' => cut(shown(item)),
        'd' | 'i' | 'u' => match i128::try_from(item.clone()) {
            Ok(whole) => whole.to_string(),
            Err(_) => format!("{:.0}", number()?.trunc()),
        },
        'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), number()?),
        'x' => format!("{:x}", i64::try_from(item.clone()).ok()?),
        'X' => format!("{:X}", i64::try_from(item.clone()).ok()?),
        'o' => format!("{:o}", i64::try_from(item.clone()).ok()?),
        _ => return None,
    };
    let is_number = !"sr".contains(kind);
    let body = if is_number && marks.contains('+') && !body.starts_with('-') { format!("+{body}") } else { body };
    let missing = width.saturating_sub(body.chars().count());
    let spaces = " ".repeat(missing);
    Some(if marks.contains('-') {
        format!("{body}{spaces}")
    } else if is_number && marks.contains('0') {
        let (sign, digits) = body.split_at(usize::from(body.starts_with(['+', '-'])));
        format!("{sign}{}{digits}", "0".repeat(missing))
    } else {
        format!("{spaces}{body}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        for (x, expected) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (1e300, "1e+300"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(x), expected);
        }
    }

    #[test]
    fn lists_and_dicts_are_printed_as_python_prints_them() {
        let value = serde_json::json!({ "a": [1, 2.5, null, true, "it's", "a\nb"], "b": {} });
        assert_eq!(printed(&Value::from_serialize(&value)), r#"{'a': [1, 2.5, None, True, "it's", 'a\nb'], 'b': {}}"#);
    }

    #[test]
    fn texts_are_split_from_the_end() {
        assert_eq!(split_from_the_end("a.b.c", Some("."), Some(1)), ["a.b", "c"]);
        assert_eq!(split_from_the_end(" a  b c ", None, Some(1)), ["a  b", "c"]);
        assert_eq!(split_from_the_end(" a  b c ", None, None), ["a", "b", "c"]);
    }

    #[test]
    fn percent_formats_as_python() {
        let list = |json: serde_json::Value| Value::from_serialize(&json);
        for (text, value, is_tuple, expected) in [
            ("%s and %d", list(serde_json::json!(["x", 3])), true, "x and 3"),
            ("%-5s|%05.1f|%%", list(serde_json::json!(["ab", 2.25])), true, "ab   |002.2|%"),
            ("%s", list(serde_json::json!([1, "a"])), false, "[1, 'a']"),
            ("%(role)s: %(n)+d", list(serde_json::json!({ "role": "user", "n": 2 })), false, "user: +2"),
        ] {
            assert_eq!(percent(text, &value, is_tuple).expect(text), expected);
        }
        assert!(percent("%s %s", &Value::from("a"), false).is_err());
    }
}
