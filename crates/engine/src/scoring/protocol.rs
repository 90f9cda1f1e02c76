use rewardscope_text::{Bos, Format, TruncationSide};

/// What programs that mark the same model do differently, by name: how a conversation becomes ids,
/// where it is cut, and which token the score is read at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocol {
    /// Who begins a conversation.
    pub bos: Bos,
    /// Which end is cut; the tokenizer's own choice without it.
    pub truncation: Option<TruncationSide>,
    /// Which token the score is read at.
    pub pooled: PooledToken,
    /// A conversation format in place of the model's chat template.
    pub format: Option<Format>,
}

/// Which token of a padded row transformers reads the score at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PooledToken {
    /// Since 4.51: the rightmost whose id is not the pad id.
    #[default]
    Rightmost,
    /// Before: the one before the first pad id, wherever that is; the last where there is none.
    BeforeFirstPad,
}

impl Protocol {
    /// At most so many tokens in the reference protocol.
    pub const REFERENCE_TOKENS: usize = 2048;

    /// What of it is not the default, for reports and to tell runs apart; empty where nothing is.
    pub fn described(&self) -> String {
        let bos = match self.bos {
            Bos::Template => None,
            Bos::Skywork => Some("one BOS as Skywork's".to_owned()),
            Bos::RewardBench => Some("BOS kept and masked as RewardBench's".to_owned()),
        };
        let side = (self.truncation == Some(TruncationSide::Left)).then(|| "cut on the left".to_owned());
        let pooled = (self.pooled == PooledToken::BeforeFirstPad).then(|| "read before the first pad".to_owned());
        let format = self.format.map(|format| format!("format {}", format.name));
        [bos, side, pooled, format].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// RewardBench's: both beginnings, the first masked, cut on the right.
    pub fn reference() -> Self {
        Self { bos: Bos::RewardBench, ..Self::default() }
    }
}

/// Which token the score is read at; the last where no pad id is known. Where every id is the pad
/// id it is the first since 4.51, the last before.
pub(crate) fn pooled_index(ids: &[u32], pad_token_id: Option<u32>, rule: PooledToken) -> usize {
    let last = ids.len() - 1;
    let Some(pad) = pad_token_id else {
        return last;
    };
    match rule {
        PooledToken::Rightmost => ids.iter().rposition(|&id| id != pad).unwrap_or(0),
        // transformers counted from the end where nothing comes before the first.
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
