//! Tells which completions of a row are the better ones.

use serde_json::{Map, Value};

use crate::Columns;
use crate::columns::{as_text, first_of, lookup, number_of};
use crate::skip::{Reason, Skip};
use crate::turns::shown;

/// Words that mean a tie.
const TIES: [&str; 14] = [
    "tie",
    "ties",
    "tied",
    "draw",
    "equal",
    "same",
    "both",
    "neither",
    "none",
    "tie (bothbad)",
    "both_bad",
    "bothbad",
    "both_good",
    "tie (bothgood)",
];

/// Whether the first of two sides is the better one.
///
/// # Errors
/// When neither is better, or the row does not tell.
pub(crate) fn first_is_better(columns: &Columns, record: &Map<String, Value>) -> Result<bool, Skip> {
    if let Some(values) = &columns.chosen_if {
        return by_value(columns, values, record);
    }
    if let Some(name) = &columns.signed {
        let (name, sign) = name.strip_prefix('-').map_or((name.as_str(), 1.0), |name| (name, -1.0));
        let found = lookup(record, name);
        let number = found.as_ref().and_then(number_of);
        return match number.map(|x| x * sign) {
            Some(x) if x < 0.0 => Ok(true),
            Some(x) if x > 0.0 => Ok(false),
            Some(_) => Err(Skip::new(Reason::Tie, format!("a preference in {name}"), "0")),
            None => Err(no_verdict(format!("a number in {name}"), found.as_ref())),
        };
    }
    if let Some(name) = &columns.index {
        let found = lookup(record, name);
        return match found.as_ref().and_then(number_of) {
            Some(0.0) => Ok(true),
            Some(1.0) => Ok(false),
            _ => Err(no_verdict(format!("0 or 1 in {name}"), found.as_ref())),
        };
    }
    if let Some((name, numbers)) = numbers(columns, record) {
        return match numbers.as_slice() {
            [Some(first), Some(second)] if first == second => {
                Err(Skip::new(Reason::Tie, format!("different numbers in {name}"), format!("{first} twice")))
            }
            [Some(first), Some(second)] => Ok(first > second),
            _ => Err(no_verdict(format!("a number a side in {name}"), None)),
        };
    }
    if !columns.scores.is_empty() {
        return Err(no_verdict(format!("a number a side in {}", columns.scores.join(" or ")), None));
    }
    Ok(true)
}

/// How many steps of a solution come before the first wrong one; all of them where none is wrong.
///
/// # Errors
/// When the row does not tell.
fn right_steps(columns: &Columns, record: &Map<String, Value>, steps: usize) -> Result<usize, Skip> {
    let found = first_of(record, &columns.first_wrong).map(|(_, value)| value);
    let truth = |flag: &Value| number_of(flag).filter(|number| [0.0, 1.0].contains(number)).map(|number| number == 1.0);
    let told = match &found {
        Some(Value::Array(flags)) if flags.len() == steps => {
            let flags: Option<Vec<bool>> = flags.iter().map(truth).collect();
            flags.map(|flags| flags.iter().position(|is_right| !is_right).unwrap_or(steps))
        }
        Some(Value::Array(_)) | None => None,
        Some(place) => match number_of(place) {
            Some(-1.0) => Some(steps),
            Some(place) => (0..steps).find(|&step| step as f64 == place),
            None => None,
        },
    };
    let names = columns.first_wrong.join(" or ");
    told.ok_or_else(|| {
        let expected = format!(
            "the place of the first wrong of {steps} steps (from 0, -1 for none), or true or false for each, in {names}"
        );
        no_verdict(expected, found.as_ref())
    })
}

fn no_verdict(expected: String, found: Option<&Value>) -> Skip {
    Skip::new(Reason::NoVerdict, expected, shown(found))
}

