//! PKU-SafeRLHF: two responses and the place of the better one.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "PKU-SafeRLHF", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["response_0", "response_1", "better_response_id"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["response_0"], &["response_1"]);
    columns.index = Some("better_response_id".to_owned());
    Some(columns)
}
