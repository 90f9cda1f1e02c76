//! ShareGPT's preferences as LLaMA-Factory has them: a conversation up to the answer, and beside it the better and the
//! worse answer as messages.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "ShareGPT preference", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["conversations", "chosen", "rejected"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["chosen"], &["rejected"]);
    columns.prompt = vec!["conversations".to_owned()];
    columns.context.clear();
    Some(columns)
}
