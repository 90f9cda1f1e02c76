//! Finds prompts that preferences share with a benchmark: identical ones, ones that differ only in case and
//! punctuation, and ones that share half of their n-grams.

use std::collections::{BTreeMap, HashMap, HashSet};

use rewardscope_store::{Digest, Hasher};
use serde::{Deserialize, Serialize};

/// Number of words of an n-gram. A prompt with fewer words is a single n-gram.
const GRAM_WORDS: usize = 8;

/// A prompt overlaps a benchmark's prompt when it contains this share of that prompt's n-grams.
const CONTAINED: f64 = 0.5;

/// A benchmark's prompt with fewer words is too common to look for in other prompts.
const LEAST_WORDS: usize = 3;

/// What to do with pairs whose prompts a benchmark has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum OverlapRule {
    /// Keep and count them.
    #[default]
    Keep,
    /// Leave them out.
    Drop,
}

/// Counts of pairs whose prompts a benchmark has. A pair is counted under the strictest measure that holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct OverlapReport {
    /// The name of the benchmark's rows.
    pub benchmark: String,
    /// Number of the benchmark's prompts.
    pub benchmark_prompts: usize,
    /// Pairs whose prompt is identical to one of the benchmark's.
    pub exact: usize,
    /// Pairs whose prompt differs from one of the benchmark's only in case, punctuation and spaces.
    pub normalised: usize,
    /// Pairs whose prompt contains half the 8-grams of one of the benchmark's, or the whole of a shorter one.
    pub contained: usize,
    /// Number of the benchmark's prompts that a pair shares.
    pub benchmark_prompts_touched: usize,
    /// What was done with such pairs.
    pub rule: OverlapRule,
}

/// A key of 16 bytes that tells texts or ids apart.
pub(crate) type Key = [u8; 16];

/// The key of `parts`: the first half of the sha256 over all parts, each after its length.
pub(crate) fn key_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut hash = Hasher::sha256();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    match hash.finish() {
        Digest::Sha256(bytes) => std::array::from_fn(|i| bytes[i]),
        // Cannot happen: the hasher was made for sha256.
        Digest::GitBlob(bytes) => std::array::from_fn(|i| bytes[i]),
    }
}

/// The key of texts.
pub(crate) fn key(parts: &[&str]) -> Key {
    key_of(parts.iter().map(|part| part.as_bytes()))
}

/// The words of a text in lower case, without punctuation.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// A text without case, punctuation and repeated spaces.
pub(crate) fn normalised(text: &str) -> String {
    words(text).join(" ")
}

/// A benchmark's prompts, indexed to find them in other prompts.
pub(crate) struct Benchmark {
    pub report: OverlapReport,
    /// The prompts as they are.
    exact: HashSet<Key>,
    /// The normalised prompts, each with the number of the first prompt that has this form.
    normalised: HashMap<Key, usize>,
    /// For each length in words: the n-grams of that length, each with the numbers of the prompts that contain it.
    grams: BTreeMap<usize, HashMap<Key, Vec<usize>>>,
    /// How many different n-grams each prompt has.
    gram_counts: Vec<usize>,
    /// The numbers of the prompts that a pair shares.
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

    /// Whether the benchmark has this prompt. If so, counts it in the report.
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
