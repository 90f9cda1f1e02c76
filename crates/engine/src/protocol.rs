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
