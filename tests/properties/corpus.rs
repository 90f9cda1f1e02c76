//! The inputs of the fuzz targets, and inputs that differ from them a little, are read or refused: none panics. The
//! mutations follow from a fixed seed. `cargo xtask test --all` fuzzes the same targets, guided by coverage.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use rewardscope_tests::root;

#[path = "../../fuzz/src/adapter.rs"]
mod adapter;
#[path = "../../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/gguf.rs"]
mod gguf;
#[path = "../../fuzz/src/hook.rs"]
mod hook;
#[path = "../../fuzz/src/layouts.rs"]
mod layouts;
#[path = "../../fuzz/src/readers.rs"]
mod readers;
#[path = "../../fuzz/src/rows.rs"]
mod rows;
#[path = "../../fuzz/src/safetensors.rs"]
mod safetensors;
#[path = "../../fuzz/src/tokenizer.rs"]
mod tokenizer;
#[path = "../../fuzz/src/tokenizer_config.rs"]
mod tokenizer_config;
#[path = "../../fuzz/src/verdicts.rs"]
mod verdicts;

/// A target's name, what it does with an input, and the number of mutations of each of its inputs.
type Target = (&'static str, fn(&[u8]), usize);

const TARGETS: [Target; 10] = [
    ("adapter", adapter::run, 500),
    ("bodies", bodies::run, 500),
    ("config", config::run, 100),
    ("gguf", gguf::run, 200),
    ("layouts", layouts::run, 100),
    ("readers", readers::run, 100),
    ("safetensors", safetensors::run, 200),
    ("tokenizer", tokenizer::run, 100),
    ("tokenizer_config", tokenizer_config::run, 50),
    ("verdicts", verdicts::run, 200),
];

/// Most bytes of an input that is mutated, as in fuzzing.
const MOST_BYTES: usize = 4096;

/// xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// An input with up to four changes: a byte, a bit, a part left out, doubled, or taken from another input.
    fn changed(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                _ if bytes.is_empty() => bytes.push(self.below(256) as u8),
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let from = self.below(other.len());
                    let to = (from + 1 + self.below(64)).min(other.len());
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
            }
        }
        bytes
    }
}

#[test]
fn inputs_of_the_fuzz_targets_are_read_or_refused() {
    hook::set();
    for (name, target, mutations) in TARGETS {
        let folder = root().join("fuzz/corpus").join(name);
        let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(!inputs.is_empty(), "{name}");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let started = std::time::Instant::now();
        for (place, input) in inputs.iter().enumerate() {
            target(input);
            for _ in 0..mutations {
                let other = &inputs[random.below(inputs.len())];
                let changed = random.changed(&input[..input.len().min(MOST_BYTES)], other);
                if std::panic::catch_unwind(|| target(&changed)).is_err() {
                    let kept = std::env::temp_dir().join(format!("rewardscope-{name}"));
                    fs::write(&kept, &changed).unwrap();
                    panic!("{name} panics at a change of {}: {} has it", paths[place].display(), kept.display());
                }
            }
        }
        println!("{name}: {} inputs, {mutations} changes of each, {:.1?}", inputs.len(), started.elapsed());
    }
}
