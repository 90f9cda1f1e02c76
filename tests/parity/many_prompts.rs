//! Texts of many prompts go through a model in common batches, in whatever requests they come. Beginnings that were
//! computed are kept, and scores do not change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, LoadOptions, ModelFiles, PrefixTree, Score, Scorer, TokenSequence, device,
};
use rewardscope_store::Folder;
use rewardscope_tests::fixture;

fn load(name: &str, device_choice: DeviceChoice, batch_tokens: Option<usize>) -> Scorer {
    let folder = Folder::open(&fixture(&format!("parity/{name}"))).unwrap();
    let files = ModelFiles::from_sources(name, folder.sources().cloned().collect()).unwrap();
    let options = LoadOptions { batch_tokens, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    let device = block_on(device::open(device_choice)).unwrap();
    block_on(Scorer::load(&files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap()
}

fn id(place: usize) -> u32 {
    (place * 7919 % 300 + 5) as u32
}

/// Completions of seven prompts, in mixed order. Prompts begin alike, some completions are equal or begin another, and
/// one prompt is the beginning of another.
fn sequences() -> Vec<TokenSequence> {
    let prompt = |p: usize| -> Vec<u32> {
        match p {
            6 => (0..9).map(id).collect(),
            _ => (0..9).map(id).chain((0..p * 5 + 3).map(|t| id(50 * p + t))).collect(),
        }
    };
    let completion = |c: usize| -> Vec<u32> {
        match c {
            3 | 4 => (0..6).map(|t| id(1000 + t)).collect(),
            5 => (0..3).map(|t| id(1000 + t)).collect(),
            _ => (0..1 + c * 3 % 11).map(|t| id(100 * c + 2 * t)).collect(),
        }
    };
    let all = (0..7).flat_map(|p| (0..6).map(move |c| (p, c)));
    let all: Vec<TokenSequence> =
        all.map(|(p, c)| TokenSequence::new([prompt(p), completion(c)].concat(), prompt(p).len())).collect();
    (0..all.len()).map(|i| all[(i * 11 + 5) % all.len()].clone()).collect()
}

/// Scores in requests of these sizes, in turn.
fn in_requests(
    scorer: &Scorer,
    all: &[TokenSequence],
    sizes: &[usize],
    detail: Detail,
    tree: &mut PrefixTree,
) -> Vec<Score> {
    let (mut scores, mut sizes) = (Vec::new(), sizes.iter().cycle());
    while scores.len() < all.len() {
        let left = &all[scores.len()..];
        let few = &left[..left.len().min(*sizes.next().unwrap())];
        scores.extend(block_on(scorer.score_shared(few, detail, tree, &Cancel::default())).unwrap());
    }
    scores
}

fn worst(found: &[Score], expected: &[Score]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mut worst = 0.0f64;
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.score.abs().max(1.0);
        worst = worst.max((found.score - expected.score).abs() / scale);
        assert_eq!(found.tokens, expected.tokens);
        if !found.token_scores.is_empty() {
            assert_eq!(found.token_scores.len(), expected.token_scores.len());
            let each = found.token_scores.iter().zip(&expected.token_scores);
            worst = each.map(|(a, b)| f64::from((a - b).abs() / b.abs().max(1.0))).fold(worst, f64::max);
        }
    }
    worst
}

#[test]
fn scores_do_not_depend_on_requests_batches_or_what_is_kept() {
    let all = sequences();
    // An encoder shares nothing.
    for name in crate::prefixes::MODELS.into_iter().chain(["bert"]) {
        let scorer = load(name, DeviceChoice::Cpu, None);
        let alone: Vec<Score> = all
            .iter()
            .map(|one| block_on(scorer.score_tokens(std::slice::from_ref(one), Detail::EveryToken, &Cancel::default())))
            .map(|scores| scores.unwrap().remove(0))
            .collect();
        let mut largest = 0.0f64;
        for budget in [Some(1), Some(60), Some(300), None] {
            let scorer = load(name, DeviceChoice::Cpu, budget);
            // Everything is kept, next to nothing, and nothing.
            for room in [u64::MAX, 40_000, 0] {
                for sizes in [&[all.len()][..], &[1], &[3, 1, 8]] {
                    let mut tree = PrefixTree::new(room);
                    for detail in [Detail::Score, Detail::EveryToken] {
                        let found = in_requests(&scorer, &all, sizes, detail, &mut tree);
                        largest = largest.max(worst(&found, &alone));
                        assert!(tree.bytes() <= room);
                    }
                }
            }
        }
        println!("{name}: largest relative difference {largest:.1e}");
        assert!(largest < 1e-5, "{name}: {largest:e}");
    }
}

#[test]
fn n_requests_of_a_prompt_compute_it_once() {
    let prompt: Vec<u32> = (0..40).map(id).collect();
    let completion = |c: usize| (0..3 + c % 4).map(move |t| id(1 + 17 * c + t));
    let all: Vec<TokenSequence> = (0..12)
        .map(|c| TokenSequence::new(prompt.iter().copied().chain(completion(c)).collect(), prompt.len()))
        .collect();
    let own: usize = all.iter().map(|one| one.input_ids.len() - prompt.len()).sum();
    let scorer = load("llama_plain", DeviceChoice::Cpu, None);
    for sizes in [&[1][..], &[5, 1, 2], &[12]] {
        let mut tree = PrefixTree::new(u64::MAX);
        let found = in_requests(&scorer, &all, sizes, Detail::Score, &mut tree);
        let computed: usize = found.iter().map(|score| score.computed_tokens).sum();
        assert_eq!(computed, prompt.len() + own, "requests of {sizes:?}");
        assert_eq!(tree.tokens(), prompt.len());
    }
}

#[test]
fn a_gpu_gives_the_same() {
    let all = sequences();
    for name in ["llama_gqa_tied", "gemma3_text"] {
        let cpu = load(name, DeviceChoice::Cpu, None);
        let expected = in_requests(&cpu, &all, &[1], Detail::Score, &mut PrefixTree::new(0));
        let gpu = load(name, DeviceChoice::Gpu, Some(300));
        let found = in_requests(&gpu, &all, &[3, 1, 8], Detail::Score, &mut PrefixTree::new(u64::MAX));
        let worst = worst(&found, &expected);
        println!("{name} on {}: largest relative difference {worst:.1e}", gpu.report().device.name);
        assert!(worst < 1e-4, "{name}: {worst:e}");
    }
}
