//! Nectar: a prompt's answers with their ranks; the answers of the best rank are correct, the others incorrect.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "Nectar", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["prompt", "answers"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["answers.answer"], &[]);
    columns.prompt = vec!["prompt".to_owned()];
    columns.models = vec!["answers.model".to_owned()];
    columns.ranks = Some("answers.rank".to_owned());
    Some(columns)
}
