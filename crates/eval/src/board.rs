//! The site's own board: a folder of run summaries, one file per row. The person who ran a benchmark makes the file
//! from the run and sends it as a pull request. A test checks every row of the folder.

use rewardscope_benchmarks::{Benchmark, Figure, benchmark, reward_bench_2};
use serde::{Deserialize, Serialize};

use crate::RunFile;

/// Value of [`BoardRow::format`].
const FORMAT: &str = "rewardscope board row 1";

/// Most characters of a text in a row.
const MOST_CHARACTERS: usize = 500;

/// One row of the board: the summary of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct BoardRow {
    /// Always `rewardscope board row 1`.
    pub format: String,
    /// The model: its Hub id with the commit, or the name of its file or folder.
    pub model: String,
    /// Name of the fitted reward head on the model, if there is one.
    pub head: Option<String>,
    /// sha256 over the model's files and its head, in hexadecimal digits.
    pub model_sha256: String,
    /// The model's architecture.
    pub architecture: String,
    /// Whether scores are rewards; otherwise they are what the reader gives, or log-probabilities.
    pub is_reward_model: bool,
    /// What read the scores, where it was no head: a reader's name, or `implicit reward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    /// Weight type on the device.
    pub dtype: String,
    /// Settings that change token ids; empty for the default.
    pub settings: String,
    /// Chat template: `tokenizer` for the model's own, a format's name, or `none`. Older rows do not have this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Context limit, in tokens; longer conversations were cut.
    pub context_tokens: usize,
    /// The benchmark's name in commands, such as `reward-bench-2`.
    pub benchmark: String,
    /// Name of the benchmark's variant that marked the run.
    pub variant: String,
    /// The dataset: its Hub id with commit and file, its address, or the name of a file.
    pub dataset: String,
    /// sha256 over all items of the dataset, in hexadecimal digits.
    pub dataset_sha256: String,
    /// Most items per subset that were drawn; `None` for all.
    pub limit_per_subset: Option<usize>,
    /// Items selected.
    pub items_total: usize,
    /// Selected items without scores.
    pub items_missing: usize,
    /// Items with a completion whose conversation was cut at the context limit.
    pub items_cut: usize,
    /// The benchmark's overall mark; `None` unless every part of it was scored.
    pub overall: Option<BoardMark>,
    /// Marks of the subsets, then of the sections.
    pub parts: Vec<BoardMark>,
    /// Names of the devices that scored, in order of use.
    pub devices: Vec<String>,
    /// Where the run was made: `native` with system and processor, or the browser's user agent.
    pub host: String,
    /// Version of this program.
    pub version: String,
    /// Largest absolute error of the device's self-test, in nats.
    pub self_test_error: f64,
}

/// One mark of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(deny_unknown_fields)]
pub struct BoardMark {
    /// Name of the subset or section, or `overall`.
    pub name: String,
    /// The mark, 0 to 1; a Ties score can lie slightly outside.
    pub score: f64,
    /// Number of items behind the mark.
    pub n: usize,
    /// Lower and upper end of the 95 % confidence interval; `None` where there is none.
    pub ci95: Option<[f64; 2]>,
}

impl BoardMark {
    fn of(name: &str, figure: &Figure) -> Self {
        Self {
            name: name.to_owned(),
            score: figure.score,
            n: figure.n,
            ci95: figure.ci95.map(|interval| [interval.low, interval.high]),
        }
    }
}

/// A row as a contribution to the board: the file and the pull request for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Contribution {
    /// The file's name in the board's folder.
    pub file: String,
    /// The file's content: the row as JSON.
    pub json: String,
    /// Text of the pull request, in Markdown.
    pub text: String,
}

