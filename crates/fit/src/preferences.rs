//! Checks preferences before anything is fitted: which pairs are usable, which are not and why, and which prompts a
//! benchmark has too.

use std::collections::{BTreeMap, HashMap, HashSet};

use rewardscope_data::{Columns, DataError, DatasetRow, How, Message, Opening, Reason, Skip, Skipped, each_row};
use rewardscope_engine::Cancel;
use rewardscope_engine::device::pause;
use rewardscope_store::{ByteStream, Hasher, Source};
use serde::{Deserialize, Serialize};

use crate::FitError;
use crate::overlap::{Benchmark, Key, OverlapReport, OverlapRule, key, normalised};

/// How many rows without a pair are shown as examples, with the reason.
const SHOWN: usize = 5;

/// From this many subsets on, none is reported: a column that names each row holds no subsets.
const MOST_SUBSETS: usize = 200;

/// Number of rows after which the worker pauses to answer messages.
const BREATH_ROWS: usize = 256;

/// Files of preferences, and how they are read.
#[derive(Debug, Clone, Copy)]
pub struct PreferenceFiles<'a> {
    /// The files.
    pub sources: &'a [Source],
    /// Which columns hold a row's fields, where they differ from the layout that is recognised.
    pub columns: Option<&'a Columns>,
    /// Which list of rows to read, where one JSON object holds several.
    pub split: Option<&'a str>,
    /// Whether a row that is not a preference ends the reading with an error.
    pub is_strict: bool,
}

impl<'a> PreferenceFiles<'a> {
    /// Files that are read by the layouts that their columns show.
    pub fn of(sources: &'a [Source]) -> Self {
        Self { sources, columns: None, split: None, is_strict: false }
    }

    /// A name for messages: the first file's, and how many others there are.
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
    pub prompt: Vec<Message>,
    /// The better completion.
    pub chosen: String,
    /// The worse completion.
    pub rejected: String,
    /// The part of the dataset, where the row names one.
    pub subset: Option<String>,
}

/// How many pairs one row may give.
const MOST_PAIRS: usize = 4096;
/// How many bytes of prompts the pairs of one row may take together; each pair repeats the prompt.
const MOST_PROMPT_BYTES: usize = 64 << 20;

/// The pairs of a row: every chosen completion with every rejected one.
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

/// Calls `take` for each row in turn, with its file's name, its number from 1, and its pairs or why it gives none.
/// Returns remarks on the files, one sentence each.
pub(crate) async fn each_preference(
    files: &PreferenceFiles<'_>,
    mut take: impl AsyncFnMut(&str, usize, Result<Vec<Preference>, Skip>) -> Result<(), FitError>,
) -> Result<Vec<String>, FitError> {
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

/// Counts of what files of preferences hold. A pair that is left out is counted under the first reason that holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct FormReport {
    /// Number of rows.
    pub rows: usize,
    /// Number of rows that are not preferences.
    pub unreadable: usize,
    /// These rows by reason.
    #[serde(default)]
    pub skipped: Vec<(String, usize)>,
    /// How the files' columns were read, and which columns with text were not: one sentence each.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// Number of pairs in the other rows.
    pub pairs: usize,
    /// Pairs with an empty completion: left out.
    pub empty: usize,
    /// Pairs whose two completions are the same: left out.
    pub identical: usize,
    /// Pairs that came earlier in the files already: left out.
    pub duplicates: usize,
    /// Pairs that also occur with chosen and rejected exchanged: both are left out.
    pub contradictory: usize,
    /// Pairs whose prompt a benchmark has, whether or not they are left out.
    pub overlapping: usize,
    /// Number of pairs that are kept.
    pub kept: usize,
    /// Number of different prompts of the kept pairs.
    pub prompts: usize,
    /// Share of the kept pairs whose chosen completion has more characters, 0 to 1; equal lengths count half.
    pub chosen_longer: f64,
    /// Mean number of characters of their chosen completions.
    pub chosen_characters: f64,
    /// Mean number of characters of their rejected completions.
    pub rejected_characters: f64,
    /// Kept pairs by subset, in the order of the subsets' names, where the files name any.
    pub subsets: Vec<(String, usize)>,
    /// Why rows gave no pair: the first few of them, one sentence each.
    pub examples: Vec<String>,
}

