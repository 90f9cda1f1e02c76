//! The layouts of preference files that are recognised by their columns. Each layout is one file of this folder and one
//! line of [`LAYOUTS`].

mod alpaca;
mod alpaca_eval;
mod arena;
mod helpsteer;
mod nectar;
mod pku;
mod rewarded;
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

/// A layout of preference files.
pub struct Layout {
    /// The layout's usual name, for messages.
    pub name: &'static str,
    /// Which columns hold an item's fields; `None` where a file's columns are not of this layout.
    pub columns: fn(&[Column]) -> Option<Columns>,
}

/// All layouts. A layout that needs more columns comes before one that needs fewer: the first that fits is taken.
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
    rewarded::LAYOUT,
    ultrafeedback::LAYOUT,
    unpaired::LAYOUT,
];

/// The first layout that fits a file's columns, and which of them hold an item's fields.
pub(crate) fn layout_of(found: &[Column]) -> Option<(&'static Layout, Columns)> {
    LAYOUTS.iter().find_map(|layout| Some((layout, (layout.columns)(found)?)))
}

/// Which columns hold completions to score, one or several for each row; `None` where no column is named as one.
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
    // Beside chosen and rejected completions, a conversation repeats one of them.
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

/// Whether a file has at least one of these columns.
fn has_any(found: &[Column], names: &[&str]) -> bool {
    names.iter().any(|name| has(found, name))
}

/// Columns with these names of completions, and the usual names for everything else.
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
    // In Alpaca's rows `input` belongs to the instruction beside it; elsewhere it is the prompt.
    if has_any(found, &["instruction"]) && !has_any(found, &["prompt", "question"]) {
        columns.context = names(&["input"]);
    }
    columns
}