/// Why a row of the board is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the board's {file}: {expected} was expected, {found} was found; make the file anew from the run")]
pub struct BoardError {
    /// The file's name.
    pub file: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl BoardRow {
    /// The row of a run.
    pub fn of(run: &RunFile) -> Self {
        let protocol = &run.protocol;
        let assessment = &run.assessment;
        let shortfall = run.shortfall();
        let named = assessment.subsets.iter().chain(&assessment.sections);
        Self {
            format: FORMAT.to_owned(),
            model: protocol.model.clone(),
            head: protocol.scorer.head().map(str::to_owned),
            model_sha256: protocol.model_sha256.clone(),
            architecture: protocol.architecture.clone(),
            is_reward_model: protocol.scorer.is_reward_model(),
            reader: protocol.scorer.reader().map(str::to_owned),
            dtype: protocol.dtype.clone(),
            settings: protocol.settings.clone(),
            template: protocol.template.clone(),
            context_tokens: protocol.context_tokens,
            benchmark: run.benchmark.clone(),
            variant: run.variant.clone(),
            dataset: protocol.dataset.clone(),
            dataset_sha256: protocol.dataset_sha256.clone(),
            limit_per_subset: protocol.limit_per_subset,
            items_total: run.items_total,
            items_missing: shortfall.missing,
            items_cut: shortfall.cut,
            overall: assessment.overall.as_ref().map(|figure| BoardMark::of("overall", figure)),
            parts: named.map(|named| BoardMark::of(&named.name, &named.figure)).collect(),
            devices: protocol.devices.clone(),
            host: protocol.host.clone(),
            version: protocol.version.clone(),
            self_test_error: protocol.self_test_error,
        }
    }

    /// The row's file name: benchmark, model, and the first 8 digits of the hashes of model and dataset. Another
    /// version of either is another row.
    pub fn file_name(&self) -> String {
        let plain = |text: &str| -> String {
            // Without the revision: the hash already distinguishes versions.
            let text = text.split('@').next().unwrap_or(text);
            let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let kept =
                last.chars().take(60).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
            kept.collect()
        };
        let start = |hash: &str| hash.chars().take(8).collect::<String>();
        let rows = [start(&self.model_sha256), start(&self.dataset_sha256)].join("-");
        format!("{}-{}-{rows}.json", plain(&self.benchmark), plain(&self.model))
    }

    /// The row's file with its name, and the text of the pull request.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn contribution(&self) -> Result<Contribution, BoardError> {
        let file = self.file_name();
        self.check(&file)?;
        let refuse = |error: serde_json::Error| BoardError {
            file: file.clone(),
            expected: "numbers that JSON has".to_owned(),
            found: error.to_string(),
        };
        let json = serde_json::to_string_pretty(self).map_err(refuse)? + "\n";
        let mark = |mark: &BoardMark| match mark.ci95 {
            Some([low, high]) => format!("{:.4} ({low:.4} to {high:.4}, {} items)", mark.score, mark.n),
            None => format!("{:.4} ({} items)", mark.score, mark.n),
        };
        let parts: String = self.parts.iter().map(|part| format!("| {} | {} |\n", part.name, mark(part))).collect();
        let overall = self.overall.as_ref().map_or_else(|| "partial: not all parts were scored".to_owned(), mark);
        let text = format!(
            "Board: {model} on {title}\n\nAdds `board/{file}`.\n\n| | mark, 95 % interval |\n|---|---|\n{parts}| overall | {overall} |\n\n\
             Rows of {dataset} (sha256 over the items {sha256}): {done} of {all} items have scores, {cut} were cut at {context} tokens. Weights {dtype}, on {devices} ({host}), rewardscope {version}, \
             self-test error {error:.1e} nats.\n\nThe run file that it was made of has every score; it can be asked for.\n",
            model = self.head.as_ref().map_or_else(|| self.model.clone(), |head| format!("{head} on {}", self.model)),
            title = benchmark(&self.benchmark).map_or(self.benchmark.as_str(), |known| known.title),
            dataset = self.dataset,
            sha256 = self.dataset_sha256,
            done = self.items_total - self.items_missing.min(self.items_total),
            all = self.items_total,
            cut = self.items_cut,
            context = self.context_tokens,
            dtype = self.dtype,
            devices = self.devices.join(", "),
            host = self.host,
            version = self.version,
            error = self.self_test_error,
        );
        Ok(Contribution { file, json, text })
    }

    /// Reads a row of the board. `file` is the file's name, `text` its content.
    ///
    /// # Errors
    /// When the text is no row, or as [`Self::check`].
    pub fn read(file: &str, text: &str) -> Result<Self, BoardError> {
        let row: Self = serde_json::from_str(text).map_err(|error| BoardError {
            file: file.to_owned(),
            expected: "a run's summary".to_owned(),
            found: error.to_string(),
        })?;
        row.check(file)?;
        Ok(row)
    }

