//! Reads one row of a file of scores, in any of the forms that evaluators write.

use serde_json::{Map, Value};

/// A row as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawScores {
    /// The item's id; the row's number where the row has no id.
    pub id: String,
    /// The item's subset; `all` where the row names none.
    pub subset: String,
    /// How many of the scores, from the first, belong to correct completions; `None` where the row does not say.
    pub num_correct: Option<usize>,
    /// The scores, those of correct completions first; empty where the row has only a result.
    pub scores: Vec<f64>,
    /// The item's mark as the file has it.
    pub result: Option<f64>,
    /// Whether the row gives the scores of chosen and rejected completions separately.
    pub is_pair: bool,
}

/// A copy of a value with each text replaced by its number of characters.
pub(crate) fn characters(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.chars().count()),
        Value::Array(values) => Value::Array(values.iter().map(characters).collect()),
        other => other.clone(),
    }
}

/// Characters of each completion's text, in the order of the scores. The texts are in `text`, or in `text_chosen` and
/// `text_rejected`. `None` unless there are `count` of them.
pub(crate) fn text_lengths(record: &Map<String, Value>, count: usize) -> Option<Vec<f64>> {
    fn flat(value: &Value, into: &mut Vec<f64>) -> Option<()> {
        match characters(value) {
            Value::Array(values) => values.iter().try_for_each(|value| flat(value, into)),
            count => {
                into.push(count.as_f64()?);
                Some(())
            }
        }
    }
    let mut lengths = Vec::new();
    match record.get("text") {
        Some(texts) => flat(texts, &mut lengths)?,
        None => ["text_chosen", "text_rejected"].iter().try_for_each(|name| flat(record.get(*name)?, &mut lengths))?,
    }
    (lengths.len() == count).then_some(lengths)
}

/// Reads a score: a number, a list of one number, or the name of a value that JSON does not have, such as `NaN`.
fn score(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Array(values) => match values.as_slice() {
            [only] => score(only),
            _ => None,
        },
        Value::String(name) => match name.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            // Cells of CSV are texts, and pandas writes infinity as inf.
            other => match other.trim() {
                "inf" => Some(f64::INFINITY),
                "-inf" => Some(f64::NEG_INFINITY),
                "nan" => Some(f64::NAN),
                number => number.parse().ok().filter(|x: &f64| x.is_finite()),
            },
        },
        _ => None,
    }
}

/// What was expected, and what was found.
type Wrong = (String, String);

fn scores(name: &str, value: &Value) -> Result<Vec<f64>, Wrong> {
    let wrong = |found: &Value| (format!("numbers in {name}"), format!("{found:.60}"));
    match value {
        Value::Array(values) => values.iter().map(|value| score(value).ok_or_else(|| wrong(value))).collect(),
        one => Ok(vec![score(one).ok_or_else(|| wrong(one))?]),
    }
}

fn text(record: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match record.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64() {
            // 1 and 1.0 name the same item; above 2^53 a float does not hold every integer.
            Some(x) if number.is_f64() && x.fract() == 0.0 && x.abs() < 9_007_199_254_740_992.0 => format!("{x:.0}"),
            _ => number.to_string(),
        }),
        _ => None,
    })
}

/// Columns with the scores of the better and of the worse completions, as different evaluators name them.
const SIDES: [[&str; 2]; 8] = [
    ["score_chosen", "score_rejected"],
    ["scores_chosen", "scores_rejected"],
    ["chosen_score", "rejected_score"],
    ["chosen_reward", "reject_reward"],
    ["chosen_reward", "rejected_reward"],
    ["chosen_rewards", "rejected_rewards"],
    ["rewards_chosen", "rewards_rejected"],
    ["chosen", "rejected"],
];

/// Reads a row of scores in one of four forms: a list of scores, correct ones first; scores of chosen and rejected
/// completions in separate columns (RewardBench, RM-Bench, RMB); two scores with a label (JudgeBench); or a result
/// without scores (generative judges). `number` is the row's number, from 1.
pub(crate) fn raw_scores(record: &Map<String, Value>, number: usize) -> Result<RawScores, Wrong> {
    const IDS: [&str; 5] = ["id", "pair_id", "pair_uid", "bon_uid", "prompt_id"];
    let id = text(record, &IDS).filter(|id| !id.trim().is_empty()).unwrap_or_else(|| number.to_string());
    let subset = text(record, &["subset", "domain", "category_path", "source", "section"]);
    let subset = subset.filter(|subset| !subset.is_empty()).unwrap_or_else(|| "all".to_owned());
    let num_correct = match record.get("num_correct").filter(|count| !count.is_null()) {
        None => None,
        Some(count) => {
            let number =
                count.as_u64().or_else(|| score(count).filter(|x| x.fract() == 0.0 && *x >= 0.0).map(|x| x as u64));
            let wrong = || ("a count in num_correct".to_owned(), format!("{count:.40}"));
            Some(number.ok_or_else(wrong)? as usize)
        }
    };
    let result = ["results", "result"].iter().find_map(|name| record.get(*name)).and_then(score);
    let of = |scores: Vec<f64>, num_correct: Option<usize>, is_pair: bool| RawScores {
        id: id.clone(),
        subset: subset.clone(),
        num_correct,
        scores,
        result,
        is_pair,
    };
    if let Some(all) = record.get("scores").filter(|all| !all.is_null()) {
        return Ok(of(scores("scores", all)?, num_correct, false));
    }
    for names in SIDES {
        if let [Some(chosen), Some(rejected)] = names.map(|name| record.get(name).filter(|side| !side.is_null())) {
            // In datasets, `chosen` and `rejected` are texts.
            if names[0] == "chosen" && (scores(names[0], chosen).is_err() || scores(names[1], rejected).is_err()) {
                continue;
            }
            let chosen = scores(names[0], chosen)?;
            let num_correct = chosen.len();
            return Ok(of([chosen, scores(names[1], rejected)?].concat(), Some(num_correct), true));
        }
    }
    if let (Some(label), Some(game)) =
        (text(record, &["label"]), record.get("judgments").and_then(|games| games.get(0)))
    {
        let found = game.get("judgment").and_then(|judgment| judgment.get("scores"));
        let found = found.ok_or_else(|| {
            ("a reward model's two scores in judgments[0].judgment.scores".to_owned(), "none".to_owned())
        })?;
        let mut scores = scores("judgments[0].judgment.scores", found)?;
        match label.as_str() {
            "A>B" => {}
            "B>A" => scores.reverse(),
            other => return Err(("A>B or B>A in label".to_owned(), format!("{other:?}"))),
        }
        return Ok(of(scores, Some(1), true));
    }
    if result.is_some() {
        return Ok(of(Vec::new(), num_correct, false));
    }
    let found = record.keys().take(20).cloned().collect::<Vec<_>>().join(", ");
    Err(("scores, or score_chosen and score_rejected".to_owned(), found))
}