/// The first column of `scores` with numbers, and its number for each side or completion.
fn numbers<'a>(columns: &'a Columns, record: &Map<String, Value>) -> Option<(&'a str, Vec<Option<f64>>)> {
    columns.scores.iter().find_map(|name| {
        let numbers = match name.contains('/') {
            true => name.split('/').map(|part| lookup(record, part).as_ref().and_then(number_of)).collect(),
            false => match lookup(record, name)? {
                Value::Array(values) => values.iter().map(number_of).collect(),
                one => vec![number_of(&one)],
            },
        };
        Some((name.as_str(), numbers))
            .filter(|(_, numbers): &(_, Vec<Option<f64>>)| numbers.iter().any(Option::is_some))
    })
}

/// Whether a value is the one that is asked for. `True` equals `true`, `1.0` equals `1`, and 1 equals true.
fn is_value(found: &str, asked: &str) -> bool {
    let plain = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        match text.strip_suffix(".0") {
            Some(whole) if whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => whole.to_owned(),
            _ => text,
        }
    };
    let (found, asked) = (plain(found), plain(asked));
    let is_truth = |a: &str, b: &str| matches!((a, b), ("true", "1") | ("false", "0"));
    found == asked || is_truth(&found, &asked) || is_truth(&asked, &found)
}

fn by_value(columns: &Columns, values: &[String], record: &Map<String, Value>) -> Result<bool, Skip> {
    let (name, rest) = values.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let found = lookup(record, name);
    let text = found.as_ref().and_then(as_text);
    let expected = || match rest {
        [first, second, ..] if !first.is_empty() => format!("{first} or {second} in {name}"),
        _ => format!("the better side in {name}"),
    };
    let Some(text) = text else {
        return Err(no_verdict(expected(), found.as_ref()));
    };
    let tie = || Err(Skip::new(Reason::Tie, expected(), format!("{text:?}")));
    match rest {
        [first, second, ties @ ..] if !first.is_empty() => match () {
            () if is_value(&text, first) => Ok(true),
            () if is_value(&text, second) => Ok(false),
            () if ties.iter().any(|tie| is_value(&text, tie)) => tie(),
            () if is_tie(&text) => tie(),
            () => Err(no_verdict(expected(), found.as_ref())),
        },
        _ if is_tie(&text) => tie(),
        _ => side_of(columns, &text).ok_or_else(|| no_verdict(expected(), found.as_ref())),
    }
}

fn is_tie(text: &str) -> bool {
    let lower = text.trim().to_ascii_lowercase();
    lower.starts_with("tie ") || TIES.contains(&lower.as_str())
}

/// Whether a word names the first side (true) or the second (false); `None` where it names neither.
fn side_of(columns: &Columns, text: &str) -> Option<bool> {
    let lower = |text: &str| text.trim().trim_matches(['[', ']', '(', ')']).to_ascii_lowercase();
    let text = lower(text);
    let [first, second] = [&columns.chosen, &columns.rejected].map(|names| names.first().map(|name| lower(name)));
    let (first, second) = (first?, second?);
    let suffix = |name: &str| name.chars().last().map(|c| c.to_string()).unwrap_or_default();
    let names = |side: &str, word: &str| {
        let end = suffix(side);
        let letter = match end.as_str() {
            "0" | "1" | "2" => None,
            letter => Some(letter.to_owned()),
        };
        let mut known = vec![side.to_owned(), end.clone(), word.to_owned()];
        for before in ["model", "response", "assistant", "answer", "completion", "output", "conversation"] {
            known.push(format!("{before}_{end}"));
            known.push(format!("{before} {end}"));
            known.push(format!("{before}{end}"));
        }
        // Numbered sides are also called a and b.
        if letter.is_none() {
            let letter = if word == "first" { "a" } else { "b" };
            known.extend(["model", "response", "assistant"].map(|before| format!("{before}_{letter}")));
            known.push(letter.to_owned());
        }
        known
    };
    if names(&first, "first").contains(&text) || text == "left" {
        return Some(true);
    }
    (names(&second, "second").contains(&text) || text == "right").then_some(false)
}

