//! Protocols: what evaluation programs do differently with the same model.

use rewardscope_text::{Bos, Format, TruncationSide};

/// How a conversation becomes token ids, where it is truncated, and which token the score is read at. Programs
/// that mark the same model differ in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocol {
    /// Who puts the token that begins a text (BOS) before a conversation.
    pub bos: Bos,
    /// Which end of a text is cut off; `None` for the tokenizer's own choice.
    pub truncation: Option<TruncationSide>,
    /// Which token the score is read at.
    pub pooled: PooledToken,
    /// A conversation format in place of the model's chat template.
    pub format: Option<Format>,
    /// Whether a language model's rows are made as RewardBench makes them for a policy and its reference.
    pub is_dpo: bool,
}

/// Which token of a padded row transformers reads the score at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PooledToken {
    /// Since transformers 4.51: the rightmost token whose id is not the pad id.
    #[default]
    Rightmost,
    /// Before 4.51: the token before the first pad id, wherever that is; the last token where there is none.
    BeforeFirstPad,
}

impl Protocol {
    /// Most tokens of a conversation in the reference protocol.
    pub const REFERENCE_TOKENS: usize = 2048;

    /// The settings that are not the default, in words, for reports and to tell runs apart; empty where all
    /// are.
    pub fn described(&self) -> String {
        let bos = match self.bos {
            Bos::Template => None,
            Bos::Skywork => Some("one BOS as Skywork's".to_owned()),
            Bos::RewardBench => Some("BOS kept and masked as RewardBench's".to_owned()),
        };
        let side = (self.truncation == Some(TruncationSide::Left)).then(|| "cut on the left".to_owned());
        let pooled = (self.pooled == PooledToken::BeforeFirstPad).then(|| "read before the first pad".to_owned());
        let format = self.format.map(|format| format!("format {}", format.name));
        let dpo = self.is_dpo.then(|| "RewardBench's DPO rows".to_owned());
        [bos, side, pooled, format, dpo].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// RewardBench's protocol for a policy and its reference (`rewardbench/dpo.py`).
    pub fn rewardbench_dpo() -> Self {
        Self { is_dpo: true, ..Self::default() }
    }

    /// RewardBench's protocol: both the template and the tokenizer put a BOS, and the first one is masked. The
    /// tokenizer says which end is cut off: the right one, unless its settings say otherwise.
    pub fn reference() -> Self {
        Self { bos: Bos::RewardBench, ..Self::default() }
    }
}

/// The index of the token that the score is read at; the last where no pad id is known. Where every id is the
/// pad id, it is the first since 4.51, and the last before.
pub(crate) fn pooled_index(ids: &[u32], pad_token_id: Option<u32>, rule: PooledToken) -> usize {
    let last = ids.len() - 1;
    let Some(pad) = pad_token_id else {
        return last;
    };
    match rule {
        PooledToken::Rightmost => ids.iter().rposition(|&id| id != pad).unwrap_or(0),
        // Where nothing comes before the first pad id, transformers read index -1: the last token.
        PooledToken::BeforeFirstPad => {
            ids.iter().position(|&id| id == pad).and_then(|first| first.checked_sub(1)).unwrap_or(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_follows_transformers() {
        let fixture = include_str!("../../../../tests/fixtures/metrics/torch_ports.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        for case in fixture["pooling"].as_array().expect("cases") {
            let ids: Vec<u32> = serde_json::from_value(case["input_ids"][0].clone()).expect("ids");
            let pad = case["pad"].as_u64().map(|pad| pad as u32);
            let want = case["expected_index_tf4576"][0].as_u64().expect("an index") as usize;
            assert_eq!(pooled_index(&ids, pad, PooledToken::Rightmost), want, "{case}");
            let want = case["expected_index_legacy"][0].as_u64().expect("an index") as usize;
            assert_eq!(pooled_index(&ids, pad, PooledToken::BeforeFirstPad), want, "{case}");
        }
    }
}
