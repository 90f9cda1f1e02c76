//! WebGPT's comparisons: two answers with scores that add up to 0; equal ones are a tie.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "WebGPT", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["question", "answer_0", "answer_1", "score_0", "score_1"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["answer_0"], &["answer_1"]);
    columns.prompt = ["question.full_text", "question"].map(str::to_owned).to_vec();
    columns.context.clear();
    columns.id = vec!["question.id".to_owned()];
    columns.subset = vec!["question.dataset".to_owned()];
    columns.scores = vec!["score_0/score_1".to_owned()];
    Some(columns)
}
