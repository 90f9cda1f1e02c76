//! Two completions in columns of their own, and a column that says which is better; each has many possible names.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "two completions and a verdict", columns };

/// Column names of completions, before the letter or number of a side.
const STEMS: [&str; 9] =
    ["response", "answer", "completion", "output", "text", "summary", "generation", "reply", "model"];

/// The endings of the two sides' columns.
const SIDES: [(&str, &str); 5] = [("_a", "_b"), ("_1", "_2"), ("_0", "_1"), ("1", "2"), ("_A", "_B")];

/// Columns whose values name the better side.
const WINNERS: [&str; 11] = [
    "winner",
    "preference",
    "preferred",
    "preferred_response",
    "better",
    "better_response",
    "chosen",
    "choice",
    "verdict",
    "label",
    "human_preference",
];

fn columns(found: &[Column]) -> Option<Columns> {
    let is_there = |name: &str| has_any(found, &[name]);
    let (stem, (first, second)) = STEMS
        .iter()
        .flat_map(|stem| SIDES.iter().map(move |side| (*stem, *side)))
        .find(|(stem, (a, b))| is_there(&format!("{stem}{a}")) && is_there(&format!("{stem}{b}")))?;
    let (a, b) = (format!("{stem}{first}"), format!("{stem}{second}"));
    let mut columns = usual(found, &[&a], &[&b]);
    columns.models = [first, second].map(|side| format!("model{side}")).to_vec();
    if is_there("model_a") && is_there("model_b") {
        columns.models = ["model_a", "model_b"].map(str::to_owned).to_vec();
    }
    let (one, other) = (first.trim_start_matches('_'), second.trim_start_matches('_'));
    let of = |values: &[&str]| Some(values.iter().map(|&value| value.to_owned()).collect());
    for (side, values) in [(one, ["true", "false"]), (other, ["false", "true"])] {
        let names = [
            format!("{side}_is_better"),
            format!("is_{side}_better"),
            format!("{side}_preferred"),
            format!("{a}_is_better"),
            format!("prefers_{side}"),
            format!("{stem}_{side}_is_better"),
        ];
        if let Some(name) = names.iter().find(|name| is_there(name)) {
            columns.chosen_if = of(&[name, values[0], values[1]]);
            return Some(columns);
        }
    }
    if let Some(name) =
        ["better_response_id", "better_id", "preferred_index", "chosen_index"].iter().find(|name| is_there(name))
    {
        columns.index = Some((*name).to_owned());
        return Some(columns);
    }
    if is_there(&format!("winner_model{first}")) && is_there(&format!("winner_model{second}")) {
        columns.scores = vec![format!("winner_model{first}/winner_model{second}")];
        return Some(columns);
    }
    if let Some(name) = WINNERS.iter().find(|name| is_there(name)) {
        columns.chosen_if = of(&[name]);
        return Some(columns);
    }
    let scores = ["score", "rating", "reward"]
        .iter()
        .find(|name| is_there(&format!("{name}{first}")) && is_there(&format!("{name}{second}")))?;
    columns.scores = vec![format!("{scores}{first}/{scores}{second}")];
    Some(columns)
}