    /// Checks that a run can have produced this row, and that `file` is its file name.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn check(&self, file: &str) -> Result<(), BoardError> {
        let wrong = |expected: &str, found: String| {
            Err(BoardError { file: file.to_owned(), expected: expected.to_owned(), found })
        };
        if self.format != FORMAT {
            return wrong(FORMAT, format!("{:?}", self.format));
        }
        if file != self.file_name() {
            return wrong(&format!("the name {}", self.file_name()), file.to_owned());
        }
        let texts =
            [&self.model, &self.architecture, &self.dtype, &self.settings, &self.dataset, &self.host, &self.version];
        let is_plain = |text: &&&String| text.chars().count() <= MOST_CHARACTERS && !text.chars().any(char::is_control);
        if let Some(text) = texts
            .iter()
            .copied()
            .chain(&self.head)
            .chain(&self.template)
            .chain(&self.devices)
            .find(|text| !is_plain(&text))
        {
            return wrong("one line of at most 500 characters", text.chars().take(80).collect());
        }
        for hash in [&self.model_sha256, &self.dataset_sha256] {
            if hash.len() != 64 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
                return wrong("a sha256 of 64 digits", hash.clone());
            }
        }
        let known: &'static Benchmark = match benchmark(&self.benchmark) {
            Ok(known) => known,
            Err(error) => return wrong("a benchmark", error.to_string()),
        };
        if let Err(error) = known.variant(Some(&self.variant)) {
            return wrong("one of its ways of marking", error.to_string());
        }
        if self.parts.is_empty()
            || self.items_missing + self.parts.iter().map(|part| part.n).max().unwrap_or(0) > self.items_total
        {
            return wrong("parts that are of the items", format!("{} items", self.items_total));
        }
        for mark in self.parts.iter().chain(&self.overall) {
            // The Ties score can lie slightly outside 0 to 1.
            if !(-0.01..=1.01).contains(&mark.score) {
                return wrong("marks from 0 to 1", format!("{} {}", mark.name, mark.score));
            }
            // Ends that are NaN do not compare, and are refused too.
            if let Some([low, high]) = mark.ci95
                && low.partial_cmp(&high).is_none_or(std::cmp::Ordering::is_gt)
            {
                return wrong("an interval", format!("{}: {low} to {high}", mark.name));
            }
        }
        if self.overall.is_some() && self.items_missing > 0 {
            return wrong("no overall mark where items are missing", format!("{} missing", self.items_missing));
        }
        if let Some(overall) = self.overall.as_ref().filter(|_| known.name == reward_bench_2::NAME) {
            let marks = self.parts.iter().map(|part| (part.name.as_str(), part.score));
            if reward_bench_2::overall(marks).is_none_or(|mean| (mean - overall.score).abs() > 1e-9) {
                return wrong("the mean of the six subsets", overall.score.to_string());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> BoardRow {
        let mark = |name: &str, score| BoardMark {
            name: name.to_owned(),
            score,
            n: 5,
            ci95: Some([score - 0.1, score + 0.1]),
        };
        let mut row = BoardRow {
            format: FORMAT.to_owned(),
            model: "someone/Model-8B@main".to_owned(),
            head: None,
            model_sha256: "ab".repeat(32),
            architecture: "LlamaForSequenceClassification".to_owned(),
            is_reward_model: true,
            reader: None,
            dtype: "q8".to_owned(),
            settings: String::new(),
            template: Some("tokenizer".to_owned()),
            context_tokens: 4096,
            benchmark: reward_bench_2::NAME.to_owned(),
            variant: benchmark(reward_bench_2::NAME).expect("known").variants[0].name.to_owned(),
            dataset: "test.parquet".to_owned(),
            dataset_sha256: "cd".repeat(32),
            limit_per_subset: Some(5),
            items_total: 30,
            items_missing: 0,
            items_cut: 1,
            overall: None,
            parts: reward_bench_2::SUBSETS.iter().map(|name| mark(name, 0.5)).collect(),
            devices: vec!["Some GPU".to_owned()],
            host: "native linux x86_64".to_owned(),
            version: "0.1.0".to_owned(),
            self_test_error: 1e-6,
        };
        row.overall = Some(BoardMark { n: 30, ..mark("overall", 0.5) });
        row
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let sent = row().contribution().expect("a row");
        assert_eq!(sent.file, "reward-bench-2-model-8b-abababab-cdcdcdcd.json");
        assert_eq!(BoardRow::read(&sent.file, &sent.json).expect("read"), row());
        for said in ["board/reward-bench-2-model-8b", "| Ties | 0.5000 (0.4000 to 0.6000, 5 items) |", "Some GPU"] {
            assert!(sent.text.contains(said), "{said} in {}", sent.text);
        }
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        let refused = |change: fn(&mut BoardRow)| {
            let mut row = row();
            change(&mut row);
            row.contribution().expect_err("refused").to_string()
        };
        let whole = |text: &str, said: &str| assert!(text.contains(said), "{text}");
        whole(&refused(|row| row.parts[0].score = 1.5), "marks from 0 to 1");
        whole(&refused(|row| row.parts[0].score = f64::NAN), "marks from 0 to 1");
        whole(&refused(|row| row.parts[0].score = 0.9), "the mean of the six subsets");
        whole(&refused(|row| row.parts[0].ci95 = Some([0.6, 0.4])), "an interval");
        whole(&refused(|row| row.model = "a\u{1b}[31mb".to_owned()), "one line");
        whole(&refused(|row| row.head = Some("a\nb".to_owned())), "one line");
        whole(&refused(|row| row.model_sha256 = "xyz".to_owned()), "sha256");
        whole(&refused(|row| row.benchmark = "mine".to_owned()), "a benchmark");
        whole(&refused(|row| row.items_missing = 1), "no overall mark");
        whole(&refused(|row| row.parts.clear()), "parts");
        let sent = row().contribution().expect("a row");
        whole(&BoardRow::read("other.json", &sent.json).expect_err("another name").to_string(), "the name");
        let more = sent.json.replacen('{', "{\"note\":1,", 1);
        whole(&BoardRow::read(&sent.file, &more).expect_err("more").to_string(), "note");
    }

    /// Checks the real folder, which the site shows.
    #[test]
    fn every_row_of_the_board_is_one() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board");
        let mut rows = 0;
        for entry in std::fs::read_dir(&folder).expect("the board") {
            let path = entry.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if name == "README.md" {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            BoardRow::read(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            rows += 1;
        }
        assert!(rows > 0, "the board is empty");
    }
}
