//! Checks labels that are right by construction: what a row's `check` and `detail` say holds for its chosen completions
//! and for none of its rejected ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Whether a completion meets `check` and `detail`, which a chosen completion must. `None` where only a reader can
/// judge.
///
/// # Panics
/// When `check` or `detail` is not valid.
pub fn is_right(check: &str, detail: &str, completion: &str) -> Option<bool> {
    Some(match check {
        "arithmetic" => (last_number(completion) - Expression::evaluate(detail)).abs() < 1e-9,
        "format" => detail.split(" & ").all(|constraint| keeps(completion, constraint)),
        "fact" => whole_words(completion).contains(&whole_words(detail)),
        "refusal" => {
            let refuses = REFUSALS.iter().any(|refusal| completion.to_lowercase().contains(refusal));
            refuses == (detail == "refuse")
        }
        "answers" | "pair" | "quality" => return None,
        other => panic!("unknown check {other:?}"),
    })
}

/// Words by which a refusal is recognised.
const REFUSALS: [&str; 5] = ["can't", "cannot", "won't", "unable", "not able"];

/// The text's words in lower case, with a space before and after each.
fn whole_words(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

fn last_number(text: &str) -> f64 {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = numbers.map(|number| number.trim_matches('.'));
    numbers.rfind(|number| !number.is_empty()).and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

/// Evaluates arithmetic with `+ - * / ^`, brackets and decimals, by recursive descent.
struct Expression<'a> {
    left: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Expression<'_> {
    fn evaluate(text: &str) -> f64 {
        let mut expression = Expression { left: text.chars().peekable() };
        let value = expression.sum();
        assert!(expression.left.next().is_none(), "{text:?} is no expression");
        value
    }

    fn take(&mut self, operator: char) -> bool {
        self.left.next_if_eq(&operator).is_some()
    }

    fn sum(&mut self) -> f64 {
        let mut value = self.product();
        loop {
            if self.take('+') {
                value += self.product();
            } else if self.take('-') {
                value -= self.product();
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> f64 {
        let mut value = self.power();
        loop {
            if self.take('*') {
                value *= self.power();
            } else if self.take('/') {
                value /= self.power();
            } else {
                return value;
            }
        }
    }

    fn power(&mut self) -> f64 {
        let base = self.atom();
        if self.take('^') { base.powf(self.power()) } else { base }
    }

    fn atom(&mut self) -> f64 {
        if self.take('(') {
            let value = self.sum();
            assert!(self.take(')'), "a bracket is not closed");
            return value;
        }
        let mut digits = String::new();
        while let Some(digit) = self.left.next_if(|c| c.is_ascii_digit() || *c == '.') {
            digits.push(digit);
        }
        digits.parse().unwrap()
    }
}

fn keeps(text: &str, constraint: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let lower = text.to_lowercase();
    let letters = || text.chars().filter(|c| c.is_alphabetic());
    if let Some(limit) = constraint.strip_prefix("words<=") {
        return words.len() <= limit.parse().unwrap();
    }
    if let Some(limit) = constraint.strip_prefix("words>=") {
        return words.len() >= limit.parse().unwrap();
    }
    let counted = |name: &str| ["words", "lines", "sentences"].contains(&name) || name.starts_with("count:");
    if let Some((name, count)) = constraint.split_once('=').filter(|(name, _)| counted(name)) {
        let count: usize = count.parse().unwrap();
        if let Some(word) = name.strip_prefix("count:") {
            return lower.matches(word).count() == count;
        }
        return match name {
            "words" => words.len() == count,
            "lines" => text.lines().count() == count,
            _ => text.matches(['.', '!', '?']).count() == count,
        };
    }
    match constraint.split_once(':').unwrap_or((constraint, "")) {
        ("lowercase", _) => letters().all(char::is_lowercase),
        ("uppercase", _) => letters().all(char::is_uppercase),
        ("no-digits", _) => !text.chars().any(|c| c.is_ascii_digit()),
        ("no-letter" | "no", part) => !lower.contains(part),
        ("contains", part) => lower.contains(&part.to_lowercase()),
        ("starts", part) => text.starts_with(part),
        ("ends", part) => text.ends_with(part),
        ("ends-word", part) => lower.trim_end_matches(|c: char| !c.is_alphanumeric()).ends_with(part),
        ("equals", part) => text == part,
        ("every-line-starts", part) => text.lines().all(|line| line.starts_with(part)),
        ("every-word-starts", part) => words.iter().all(|word| word.to_lowercase().starts_with(part)),
        ("json-keys", keys) => {
            let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
            object.is_ok_and(|object| object.keys().map(String::as_str).eq(keys.split(',')))
        }
        (other, _) => panic!("unknown constraint {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expressions_are_evaluated_rightly() {
        for (text, value) in
            [("2+3*4", 14.0), ("(2+3)*4", 20.0), ("2^3^2", 512.0), ("7/2-1", 2.5), ("3+4*(6-2)^2", 67.0)]
        {
            assert_eq!(Expression::evaluate(text), value, "{text}");
        }
    }
}
