//! Where a score is read, and that neighbours in a batch do not matter.

use std::cell::OnceCell;

use pollster::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use rewardscope_engine::{Cancel, Detail, Scorer, TokenSequence};
use rewardscope_tests::{fixture, json_fixture, load, model};

use crate::cases;

thread_local! {
    static SCORER: OnceCell<Scorer> = const { OnceCell::new() };
}

fn scores(sequences: &[Vec<u32>]) -> Vec<f64> {
    let sequences: Vec<TokenSequence> = sequences.iter().map(|ids| TokenSequence::new(ids.clone(), 0)).collect();
    SCORER.with(|scorer| {
        let scorer = scorer.get_or_init(|| load(&model(&fixture("parity/llama_plain")), None).unwrap());
        let scores = block_on(scorer.score_tokens(&sequences, Detail::Score, &Cancel::default())).unwrap();
        scores.into_iter().map(|score| score.score).collect()
    })
}

fn pad() -> u32 {
    json_fixture("parity/llama_plain/config.json")["pad_token_id"].as_u64().unwrap() as u32
}

fn ids() -> impl Strategy<Value = Vec<u32>> {
    vec((3u32..200).prop_filter("not the pad", |id| *id != pad()), 1..40)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn trailing_pads_change_nothing(ids in ids(), pads in 1usize..9) {
        let padded = [ids.clone(), vec![pad(); pads]].concat();
        let found = scores(&[ids, padded]);
        prop_assert!((found[0] - found[1]).abs() < 1e-4, "{:?}", found);
    }

    #[test]
    fn a_batch_scores_as_each_alone(batch in vec(ids(), 2..7)) {
        let together = scores(&batch);
        for (ids, found) in batch.into_iter().zip(together) {
            prop_assert!((scores(&[ids])[0] - found).abs() < 1e-4);
        }
    }

    #[test]
    fn a_shared_beginning_scores_as_two(start in ids(), one in ids(), other in ids()) {
        let sequences = [[start.clone(), one].concat(), [start, other].concat()];
        let together = scores(&sequences);
        for (ids, found) in sequences.into_iter().zip(together) {
            prop_assert!((scores(&[ids])[0] - found).abs() < 1e-4);
        }
    }
}
