//! HelpSteer2's and HelpSteer3's preferences: two responses and how much the second is better, from -3 to 3.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "HelpSteer3", columns: third };

pub(super) const SECOND: Layout = Layout { name: "HelpSteer2", columns: second };

fn third(found: &[Column]) -> Option<Columns> {
    signed(found, "overall_preference")
}

fn second(found: &[Column]) -> Option<Columns> {
    signed(found, "preference_strength")
}

fn signed(found: &[Column], by: &str) -> Option<Columns> {
    let sides = [["response1", "response2"], ["response_1", "response_2"]];
    let [first, other] = sides.into_iter().find(|sides| sides.iter().all(|name| has_any(found, &[name])))?;
    if !has_any(found, &[by]) {
        return None;
    }
    let mut columns = usual(found, &[first], &[other]);
    columns.prompt = ["context", "prompt"].map(str::to_owned).to_vec();
    columns.context.clear();
    columns.signed = Some(by.to_owned());
    Some(columns)
}
