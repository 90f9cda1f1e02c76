//! Preferences before anything is fitted: what of a file is of use, what is not and why, and what
//! it shares with a benchmark.

use std::collections::{BTreeMap, HashMap, HashSet};

use rewardscope_data::{Columns, DataError, DatasetRow, How, Opening, Reason, Skip, Skipped, Turn, each_row};
use rewardscope_engine::Cancel;
use rewardscope_engine::device::pause;
use rewardscope_store::{ByteStream, Hasher, Source};
use serde::{Deserialize, Serialize};

use crate::FitError;
use crate::overlap::{Benchmark, Key, OverlapReport, OverlapRule, key, normalised};

/// Reasons that are shown of rows that gave no pair.
const SHOWN: usize = 5;

/// More parts than this are one: a column that names each row is no subset.
const MOST_SUBSETS: usize = 200;

/// Rows between two moments in which the worker hears what it is told.
const BREATH_ROWS: usize = 256;

/// Files of preferences, and how they are read.
#[derive(Debug, Clone, Copy)]
pub struct PreferenceFiles<'a> {
    /// The files.
    pub sources: &'a [Source],
    /// Where rows have what, where that is not as their layout has it.
    pub columns: Option<&'a Columns>,
    /// Which of several lists of rows in one JSON object.
    pub split: Option<&'a str>,
    /// Whether a row that is no preference ends the reading.
    pub is_strict: bool,
}

impl<'a> PreferenceFiles<'a> {
    /// Files read by the layouts that their columns show.
    pub fn of(sources: &'a [Source]) -> Self {
        Self { sources, columns: None, split: None, is_strict: false }
    }

    /// A name for messages.
    pub(crate) fn name(&self) -> String {
        let first = self.sources.first().map(|source| source.name().to_owned()).unwrap_or_default();
        match self.sources.len() {
            0 | 1 => first,
            count => format!("{first} and {} others", count - 1),
        }
    }
}

/// Two completions of a prompt, the better one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preference {
    /// The conversation up to the completion.
    pub prompt: Vec<Turn>,
    /// The better completion.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// The part of the dataset, where it names any.
    pub subset: Option<String>,
}

/// Pairs that one row may give, and bytes of prompt that they may repeat.
const MOST_PAIRS: usize = 4096;
const MOST_PROMPT_BYTES: usize = 64 << 20;

/// Every chosen completion of a row with every rejected one.
fn pairs_of(row: &DatasetRow) -> Result<Vec<Preference>, Skip> {
    let count = row.chosen.len().saturating_mul(row.rejected.len());
    let prompt_bytes: usize = row.prompt.iter().map(|turn| turn.role.len() + turn.content.len()).sum();
    if count > MOST_PAIRS || count.saturating_mul(prompt_bytes) > MOST_PROMPT_BYTES {
        let expected = format!("at most {MOST_PAIRS} pairs and {MOST_PROMPT_BYTES} bytes of prompts in one row");
        return Err(Skip { reason: Reason::Shape, expected, found: format!("{count} pairs") });
    }
    let both = row.chosen.iter().flat_map(|chosen| row.rejected.iter().map(move |rejected| (chosen, rejected)));
    let pair = |(chosen, rejected): (&String, &String)| Preference {
        prompt: row.prompt.clone(),
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        subset: Some(row.subset.clone()).filter(|subset| !subset.is_empty()),
    };
    Ok(both.map(pair).collect())
}

/// Hands on the pairs of each row in turn, with its file's name and its number from 1, or why it gives none; gives
/// what is to be said of the files.
pub(crate) async fn each_preference(
    files: &PreferenceFiles<'_>,
    mut take: impl AsyncFnMut(&str, usize, Result<Vec<Preference>, Skip>) -> Result<(), FitError>,
) -> Result<Vec<String>, FitError> {
    // A row that names no part is of none.
    let how = How::Preferences(files.columns.cloned());
    let (mut remarks, mut rows) = (Vec::new(), 0);
    for source in files.sources {
        let opening = Opening { split: files.split.map(str::to_owned), ..Opening::default() };
        let stream = ByteStream::of(source);
        let report = each_row(stream, &how, opening, files.is_strict, async |number, row| {
            let pairs = row.and_then(|row| pairs_of(&row));
            take(source.name(), number, pairs).await
        })
        .await?;
        remarks.extend(report.remarks());
        rows += report.rows;
    }
    match rows {
        0 => {
            let (expected, found) = ("at least one row".to_owned(), "none".to_owned());
            Err(DataError::Format { file: files.name(), expected, found }.into())
        }
        _ => Ok(remarks),
    }
}