impl FormReport {
    /// Whether picking the longer completion is right, or wrong, more often than four times in seven.
    pub fn is_skewed(&self) -> bool {
        (self.chosen_longer - 0.5).abs() > 1.0 / 14.0
    }
}

/// A key of the whole prompt: the roles and texts of all turns.
fn prompt_key(preference: &Preference) -> Key {
    let parts: Vec<&str> = preference.prompt.iter().flat_map(|turn| [turn.role.as_str(), &turn.content]).collect();
    key(&parts)
}

/// The prompt as one text: the user's last turn.
fn asked(preference: &Preference) -> &str {
    preference.prompt.iter().rfind(|turn| turn.role == "user").map(|turn| turn.content.as_str()).unwrap_or_default()
}

/// What is known of the preferences once their files were read through.
pub(crate) struct Checked {
    pub form: FormReport,
    pub overlap: OverlapReport,
    /// The files' sha256, in hexadecimal digits.
    pub data_hash: String,
    /// Pairs that were met in the current reading.
    seen: HashSet<Key>,
    /// Pairs that also occur with chosen and rejected exchanged.
    contradicted: HashSet<Key>,
    /// Prompts that a benchmark has and whose pairs are dropped.
    left_out_prompts: HashSet<Key>,
}

/// The sha256 over the bytes of all files in turn; for one file it is what `sha256sum` prints.
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

/// Two keys: of the pair, and of the same pair with chosen and rejected exchanged.
fn pair_key(preference: &Preference) -> (Key, Key) {
    let prompt = prompt_key(preference);
    let of = |a: &str, b: &str| {
        let mut all = key(&[a, b]);
        all.iter_mut().zip(prompt).for_each(|(a, b)| *a ^= b);
        all
    };
    (of(&preference.chosen, &preference.rejected), of(&preference.rejected, &preference.chosen))
}

/// Why a pair is unusable regardless of all others, as the counter of that reason; `None` for a usable pair.
fn useless(preference: &Preference) -> Option<fn(&mut FormReport) -> &mut usize> {
    let (chosen, rejected) = (preference.chosen.trim(), preference.rejected.trim());
    if chosen.is_empty() || rejected.is_empty() {
        return Some(|form| &mut form.empty);
    }
    if chosen == rejected { Some(|form| &mut form.identical) } else { None }
}

/// Reads the files a first time. Returns counts of the rows, and the keys of all usable pairs as they stand.
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

/// Statistics of the pairs that are kept.
#[derive(Default)]
struct KeptPairs {
    prompts: HashSet<Key>,
    subsets: BTreeMap<String, usize>,
    /// Number of pairs whose chosen completion is the longer one; equal lengths count one half.
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

    /// Writes the statistics into the report.
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
    /// Reads files of preferences from start to end twice. `bad` gets each row that is not a preference.
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
                    // `has` counts pairs, so it is called again for a prompt that is known to overlap.
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
        // Gathering the features reads the files again and has to find the duplicates anew.
        checked.seen.clear();
        kept.tell(&mut checked.form);
        benchmark.report.benchmark_prompts_touched = benchmark.touched.len();
        checked.overlap = benchmark.report;
        if checked.form.kept == 0 {
            return Err(FitError::NoPairs { file: files.name(), form: Box::new(checked.form) });
        }
        Ok(checked)
    }

    /// Whether a pair is fitted on. Call it once per pair, in the files' order: it remembers the pairs to find
    /// duplicates.
    pub fn keeps(&mut self, preference: &Preference) -> bool {
        let this_way = pair_key(preference).0;
        useless(preference).is_none()
            && !self.contradicted.contains(&this_way)
            && !self.left_out_prompts.contains(&prompt_key(preference))
            && self.seen.insert(this_way)
    }

    /// The position of a pair's subset in [`FormReport::subsets`].
    pub fn subset(&self, preference: &Preference) -> Option<usize> {
        let subset = subset_name(preference)?;
        self.form.subsets.iter().position(|(name, _)| *name == subset)
    }
}

/// A subset's name, cut to the length that is shown.
fn subset_name(preference: &Preference) -> Option<String> {
    preference.subset.as_ref().map(|name| name.chars().take(80).collect())
}

/// A number for a preference's prompt; the same prompt always gets the same number. It is a hash of the first user turn
/// without case and punctuation: conversations that begin alike, and prompts that differ only in case or punctuation,
/// must be in the same fold.
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