/// Which of `count` completions are correct: a flag for each.
///
/// # Errors
/// When the row does not tell, or all scores or ranks are equal.
pub(crate) fn correct_ones(columns: &Columns, record: &Map<String, Value>, count: usize) -> Result<Vec<bool>, Skip> {
    let of_length = |name: &str, found: usize| match found == count {
        true => Ok(()),
        false => {
            let expected = format!("as many values in {name} as completions ({count})");
            Err(Skip::new(Reason::NoVerdict, expected, found.to_string()))
        }
    };
    if !columns.first_wrong.is_empty() {
        let right = right_steps(columns, record, count)?;
        return Ok((0..count).map(|at| at < right).collect());
    }
    if let Some(name) = &columns.correct {
        let found = lookup(record, name);
        let Some(Value::Array(flags)) = &found else {
            return Err(no_verdict(format!("a list of true and false in {name}"), found.as_ref()));
        };
        of_length(name, flags.len())?;
        return Ok(flags.iter().map(|flag| number_of(flag).is_some_and(|x| x > 0.0)).collect());
    }
    if let Some(name) = &columns.index {
        let found = lookup(record, name);
        let place = found.as_ref().and_then(number_of).filter(|x| x.fract() == 0.0 && *x >= 0.0 && *x < count as f64);
        let place = place
            .ok_or_else(|| no_verdict(format!("a place from 0 to {} in {name}", count.max(1) - 1), found.as_ref()))?;
        return Ok((0..count).map(|at| at == place as usize).collect());
    }
    let (name, numbers, sign) = match (&columns.ranks, numbers(columns, record)) {
        (Some(name), _) => {
            let found = lookup(record, name);
            let Some(Value::Array(ranks)) = &found else {
                return Err(no_verdict(format!("a list of ranks in {name}"), found.as_ref()));
            };
            (name.as_str(), ranks.iter().map(number_of).collect(), -1.0)
        }
        (None, Some((name, numbers))) => (name, numbers, 1.0),
        (None, None) => {
            let expected = format!("a number a completion in {}", columns.scores.join(" or "));
            return Err(no_verdict(expected, None));
        }
    };
    of_length(name, numbers.len())?;
    let numbers: Option<Vec<f64>> = numbers.into_iter().map(|number| number.map(|x| x * sign)).collect();
    let numbers = numbers.ok_or_else(|| no_verdict(format!("a number a completion in {name}"), None))?;
    let best = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if numbers.iter().all(|x| *x == best) && count > 1 {
        return Err(Skip::new(Reason::Tie, format!("different numbers in {name}"), "all alike"));
    }
    Ok(numbers.iter().map(|x| *x == best).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sides_are_told_by_value_by_word_by_sign_and_by_number() {
        let sides = "chosen=response_a rejected=response_b";
        let tell = |more: &str, row: Value| {
            let columns: Columns = format!("{sides} {more}").parse().expect("columns");
            first_is_better(&columns, row.as_object().expect("a row")).map_err(|skip| skip.reason)
        };
        assert_eq!(tell("chosen_if=w:true:false", json!({"w": "True"})), Ok(true));
        assert_eq!(tell("chosen_if=w:true:false", json!({"w": 0})), Ok(false));
        assert_eq!(tell("chosen_if=w:1:2:0", json!({"w": 0.0})), Err(Reason::Tie));
        assert_eq!(tell("chosen_if=w", json!({"w": "model_b"})), Ok(false));
        assert_eq!(tell("chosen_if=w", json!({"w": "A"})), Ok(true));
        assert_eq!(tell("chosen_if=w", json!({"w": "tie (bothbad)"})), Err(Reason::Tie));
        assert_eq!(tell("chosen_if=w", json!({"w": "nobody"})), Err(Reason::NoVerdict));
        assert_eq!(tell("signed=s", json!({"s": -3})), Ok(true));
        assert_eq!(tell("signed=-s", json!({"s": "2"})), Ok(true));
        assert_eq!(tell("signed=s", json!({"s": 0})), Err(Reason::Tie));
        assert_eq!(tell("scores=x/y", json!({"x": 1, "y": 2.5})), Ok(false));
        assert_eq!(tell("index=i", json!({"i": 1})), Ok(false));
    }
}
