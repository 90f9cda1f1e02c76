//! TRL's preference rows and similar ones: a better and a worse completion, each in a column of its own. The prompt
//! stands in another column, or is the text that both completions begin with.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "preferences", columns };

/// Column names of the better completion, each with that of the worse one.
const SIDES: &[(&str, &str)] = &[
    ("chosen", "rejected"),
    ("chosen", "reject"),
    ("chosen_response", "rejected_response"),
    ("chosen_answer", "rejected_answer"),
    ("chosen_completion", "rejected_completion"),
    ("accepted", "rejected"),
    ("preferred", "dispreferred"),
    ("preferred_response", "dispreferred_response"),
    ("preferred", "rejected"),
    ("better", "worse"),
    ("better_response", "worse_response"),
    ("winner_response", "loser_response"),
    ("winning_response", "losing_response"),
    ("positive", "negative"),
    ("pos", "neg"),
    ("good", "bad"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
];

fn columns(found: &[Column]) -> Option<Columns> {
    let (chosen, rejected) = SIDES.iter().find(|(a, b)| has_any(found, &[a]) && has_any(found, &[b]))?;
    let mut columns = usual(found, &[chosen], &[rejected]);
    columns.models = ["chosen_model", "rejected_model"].map(str::to_owned).to_vec();
    Some(columns)
}