/// What a file of preferences is like. Pairs are counted under the first reason that holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct FormReport {
    /// Rows of the file.
    pub rows: usize,
    /// Rows that are no preference.
    pub unreadable: usize,
    /// Those of them by reason.
    #[serde(default)]
    pub skipped: Vec<(String, usize)>,
    /// How the files' columns were read, and which with text were not: a sentence each.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// Pairs in the others.
    pub pairs: usize,
    /// Pairs with a completion that is empty: left out.
    pub empty: usize,
    /// Pairs whose two completions are the same: left out.
    pub identical: usize,
    /// Pairs that stood in the file before: left out.
    pub duplicates: usize,
    /// Pairs that stand there the other way round as well: left out, both.
    pub contradictory: usize,
    /// Pairs whose prompt a benchmark has, whether or not they are left out.
    pub overlapping: usize,
    /// Pairs that are left.
    pub kept: usize,
    /// Different prompts among them.
    pub prompts: usize,
    /// Share of them whose chosen completion is longer in characters, equal lengths half.
    pub chosen_longer: f64,
    /// Mean characters of their chosen completions.
    pub chosen_characters: f64,
    /// Mean characters of their rejected completions.
    pub rejected_characters: f64,
    /// Pairs by subset in the order of their names, where the file names any.
    pub subsets: Vec<(String, usize)>,
    /// Why rows gave no pair: the first few, each a sentence.
    pub examples: Vec<String>,
}

impl FormReport {
    /// Whether length alone is right or wrong more often than four times in seven.
    pub fn is_skewed(&self) -> bool {
        (self.chosen_longer - 0.5).abs() > 1.0 / 14.0
    }
}

fn prompt_key(preference: &Preference) -> Key {
    let parts: Vec<&str> = preference.prompt.iter().flat_map(|turn| [turn.role.as_str(), &turn.content]).collect();
    key(&parts)
}

/// The prompt as one text: what the user said last.
fn asked(preference: &Preference) -> &str {
    preference.prompt.iter().rfind(|turn| turn.role == "user").map(|turn| turn.content.as_str()).unwrap_or_default()
}

/// What is known of a file's preferences after the first reading.
pub(crate) struct Checked {
    pub form: FormReport,
    pub overlap: OverlapReport,
    /// The file's sha256.
    pub data_hash: String,
    seen: HashSet<Key>,
    contradicted: HashSet<Key>,
    left_out_prompts: HashSet<Key>,
}

/// The files' sha256, of one as `sha256sum` prints it.
async fn sha256_of(sources: &[Source], cancel: &Cancel) -> Result<String, FitError> {
    const PIECE: u64 = 1 << 20;
    let mut hash = Hasher::sha256();
    for source in sources {
        let mut at = 0;
        while at < source.bytes() {
            cancel.check()?;
            let len = PIECE.min(source.bytes() - at);
            hash.update(&source.read(at, len as usize).await?);
            at += len;
        }
    }
    Ok(hash.finish().hex())
}

/// A pair's identity whichever way round it stands, and the way it stands.
fn pair_key(preference: &Preference) -> (Key, Key) {
    let prompt = prompt_key(preference);
    let of = |a: &str, b: &str| {
        let mut all = key(&[a, b]);
        all.iter_mut().zip(prompt).for_each(|(a, b)| *a ^= b);
        all
    };
    (of(&preference.chosen, &preference.rejected), of(&preference.rejected, &preference.chosen))
}

/// Why a pair is of no use whatever else the file has.
fn useless(preference: &Preference) -> Option<fn(&mut FormReport) -> &mut usize> {
    let (chosen, rejected) = (preference.chosen.trim(), preference.rejected.trim());
    if chosen.is_empty() || rejected.is_empty() {
        return Some(|form| &mut form.empty);
    }
    if chosen == rejected { Some(|form| &mut form.identical) } else { None }
}

/// What the rows of files are like, and the pairs that they have, whichever way round.
async fn look_over(
    files: &PreferenceFiles<'_>,
    cancel: &Cancel,
    bad: &mut dyn FnMut(Skipped),
) -> Result<(FormReport, HashSet<Key>), FitError> {
    let mut ways: HashSet<Key> = HashSet::new();
    let mut form = FormReport::default();
    let mut skipped: BTreeMap<Reason, usize> = BTreeMap::new();
    let remarks = each_preference(files, async |file, number, row| {
        cancel.check()?;
        form.rows += 1;
        if form.rows.is_multiple_of(BREATH_ROWS) {
            pause().await;
        }
        match row {
            Err(skip) => {
                if form.examples.len() < SHOWN {
                    form.examples.push(format!("{file}, row {number}: {skip}"));
                }
                bad(Skipped::of(file, number, &skip));
                match skip.reason {
                    Reason::Equal => {
                        form.pairs += 1;
                        form.identical += 1;
                    }
                    reason => {
                        form.unreadable += 1;
                        *skipped.entry(reason).or_default() += 1;
                    }
                }
            }
            Ok(pairs) => {
                for pair in &pairs {
                    if useless(pair).is_none() {
                        ways.insert(pair_key(pair).0);
                    }
                }
            }
        }
        Ok(())
    })
    .await?;
    form.remarks = remarks;
    form.skipped = skipped.into_iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect();
    Ok((form, ways))
}

