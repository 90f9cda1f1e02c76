//! Stanford's SHP: two comments on a post; `labels` is 1 where the first is preferred, 0 where the second is.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "SHP", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["history", "human_ref_A", "human_ref_B", "labels"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["human_ref_A"], &["human_ref_B"]);
    columns.prompt = vec!["history".to_owned()];
    columns.id = vec!["post_id".to_owned()];
    columns.subset = vec!["domain".to_owned()];
    columns.chosen_if = Some(["labels", "1", "0"].map(str::to_owned).to_vec());
    Some(columns)
}
