//! UltraFeedback as it was collected: an instruction's completions with scores. The best scores are the correct ones.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "UltraFeedback", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !has_any(found, &["completions"]) || !has_any(found, &["instruction", "prompt"]) || has_any(found, &["chosen"]) {
        return None;
    }
    let mut columns = usual(found, &["completions.response"], &[]);
    columns.prompt = ["instruction", "prompt"].map(str::to_owned).to_vec();
    columns.context.clear();
    columns.models = vec!["completions.model".to_owned()];
    columns.scores = ["completions.fine-grained_score", "completions.overall_score"].map(str::to_owned).to_vec();
    Some(columns)
}
