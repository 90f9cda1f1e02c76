//! AlpacaEval's annotations: two outputs of an instruction and which is preferred, 1 or 2.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "AlpacaEval", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["instruction", "output_1", "output_2", "preference"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["output_1"], &["output_2"]);
    columns.models = ["generator_1", "generator_2"].map(str::to_owned).to_vec();
    columns.chosen_if = Some(["preference", "1", "2", "0", "1.5"].map(str::to_owned).to_vec());
    Some(columns)
}
