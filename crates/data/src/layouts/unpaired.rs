//! TRL's unpaired rows: a completion and whether it is good. The rows of one prompt make an item. HelpSteer2's
//! attributes are rows of the same kind, with a number instead.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "unpaired completions", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    const COMPLETIONS: [&str; 4] = ["completion", "response", "answer", "output"];
    let label = ["label", "is_good", "desirable", "helpfulness", "score", "rating", "reward"];
    let label = label.into_iter().find(|name| has_any(found, &[name]))?;
    let completion = COMPLETIONS.into_iter().find(|name| has_any(found, &[name]))?;
    let mut columns = usual(found, &[completion], &[]);
    if !has_any(found, &["prompt", "question", "instruction", "input", "query", "messages", "context"]) {
        return None;
    }
    columns.label = Some(label.to_owned());
    Some(columns)
}
