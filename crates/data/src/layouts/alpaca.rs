//! Alpaca's preferences as LLaMA-Factory first had them: `output` lists the better answer, then the worse one.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "Alpaca preference", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    let is_pair = |name: &str| found.iter().any(|column| column.name == name && column.is_pair);
    if !has_any(found, &["instruction"]) || !is_pair("output") {
        return None;
    }
    let mut columns = usual(found, &["output"], &[]);
    columns.order = true;
    Some(columns)
}