/// What the pairs that are kept are like.
#[derive(Default)]
struct KeptPairs {
    prompts: HashSet<Key>,
    subsets: BTreeMap<String, usize>,
    /// Pairs whose chosen completion is the longer one; of equal lengths one half.
    longer: f64,
    chosen_characters: usize,
    rejected_characters: usize,
}

impl KeptPairs {
    fn push(&mut self, prompt: Key, pair: &Preference) {
        self.prompts.insert(prompt);
        let (chosen, rejected) = (pair.chosen.chars().count(), pair.rejected.chars().count());
        self.longer += if chosen == rejected { 0.5 } else { f64::from(u8::from(chosen > rejected)) };
        self.chosen_characters += chosen;
        self.rejected_characters += rejected;
        if let Some(subset) = subset_name(pair)
            && (self.subsets.contains_key(&subset) || self.subsets.len() < MOST_SUBSETS)
        {
            *self.subsets.entry(subset).or_default() += 1;
        }
    }

    fn tell(self, form: &mut FormReport) {
        let kept = form.kept.max(1) as f64;
        form.prompts = self.prompts.len();
        form.chosen_longer = self.longer / kept;
        form.chosen_characters = self.chosen_characters as f64 / kept;
        form.rejected_characters = self.rejected_characters as f64 / kept;
        if self.subsets.len() < MOST_SUBSETS {
            form.subsets = self.subsets.into_iter().collect();
        }
    }
}

impl Checked {
    /// Reads files of preferences twice through. `bad` is told of the rows that are none.
    pub async fn read(
        files: &PreferenceFiles<'_>,
        mut benchmark: Benchmark,
        cancel: &Cancel,
        bad: &mut dyn FnMut(Skipped),
    ) -> Result<Self, FitError> {
        let (form, ways) = look_over(files, cancel, bad).await?;
        let mut checked = Self {
            form,
            overlap: OverlapReport::default(),
            data_hash: sha256_of(files.sources, cancel).await?,
            seen: HashSet::new(),
            contradicted: HashSet::new(),
            left_out_prompts: HashSet::new(),
        };
        let mut overlapping: HashMap<Key, bool> = HashMap::new();
        let mut kept = KeptPairs::default();
        each_preference(files, async |_, number, row| {
            if number.is_multiple_of(BREATH_ROWS) {
                pause().await;
            }
            for pair in row.unwrap_or_default() {
                cancel.check()?;
                let form = &mut checked.form;
                form.pairs += 1;
                if let Some(count) = useless(&pair) {
                    *count(form) += 1;
                    continue;
                }
                let (this_way, other_way) = pair_key(&pair);
                if ways.contains(&other_way) {
                    form.contradictory += 1;
                    checked.contradicted.insert(this_way);
                    continue;
                }
                if !checked.seen.insert(this_way) {
                    form.duplicates += 1;
                    continue;
                }
                let prompt = prompt_key(&pair);
                let overlaps = match overlapping.get(&prompt) {
                    // Counted by pair, looked up by prompt.
                    Some(true) => benchmark.has(asked(&pair)),
                    Some(false) => false,
                    None => {
                        let overlaps = benchmark.has(asked(&pair));
                        overlapping.insert(prompt, overlaps);
                        overlaps
                    }
                };
                if overlaps {
                    form.overlapping += 1;
                    if benchmark.report.rule == OverlapRule::Drop {
                        checked.left_out_prompts.insert(prompt);
                        continue;
                    }
                }
                form.kept += 1;
                kept.push(prompt, &pair);
            }
            Ok(())
        })
        .await?;
        // Whether a pair was given already is asked anew when the features are gathered.
        checked.seen.clear();
        kept.tell(&mut checked.form);
        benchmark.report.benchmark_prompts_touched = benchmark.touched.len();
        checked.overlap = benchmark.report;
        if checked.form.kept == 0 {
            return Err(FitError::NoPairs { file: files.name(), form: Box::new(checked.form) });
        }
        Ok(checked)
    }

    /// Whether a pair is fitted on; to be asked once a pair, in the file's order.
    pub fn keeps(&mut self, preference: &Preference) -> bool {
        let this_way = pair_key(preference).0;
        useless(preference).is_none()
            && !self.contradicted.contains(&this_way)
            && !self.left_out_prompts.contains(&prompt_key(preference))
            && self.seen.insert(this_way)
    }

