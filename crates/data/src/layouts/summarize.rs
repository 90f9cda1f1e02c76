//! OpenAI's summarize-from-feedback: two summaries of a post, and the place of the better one.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "summarize-from-feedback", columns };

fn columns(found: &[Column]) -> Option<Columns> {
    if !["info", "summaries", "choice"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["summaries.text"], &[]);
    // The query of the paper (Stiennon et al., 2020, arXiv:2009.01325, appendix B).
    let query = "SUBREDDIT: r/{info.subreddit}\nTITLE: {info.title}\nPOST: {info.post}\nTL;DR:";
    columns.prompt = [query, "info.article", "info.post"].map(str::to_owned).to_vec();
    columns.context.clear();
    columns.id = vec!["info.id".to_owned()];
    columns.subset = vec!["info.subreddit".to_owned()];
    columns.models = vec!["summaries.policy".to_owned()];
    columns.index = Some("choice".to_owned());
    Some(columns)
}
