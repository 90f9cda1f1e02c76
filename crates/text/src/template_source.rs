//! Rewrites a template's source where Jinja for Rust (minijinja) needs other words than Jinja for Python.

/// A template's source, rewritten: `{% generation %}` blocks, which transformers has for training, become plain blocks,
/// and `"..." % value` becomes a filter.
pub(crate) fn adapted(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let kind = rest.as_bytes().get(1).copied().unwrap_or_default();
        let Some(end) = end_of(rest, kind) else {
            break;
        };
        let (tag, after) = rest.split_at(end);
        out.push_str(&match kind {
            b'#' => tag.to_owned(),
            _ => percents(&generation(tag)),
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The byte after a tag's closing signs. Closing signs in quoted texts do not count.
fn end_of(tag: &str, kind: u8) -> Option<usize> {
    let close: &[u8; 2] = match kind {
        b'{' => b"}}",
        b'%' => b"%}",
        _ => b"#}",
    };
    let bytes = tag.as_bytes();
    let mut at = 2;
    while at + 1 < bytes.len() {
        if bytes[at..at + 2] == *close {
            return Some(at + 2);
        }
        at = match bytes[at] {
            quote @ (b'"' | b'\'') if kind != b'#' => end_of_text(bytes, at, quote)?,
            _ => at + 1,
        };
    }
    None
}

/// The byte after the closing quote of the text that begins at `start`.
fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// A `generation` tag as a `with` tag; any other tag as it is.
fn generation(tag: &str) -> String {
    let Some(inner) = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")) else {
        return tag.to_owned();
    };
    let word = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    match word {
        "generation" => tag.replacen("generation", "with", 1),
        "endgeneration" => tag.replacen("endgeneration", "endwith", 1),
        _ => tag.to_owned(),
    }
}

/// A tag with `"..." % value` as `("..."|percent(value, is_tuple))`, where a quoted text stands left of the sign.
fn percents(tag: &str) -> String {
    let bytes = tag.as_bytes();
    let mut out = String::with_capacity(tag.len());
    let (mut at, mut copied) = (2, 0);
    while at < bytes.len() {
        let quote = bytes[at];
        if quote != b'"' && quote != b'\'' {
            at += 1;
            continue;
        }
        let Some(end) = end_of_text(bytes, at, quote) else {
            break;
        };
        let sign = skip_spaces(bytes, end);
        let is_percent = bytes.get(sign) == Some(&b'%') && bytes.get(sign + 1) != Some(&b'}');
        let value = skip_spaces(bytes, sign + 1);
        match is_percent.then(|| end_of_value(bytes, value)).flatten() {
            Some(after) => {
                let inner = &tag[value..after];
                let is_tuple = is_tuple(inner);
                out.push_str(&tag[copied..at]);
                // The value may contain another formatted text.
                let inner = percents(&format!("  {inner}"));
                out.push_str(&format!("({}|percent({}, {is_tuple}))", &tag[at..end], inner.trim_start()));
                (at, copied) = (after, after);
            }
            None => at = end,
        }
    }
    out.push_str(&tag[copied..]);
    out
}

fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The byte after a value: a name, a number, a quoted text or brackets, with its attributes, indices, calls and
/// filters.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    let word = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            at += 1;
        }
        at
    };
    let mut at = match bytes.get(start)? {
        quote @ (b'"' | b'\'') => end_of_text(bytes, start, *quote)?,
        b'(' | b'[' | b'{' => end_of_brackets(bytes, start)?,
        byte if byte.is_ascii_alphanumeric() || *byte == b'_' => word(start),
        _ => return None,
    };
    loop {
        at = match bytes.get(at) {
            Some(b'.') if bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) => word(at + 1),
            Some(b'(' | b'[') => end_of_brackets(bytes, at)?,
            _ => {
                let bar = skip_spaces(bytes, at);
                if bytes.get(bar) != Some(&b'|') {
                    return Some(at);
                }
                word(skip_spaces(bytes, bar + 1))
            }
        };
    }
}

fn end_of_brackets(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0usize, start);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at = end_of_text(bytes, at, quote)?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a value is a tuple: several values in round brackets.
fn is_tuple(value: &str) -> bool {
    let bytes = value.as_bytes();
    if bytes.first() != Some(&b'(') || end_of_brackets(bytes, 0) != Some(bytes.len()) {
        return false;
    }
    let (mut at, mut depth) = (1, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => match end_of_text(bytes, at, quote) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return false,
            },
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_otherwise_is_exchanged_alone() {
        for (source, expected) in [
            ("a{% generation %}b{%- endgeneration -%}c", "a{% with %}b{%- endwith -%}c"),
            ("{{ '%s: %s' % (role, m.content) }}", "{{ ('%s: %s'|percent((role, m.content), true)) }}"),
            ("{{ \"%d\" % (n + 1) ~ '!' }}", "{{ (\"%d\"|percent((n + 1), false)) ~ '!' }}"),
            ("{{ '%s' % m['a'].b|trim }}", "{{ ('%s'|percent(m['a'].b|trim, false)) }}"),
            ("{{ 5 % 2 }} 50% {# '%s' % x #}", "{{ 5 % 2 }} 50% {# '%s' % x #}"),
            ("{% if x == '%}' %}y{% endif %}", "{% if x == '%}' %}y{% endif %}"),
            ("{{ unfinished", "{{ unfinished"),
        ] {
            assert_eq!(adapted(source), expected);
        }
    }
}
