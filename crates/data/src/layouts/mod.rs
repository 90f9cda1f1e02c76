//! Layouts of preference files that are known by their columns: one file each, one line of the table.

mod alpaca;
mod alpaca_eval;
mod arena;
mod helpsteer;
mod nectar;
mod pku;
mod sharegpt;
mod shp;
mod sides;
mod summarize;
mod trl;
mod ultrafeedback;
mod unpaired;
mod webgpt;

use crate::columns::has;
use crate::{Column, Columns};

/// A layout that datasets have.
pub struct Layout {
    /// What people call it.
    pub name: &'static str,
    /// Where rows have what, where a file's columns are of this layout.
    pub columns: fn(&[Column]) -> Option<Columns>,
}

/// The layouts, those that need more columns before those that need fewer.
pub const LAYOUTS: &[Layout] = &[
    helpsteer::LAYOUT,
    helpsteer::SECOND,
    pku::LAYOUT,
    shp::LAYOUT,
    webgpt::LAYOUT,
    summarize::LAYOUT,
    arena::LAYOUT,
    arena::KAGGLE,
    alpaca_eval::LAYOUT,
    sharegpt::LAYOUT,
    trl::LAYOUT,
    alpaca::LAYOUT,
    sides::LAYOUT,
    nectar::LAYOUT,
    ultrafeedback::LAYOUT,
    unpaired::LAYOUT,
];

/// The layout of a file's columns, with where its rows have what.
pub(crate) fn layout_of(found: &[Column]) -> Option<(&'static Layout, Columns)> {
    LAYOUTS.iter().find_map(|layout| Some((layout, (layout.columns)(found)?)))
}

/// Where rows have completions to score, and nothing to compare them with: one a row, or several.
pub(crate) fn completions_of(found: &[Column]) -> Option<Columns> {
    const NAMES: [&str; 11] = [
        "completions",
        "completion",
        "responses",
        "response",
        "outputs",
        "output",
        "answers",
        "answer",
        "messages",
        "conversation",
        "conversations",
    ];
    const CONVERSATIONS: [&str; 3] = ["messages", "conversation", "conversations"];
    // Beside compared completions a conversation is one of them again.
    let is_compared = has_any(found, &["chosen"]) && has_any(found, &["rejected"]);
    let is_meant = |name: &&str| has_any(found, &[name]) && !(is_compared && CONVERSATIONS.contains(name));
    let names: Vec<&str> = NAMES.into_iter().filter(is_meant).collect();
    let [first, ..] = names.as_slice() else {
        return None;
    };
    let mut columns = usual(found, &names, &[]);
    columns.prompt.extend(names.iter().filter(|name| CONVERSATIONS.contains(name)).map(|&name| name.to_owned()));
    if CONVERSATIONS.contains(first) {
        columns.context.clear();
    }
    Some(columns)
}

/// Whether a file has one of some columns.
fn has_any(found: &[Column], names: &[&str]) -> bool {
    names.iter().any(|name| has(found, name))
}

/// Where rows have these completions, and beside them what is called as it usually is.
fn usual(found: &[Column], chosen: &[&str], rejected: &[&str]) -> Columns {
    const PROMPTS: [&str; 12] = [
        "prompt",
        "question",
        "instruction",
        "input",
        "query",
        "messages",
        "context",
        "conversations",
        "history",
        "user",
        "problem",
        "post",
    ];
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let mut columns = Columns::of(&PROMPTS, chosen, rejected);
    columns.prompt.retain(|name| !chosen.contains(&name.as_str()));
    columns.id = names(&["id", "prompt_id", "pair_id", "question_id", "uid", "uuid", "_id"]);
    columns.subset = names(&["subset", "category", "source", "domain"]);
    columns.system = names(&["system", "system_prompt", "system_message", "system_instruction"]);
    columns.tools = names(&["tools", "functions"]);
    // Alpaca's input is of the instruction beside it; elsewhere it is the prompt.
    if has_any(found, &["instruction"]) && !has_any(found, &["prompt", "question"]) {
        columns.context = names(&["input"]);
    }
    columns
}
