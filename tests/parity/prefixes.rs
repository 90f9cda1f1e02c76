//! The tokens that completions begin with in common are computed once, and scores do not change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, Format, LoadOptions, Message, ModelFiles, Pooling, Score, ScoreProgress,
    Scorer, TokenSequence, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, root};

/// A decoder of each kind: plain; with grouped queries; with a sliding window that is shorter or longer than the text;
/// with its own norms and caps; with another order of heads. And a language model.
pub const MODELS: [&str; 8] = [
    "llama_plain",
    "llama_gqa_tied",
    "mistral_sliding",
    "qwen2",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "dpo_llama/policy",
];

fn load(files: &ModelFiles, batch_tokens: Option<usize>) -> Scorer {
    load_as(files, LoadOptions { batch_tokens, ..LoadOptions::new(Clock::from_local_seconds(0)) })
}

fn load_as(files: &ModelFiles, options: LoadOptions) -> Scorer {
    let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
    block_on(Scorer::load(files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn files(name: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("parity/{name}"))).unwrap();
    ModelFiles::from_sources(name, folder.sources().cloned().collect()).unwrap()
}

/// Twenty completions of one prompt. Some have one token, two are equal, and one is the beginning of another.
fn sequences() -> Vec<TokenSequence> {
    let id = |place: usize| (place * 7919 % 300 + 5) as u32;
    let prompt: Vec<u32> = (0..37).map(id).collect();
    let completion = |i: usize| -> Vec<u32> {
        match i {
            3 => (0..6).map(|t| id(1000 + t)).collect(),
            4 => (0..6).map(|t| id(1000 + t)).collect(),
            5 => (0..3).map(|t| id(1000 + t)).collect(),
            _ => (0..1 + i * 3 % 17).map(|t| id(100 * i + 2 * t)).collect(),
        }
    };
    (0..20).map(|i| TokenSequence::new([prompt.clone(), completion(i)].concat(), prompt.len())).collect()
}

fn score(scorer: &Scorer, sequences: &[TokenSequence], detail: Detail) -> Vec<Score> {
    block_on(scorer.score_tokens(sequences, detail, &Cancel::default())).unwrap()
}

fn largest(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Number of tokens that all sequences begin with.
pub fn common(sequences: &[TokenSequence]) -> usize {
    let shortest = sequences.iter().map(|sequence| sequence.input_ids.len()).min().unwrap();
    (0..shortest).take_while(|&t| sequences.iter().all(|s| s.input_ids[t] == sequences[0].input_ids[t])).count()
}

fn agrees(name: &str, files: &ModelFiles, sequences: &[TokenSequence]) {
    let scorer = load(files, None);
    let together = score(&scorer, sequences, Detail::Score);
    let alone: Vec<Score> =
        sequences.iter().map(|one| score(&scorer, std::slice::from_ref(one), Detail::EveryToken).remove(0)).collect();
    let scores = |all: &[Score]| all.iter().map(|score| score.score).collect::<Vec<_>>();
    let mut worst = largest(scores(&together), scores(&alone));

    let prefix = common(sequences);
    let own: usize = sequences.iter().map(|sequence| sequence.input_ids.len() - prefix).sum();
    let computed: usize = together.iter().map(|score| score.computed_tokens).sum();
    assert_eq!(computed, prefix + own, "{name}: the prompt once, and each completion");
    assert_eq!(scorer.computed_tokens(sequences).unwrap(), computed, "{name}");
    let seen: usize = together.iter().map(|score| score.tokens).sum();

    // Scores do not depend on the order, or on how many tokens fit in a batch.
    let shuffled: Vec<usize> = (0..sequences.len()).map(|i| (i * 7 + 3) % sequences.len()).collect();
    let others: Vec<TokenSequence> = shuffled.iter().map(|&i| sequences[i].clone()).collect();
    let found = score(&scorer, &others, Detail::EveryToken);
    for (&i, found) in shuffled.iter().zip(&found) {
        worst = worst.max((found.score - alone[i].score).abs());
        let tokens = |score: &Score| score.token_scores.iter().map(|&score| f64::from(score)).collect::<Vec<_>>();
        assert_eq!(found.token_scores.len(), alone[i].token_scores.len(), "{name}");
        worst = worst.max(largest(tokens(found), tokens(&alone[i])));
    }
    for budget in [1, 60, 200] {
        let small = load(files, Some(budget));
        for detail in [Detail::Score, Detail::EveryToken] {
            worst = worst.max(largest(scores(&score(&small, sequences, detail)), scores(&alone)));
        }
    }
    // The same holds for hidden states, after all layers and after one.
    for layers in [scorer.report().layers, 1] {
        let states = |sequences: &[TokenSequence], pooling| -> Vec<f32> {
            let found = block_on(scorer.features(sequences, layers, pooling, &Cancel::default())).unwrap();
            found.into_iter().flat_map(|features| features.state).collect()
        };
        for pooling in [Pooling::LastToken, Pooling::CompletionMean] {
            let each = sequences.iter().flat_map(|one| states(std::slice::from_ref(one), pooling));
            let largest_state = each.clone().fold(1.0f32, |a, b| a.max(b.abs()));
            let off = largest(states(sequences, pooling).into_iter().map(f64::from), each.map(f64::from));
            worst = worst.max(off / f64::from(largest_state));
        }
    }
    println!("{name}: {computed} of {seen} tokens computed, largest difference {worst:.1e}");
    assert!(worst < 1e-5, "{name}: {worst:e}");
}

#[test]
fn shared_and_unshared_scores_are_equal() {
    for name in MODELS {
        agrees(name, &files(name), &sequences());
    }
}

/// While a user types, only what changed is computed, and the scores are the same as when everything is computed.
#[test]
fn what_did_not_change_is_not_computed_again() {
    for name in ["llama_plain", "gemma2", "dpo_llama/policy", "bert"] {
        // Not every fixture has a chat template.
        let mut options = LoadOptions::new(Clock::from_local_seconds(0));
        options.protocol.format = (name != "bert").then(|| Format::named("tulu").unwrap());
        let (scorer, fresh) = (load_as(&files(name), options.clone()), load_as(&files(name), options));
        let mut computed = Vec::new();
        let states: [(&str, &[&str]); 6] = [
            ("Name a colour of the rainbow.", &["Red.", "Violet, I think.", "Monday."]),
            ("Name a colour of the rainbow.", &["Red.", "Violet, I think so.", "Monday."]),
            ("Name a colour of the rainbow.", &["Red.", "Violet, I think so.", "Monday."]),
            ("Name a colour of the rainbow.", &["Red."]),
            ("Name a colour of the rainbow, please.", &["Red.", "Blue."]),
            ("Why?", &["Red.", "Blue."]),
        ];
        for (prompt, completions) in states {
            let prompt = [Message::new("user", prompt)];
            let now = || completions.iter().copied();
            let mut told = Vec::new();
            let progress = &mut |now: ScoreProgress| told.push((now.completions_done, now.completions_total));
            let found = block_on(scorer.rescore(&prompt, now(), &Cancel::default(), progress)).unwrap();
            assert!(told.is_sorted(), "{told:?}");
            let is_unchanged = found.iter().all(|score| score.computed_tokens == 0);
            assert_eq!(told.last().is_none(), is_unchanged, "{told:?}");
            assert!(told.last().is_none_or(|&last| last == (found.len(), found.len())), "{told:?}");
            let want = block_on(fresh.score(&prompt, now(), Detail::Score, &Cancel::default())).unwrap();
            let scores = |all: &[Score]| all.iter().map(|score| score.score).collect::<Vec<_>>();
            let worst = largest(scores(&found), scores(&want));
            assert!(worst < 1e-5, "{name}, {completions:?}: {worst:e}");
            let tokens = |all: &[Score]| all.iter().map(|score| score.computed_tokens).sum::<usize>();
            computed.push((tokens(&found), tokens(&want)));
        }
        println!("{name}: tokens computed while typing, and without what was kept: {computed:?}");
        assert!(computed[1].0 * 2 < computed[1].1, "one completion of three changed");
        assert_eq!((computed[2].0, computed[3].0), (0, 0), "nothing changed");
        if name != "bert" {
            assert!(computed[4].0 < computed[4].1, "the prompts begin alike");
        }
    }
}

#[test]
fn smollm2_computes_a_ties_item_once() {
    let path = root().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = Source::file(&path).unwrap_or_else(|e| panic!("{e}; cargo xtask test fetches it"));
    let files = ModelFiles::from_sources("SmolLM2", vec![source]).unwrap();
    let scorer = load(&files, None);
    let colours = [
        "Red.",
        "Orange.",
        "Yellow.",
        "Green.",
        "Blue.",
        "Indigo.",
        "Violet.",
        "red",
        "Red, I think.",
        "It is blue.",
        "Brown.",
        "Pink.",
        "Black.",
        "White.",
        "Grey.",
        "Magenta.",
        "Beige.",
        "Monday.",
        "Seven.",
        "I do not know.",
    ];
    let prompt = [Message::new("user", "Name a colour of the rainbow.")];
    let sequences = scorer.tokenize(&prompt, colours).unwrap();
    assert_eq!(sequences.len(), 20);
    let together = score(&scorer, &sequences, Detail::Score);
    let (prefix, computed): (usize, usize) =
        (common(&sequences), together.iter().map(|score| score.computed_tokens).sum());
    let own: usize = sequences.iter().map(|sequence| sequence.input_ids.len() - prefix).sum();
    assert_eq!(computed, prefix + own);
    assert!(prefix >= 30, "the template and the prompt are the same in all: {prefix}");
    let worst = together.iter().zip(&sequences).map(|(together, one)| {
        (together.score - score(&scorer, std::slice::from_ref(one), Detail::Score)[0].score).abs()
    });
    let worst = worst.fold(0.0, f64::max);
    println!("20 completions: {prefix} + {own} tokens computed, largest difference {worst:.1e}");
    assert!(worst < 1e-5, "{worst:e}");
}
