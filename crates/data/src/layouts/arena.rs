//! Chatbot Arena and MT-Bench's human judgements: two conversations, or two lists of answers, and which model won.

use super::{Layout, has_any, usual};
use crate::{Column, Columns};

pub(super) const LAYOUT: Layout = Layout { name: "Arena", columns: conversations };

pub(super) const KAGGLE: Layout = Layout { name: "Arena (55k)", columns: answers };

fn conversations(found: &[Column]) -> Option<Columns> {
    if !["conversation_a", "conversation_b", "winner"].iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["conversation_a"], &["conversation_b"]);
    (columns.prompt, columns.context) = (Vec::new(), Vec::new());
    columns.models = ["model_a", "model_b"].map(str::to_owned).to_vec();
    columns.chosen_if = Some(["winner", "model_a", "model_b"].map(str::to_owned).to_vec());
    columns.turn = has_any(found, &["turn"]).then(|| "turn".to_owned());
    Some(columns)
}

fn answers(found: &[Column]) -> Option<Columns> {
    let needed = ["prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"];
    if !needed.iter().all(|name| has_any(found, &[name])) {
        return None;
    }
    let mut columns = usual(found, &["response_a"], &["response_b"]);
    columns.models = ["model_a", "model_b"].map(str::to_owned).to_vec();
    columns.scores = vec!["winner_model_a/winner_model_b".to_owned()];
    Some(columns)
}
