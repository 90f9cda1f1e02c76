//! Completions of a prompt with a reward for each, as `rewardscope score` writes them. The best are the correct ones.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "completions with rewards", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    let several = ["completions", "responses", "outputs", "answers"];
    let several = several.into_iter().find(|name| has_any(found, &[name]))?;
    let reward = ["reward", "rewards"].into_iter().find(|name| has_any(found, &[name]))?;
    if has_any(found, &["chosen"]) || !has_any(found, &["prompt", "question", "instruction", "query", "problem"]) {
        return None;
    }
    let mut columns = usual(found, &[several], &[]);
    columns.scores = vec![reward.to_owned()];
    Some(columns)
}