    /// The place of a pair's subset among [`FormReport::subsets`].
    pub fn subset(&self, preference: &Preference) -> Option<usize> {
        let subset = subset_name(preference)?;
        self.form.subsets.iter().position(|(name, _)| *name == subset)
    }
}

/// A subset's name as far as it is shown.
fn subset_name(preference: &Preference) -> Option<String> {
    preference.subset.as_ref().map(|name| name.chars().take(80).collect())
}

/// Which prompt a preference is about, as a number that the same prompt always gets. Conversations
/// that begin alike, and prompts that differ in case or punctuation alone, must not be in two folds.
pub(crate) fn prompt_number(preference: &Preference) -> u64 {
    let first = preference.prompt.iter().find(|turn| turn.role == "user");
    let key = key(&[&normalised(first.map(|turn| turn.content.as_str()).unwrap_or_default())]);
    u64::from_le_bytes(std::array::from_fn(|i| key[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    fn check(lines: &[&str], benchmark: &[&str], rule: OverlapRule) -> Result<Checked, FitError> {
        let source = Source::memory("pairs.jsonl", lines.join("\n").into_bytes());
        let benchmark = Benchmark::new("bench", benchmark.iter().copied(), rule);
        block_on(Checked::read(&PreferenceFiles::of(&[source]), benchmark, &Cancel::default(), &mut |_| {}))
    }

    #[test]
    fn each_kind_of_bad_pair_is_counted_once() {
        let found = check(
            &[
                r#"{"prompt":"p","chosen":"good","rejected":"bad one","subset":"s"}"#,
                r#"{"prompt":"p","chosen":"good","rejected":"bad one"}"#,
                r#"{"prompt":"q","chosen":"same","rejected":" same"}"#,
                r#"{"prompt":"q","chosen":"","rejected":"x"}"#,
                r#"{"prompt":"r","chosen":"a","rejected":"b"}"#,
                r#"{"prompt":"r","chosen":"b","rejected":"a"}"#,
                r#"{"prompt":"r","chosen":5,"rejected":"a"}"#,
                r#"{"prompt":"t","chosen":"longer","rejected":"a"}"#,
            ],
            &[],
            OverlapRule::Keep,
        )
        .expect("usable");
        let form = &found.form;
        assert_eq!((form.rows, form.unreadable, form.pairs, form.kept, form.prompts), (8, 1, 7, 2, 2));
        assert_eq!((form.empty, form.identical, form.duplicates, form.contradictory), (1, 1, 1, 2));
        assert_eq!((form.chosen_longer, form.chosen_characters, form.rejected_characters), (0.5, 5.0, 4.0));
        assert_eq!(form.subsets, [("s".to_owned(), 1)]);
        assert!(
            form.examples[0].contains("pairs.jsonl, row 7")
                && form.skipped == [("neither texts nor messages".to_owned(), 1)],
            "{:?}",
            form.examples
        );
    }

    #[test]
    fn overlap_is_measured_by_three_measures_and_dropped_by_a_switch() {
        let long = "one two three four five six seven eight nine ten";
        let lines = [
            r#"{"prompt":"What is it?","chosen":"a","rejected":"b"}"#,
            r#"{"prompt":"what is IT","chosen":"a","rejected":"b"}"#,
            r#"{"prompt":"Tell me: what is it, really?","chosen":"a","rejected":"b"}"#,
            r#"{"prompt":"zero one two three four five six seven eight nine eleven","chosen":"a","rejected":"b"}"#,
            r#"{"prompt":"one two three four five six seven","chosen":"a","rejected":"b"}"#,
            r#"{"prompt":"something else","chosen":"a","rejected":"b"}"#,
        ];
        for (rule, kept) in [(OverlapRule::Keep, 6), (OverlapRule::Drop, 2)] {
            let found = check(&lines, &["What is it?", long, "never asked at all"], rule).expect("usable");
            let overlap = &found.overlap;
            assert_eq!((overlap.exact, overlap.normalised, overlap.contained), (1, 1, 2));
            assert_eq!((overlap.benchmark_prompts, overlap.benchmark_prompts_touched), (3, 2));
            assert_eq!((found.form.overlapping, found.form.kept), (4, kept));
        }
    }

    #[test]
    fn a_file_without_a_usable_pair_is_refused_with_the_counts() {
        let message = check(&[r#"{"prompt":"q","chosen":"same","rejected":"same"}"#], &[], OverlapRule::Keep)
            .err()
            .expect("refused")
            .to_string();
        assert!(message.contains("pairs.jsonl") && message.contains("1 identical"), "{message}");
    }
}
