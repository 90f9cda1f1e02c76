//! What preferences share with a benchmark: prompts to the letter, but for case and punctuation, or by half of their
//! n-grams.

use std::collections::{BTreeMap, HashMap, HashSet};

use rewardscope_store::{Digest, Hasher};
use serde::{Deserialize, Serialize};

/// Words of an n-gram. Shorter prompts are one gram.
const GRAM_WORDS: usize = 8;

/// A benchmark's prompt is overlapped when this share of its n-grams is in a prompt.
const CONTAINED: f64 = 0.5;

/// A prompt of fewer words says nothing by being contained.
const LEAST_WORDS: usize = 3;

/// What is to be done about pairs whose prompts a benchmark has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum OverlapRule {
    /// They stay, and are counted.
    #[default]
    Keep,
    /// They are left out.
    Drop,
}

/// What prompts and a benchmark have in common, by the strictest measure that holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct OverlapReport {
    /// The benchmark's rows.
    pub benchmark: String,
    /// Its prompts.
    pub benchmark_prompts: usize,
    /// Pairs whose prompt is one of them to the letter.
    pub exact: usize,
    /// Pairs whose prompt is one of them but for case, punctuation and spaces.
    pub normalised: usize,
    /// Pairs whose prompt contains half the 8-grams of one of them, or all of a shorter one.
    pub contained: usize,
    /// Different prompts of the benchmark that are touched.
    pub benchmark_prompts_touched: usize,
    /// What was done about them.
    pub rule: OverlapRule,
}

/// 16 bytes that tell texts, or ids, apart.
pub(crate) type Key = [u8; 16];

/// The first half of a sha256.
pub(crate) fn key_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut hash = Hasher::sha256();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    match hash.finish() {
        Digest::Sha256(bytes) => std::array::from_fn(|i| bytes[i]),
        // A hasher of sha256 gives nothing else.
        Digest::GitBlob(bytes) => std::array::from_fn(|i| bytes[i]),
    }
}

pub(crate) fn key(parts: &[&str]) -> Key {
    key_of(parts.iter().map(|part| part.as_bytes()))
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

pub(crate) fn normalised(text: &str) -> String {
    words(text).join(" ")
}

/// A benchmark's prompts, ready to be found in others.
pub(crate) struct Benchmark {
    pub report: OverlapReport,
    exact: HashSet<Key>,
    normalised: HashMap<Key, usize>,
    /// n-grams with the prompts that have them, by their number of words.
    grams: BTreeMap<usize, HashMap<Key, Vec<usize>>>,
    /// How many each prompt has.
    gram_counts: Vec<usize>,
    pub touched: HashSet<usize>,
}

impl Benchmark {
    pub fn new<'a>(name: &str, prompts: impl IntoIterator<Item = &'a str>, rule: OverlapRule) -> Self {
        let mut found = Self {
            report: OverlapReport { benchmark: name.to_owned(), rule, ..OverlapReport::default() },
            exact: HashSet::new(),
            normalised: HashMap::new(),
            grams: BTreeMap::new(),
            gram_counts: Vec::new(),
            touched: HashSet::new(),
        };
        for prompt in prompts {
            let number = found.gram_counts.len();
            let words = words(prompt);
            found.exact.insert(key(&[prompt]));
            found.normalised.entry(key(&[&words.join(" ")])).or_insert(number);
            let length = GRAM_WORDS.min(words.len());
            let mut count = 0;
            if length >= LEAST_WORDS {
                let by_key = found.grams.entry(length).or_default();
                let grams: HashSet<Key> = words.windows(length).map(|gram| key(&[&gram.join(" ")])).collect();
                count = grams.len();
                grams.into_iter().for_each(|gram| by_key.entry(gram).or_default().push(number));
            }
            found.gram_counts.push(count);
        }
        found.report.benchmark_prompts = found.gram_counts.len();
        found
    }

    /// Whether the benchmark has this prompt; counts it.
    pub fn has(&mut self, prompt: &str) -> bool {
        let words = words(prompt);
        let same = self.normalised.get(&key(&[&words.join(" ")])).copied();
        if let Some(number) = same {
            self.touched.insert(number);
            if self.exact.contains(&key(&[prompt])) {
                self.report.exact += 1;
            } else {
                self.report.normalised += 1;
            }
            return true;
        }
        let mut hits: HashMap<usize, usize> = HashMap::new();
        for (length, by_key) in &self.grams {
            let grams: HashSet<Key> = words.windows(*length).map(|gram| key(&[&gram.join(" ")])).collect();
            for number in grams.iter().filter_map(|gram| by_key.get(gram)).flatten() {
                *hits.entry(*number).or_default() += 1;
            }
        }
        let counts = &self.gram_counts;
        let contained: Vec<usize> = hits
            .into_iter()
            .filter(|(number, hits)| *hits as f64 >= CONTAINED * counts[*number] as f64)
            .map(|(number, _)| number)
            .collect();
        if contained.is_empty() {
            return false;
        }
        self.touched.extend(contained);
        self.report.contained += 1;
        true
    }
}
