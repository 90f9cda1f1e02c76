//! Datasets and their benchmarks.

use js_sys::Function;
use rewardscope_benchmarks::reward_bench_2::OFFICIAL_ROWS;
use rewardscope_benchmarks::{BENCHMARKS, benchmark};
use rewardscope_engine::LoadProgress;
use rewardscope_eval::{
    Asked, Dataset, DatasetColumns, Reading, Rows, dataset_name, fetch_dataset, open_remote_dataset, read_items,
    rows_of_folder,
};
use rewardscope_store::{FetchProgress, Source};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::bridge::{from_js, sentence, tell, to_js};
use crate::session::Session;

/// A benchmark as the page lists it.
#[derive(Serialize, tsify::Tsify)]
pub struct BenchmarkEntry {
    /// The benchmark's name in commands, such as `reward-bench-2`.
    pub name: &'static str,
    /// The benchmark's name in print.
    pub title: &'static str,
    /// The publication of the benchmark.
    pub citation: &'static str,
    /// Whose arithmetic the marks follow, and how that is known.
    pub definition: &'static str,
    /// Names of the benchmark's variants (ways of marking), the default first.
    pub variants: Vec<&'static str>,
    /// Where the rows are: datasets of the Hub or an address; empty for the visitor's own rows.
    pub rows_at: &'static str,
}

/// Which columns hold an item's fields, for the visitor's own rows. A field is a column's name, or empty for none.
#[derive(Deserialize, tsify::Tsify)]
pub struct ColumnNames {
    /// Column with the conversation up to the completion.
    pub prompt: String,
    /// Column with the correct completions.
    pub chosen: String,
    /// Column with the incorrect completions.
    pub rejected: String,
    /// Column with the subset that the row belongs to.
    pub subset: String,
    /// Further columns, in the form of the command's `--columns`: `chosen_if=winner:model_a:model_b id=key`.
    pub more: String,
}

impl ColumnNames {
    fn mapping(self) -> Result<Option<DatasetColumns>, JsError> {
        let more = match self.more.trim() {
            "" => DatasetColumns::default(),
            more => more.parse().map_err(sentence)?,
        };
        let name = |name: &str, more: Vec<String>| match name.trim() {
            "" => more,
            name => vec![name.to_owned()],
        };
        let columns = DatasetColumns {
            prompt: name(&self.prompt, more.prompt.clone()),
            chosen: name(&self.chosen, more.chosen.clone()),
            rejected: name(&self.rejected, more.rejected.clone()),
            subset: name(&self.subset, more.subset.clone()),
            ..more
        };
        Ok((columns != DatasetColumns::default()).then_some(columns))
    }
}

/// The location of RewardBench 2's official rows.
#[derive(Serialize, tsify::Tsify)]
pub struct OfficialRows {
    /// Hub id with revision and file.
    pub id: String,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

/// Description of the open dataset.
#[derive(Serialize, tsify::Tsify)]
pub struct DatasetReport {
    /// The dataset's name: the names of its files.
    pub name: String,
    /// Number of items.
    pub items: usize,
    /// Number of items by subset, in the order in which subsets appear.
    pub subsets: Vec<SubsetCount>,
    /// The authors of the dataset, as its manifest says; else empty.
    pub attribution: String,
    /// A warning to show with the dataset, as its manifest says; else empty.
    pub warning: String,
    /// Name in commands of the benchmark that the rows belong to.
    pub benchmark: String,
    /// How the rows were read, and what was not read: one sentence each.
    pub remarks: Vec<String>,
    /// Number of rows that were skipped.
    pub skipped: usize,
    /// The first skipped rows, each with the reason: at most 50. `badRows` gives all of them.
    pub bad_rows: Vec<String>,
}

/// Most skipped rows in a [`DatasetReport`].
const MOST_BAD_ROWS: usize = 50;

/// Number of items in one subset.
#[derive(Serialize, tsify::Tsify)]
pub struct SubsetCount {
    /// The subset's name.
    pub subset: String,
    /// Number of items.
    pub count: usize,
}

#[wasm_bindgen]
impl Session {
    /// The location of RewardBench 2's official rows.
    #[wasm_bindgen(js_name = officialRows, unchecked_return_type = "OfficialRows")]
    pub fn official_rows(&self) -> Result<JsValue, JsError> {
        to_js(&OfficialRows { id: OFFICIAL_ROWS.id(), bytes: OFFICIAL_ROWS.bytes })
    }

    /// Opens a dataset that the site hosts. `manifest` is the address of its manifest, `file` the file's name in it.
    /// Closes the current run.
    #[wasm_bindgen(js_name = openDataSite, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_site(
        &self,
        manifest: String,
        file: String,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let repository = store.site(&manifest, &cancel, tell).await.map_err(sentence)?;
        let source = fetch_dataset(&store, &repository, Some(&file), &cancel, tell).await.map_err(sentence)?;
        let about = repository.get(&file).map(|file| file.about.clone()).unwrap_or_default();
        self.open_data(&[source], Rows::ALL, about.attribution, about.warning).await
    }

    /// Opens datasets of the Hub, `owner/name[@revision][:file]`, or at addresses, as one dataset. `rows`, such as
    /// `12-20`, takes only these rows of each file and fetches only the parts that hold them. Closes the current run.
    #[wasm_bindgen(js_name = openDataHub, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_hub(
        &self,
        ids: Vec<String>,
        rows: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "(progress: LoadProgress) => void")] progress: Function,
    ) -> Result<JsValue, JsError> {
        let (_busy, cancel) = self.begin()?;
        let store = self.store()?;
        let tell = &mut |now: FetchProgress| tell(&progress, &LoadProgress::from(now));
        let (reading, rows) = match rows {
            None => (Reading::Whole, Rows::ALL),
            Some(rows) => (Reading::ByRange, rows.parse().map_err(sentence)?),
        };
        let mut sources = Vec::new();
        let split = self.split.borrow().clone();
        for id in ids.iter().map(|id| id.trim()) {
            let found = open_remote_dataset(&store, id, reading, split.as_deref(), &cancel, tell).await;
            sources.extend(found.map_err(sentence)?);
        }
        self.open_data(&sources, rows, String::new(), String::new()).await
    }

    /// The benchmarks whose rows and scores can be marked.
    #[wasm_bindgen(unchecked_return_type = "BenchmarkEntry[]")]
    pub fn benchmarks(&self) -> Result<JsValue, JsError> {
        let entries = BENCHMARKS.iter().map(|known| BenchmarkEntry {
            name: known.name,
            title: known.title,
            citation: known.citation,
            definition: known.definition,
            variants: known.variants.iter().map(|variant| variant.name).collect(),
            rows_at: known.rows_at,
        });
        to_js(&entries.collect::<Vec<_>>())
    }

    /// Chooses how the datasets opened from now on are read. `name` is the benchmark's name; without it, the columns
    /// tell the benchmark. `columns` names columns that differ from the benchmark's own. `split` chooses among several
    /// splits.
    #[wasm_bindgen(js_name = chooseBenchmark)]
    pub fn choose_benchmark(
        &self,
        name: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "ColumnNames | undefined")] columns: JsValue,
        split: Option<String>,
    ) -> Result<(), JsError> {
        let columns: Option<ColumnNames> = from_js(columns)?;
        self.asked.set(name.as_deref().map(benchmark).transpose().map_err(sentence)?);
        *self.columns.borrow_mut() = columns.map(ColumnNames::mapping).transpose()?.flatten();
        *self.split.borrow_mut() = split.filter(|split| !split.trim().is_empty());
        Ok(())
    }

    /// The skipped rows of the open dataset, as JSON Lines.
    #[wasm_bindgen(js_name = badRows)]
    pub fn bad_rows(&self) -> Result<String, JsError> {
        let skipped = self.skipped.borrow();
        let lines: Result<Vec<String>, _> = skipped.iter().map(serde_json::to_string).collect();
        Ok(lines.map_err(sentence)?.into_iter().map(|line| line + "\n").collect())
    }

    /// Opens a dataset from files that the visitor picked or dropped. Closes the current run.
    #[wasm_bindgen(js_name = openDataFiles, unchecked_return_type = "DatasetReport")]
    pub async fn open_data_files(&self, files: Vec<web_sys::File>) -> Result<JsValue, JsError> {
        let _busy = self.begin()?;
        let sources: Vec<Source> = files.iter().map(Source::picked).collect();
        // Several files may be a folder, which also holds files without rows.
        let names: Vec<String> = sources.iter().map(|source| source.name().to_owned()).collect();
        let sources = match names.len() {
            1 => sources,
            _ => {
                let split = self.split.borrow().clone();
                let (rows, _) = rows_of_folder("the files", &names, split.as_deref()).map_err(sentence)?;
                let of = |name: &String| sources.iter().find(|source| source.name() == name).cloned();
                rows.iter().filter_map(of).collect()
            }
        };
        self.open_data(&sources, Rows::ALL, String::new(), String::new()).await
    }
}

impl Session {
    pub(crate) async fn open_data(
        &self,
        sources: &[Source],
        rows: Rows,
        attribution: String,
        warning: String,
    ) -> Result<JsValue, JsError> {
        let asked = Asked {
            benchmark: self.asked.get(),
            columns: self.columns.borrow().clone(),
            rows: Some(rows),
            split: self.split.borrow().clone(),
            is_strict: false,
        };
        let Dataset { benchmark, items, remarks, skipped } = read_items(sources, &asked).await.map_err(sentence)?;
        let mut subsets: Vec<SubsetCount> = Vec::new();
        for item in &items {
            match subsets.iter_mut().find(|s| s.subset == item.subset) {
                Some(subset) => subset.count += 1,
                None => subsets.push(SubsetCount { subset: item.subset.clone(), count: 1 }),
            }
        }
        let name = dataset_name(sources);
        let bad = skipped.iter().take(MOST_BAD_ROWS);
        let report = to_js(&DatasetReport {
            name: name.clone(),
            items: items.len(),
            subsets,
            attribution,
            warning,
            benchmark: benchmark.name.to_owned(),
            remarks,
            skipped: skipped.len(),
            bad_rows: bad.map(|row| format!("{}, row {}: {}", row.file, row.row, row.detail)).collect(),
        })?;
        self.benchmark.set(Some(benchmark));
        *self.skipped.borrow_mut() = skipped;
        *self.dataset.borrow_mut() = (name, items);
        self.datasets.set(self.datasets.get() + 1);
        self.close_run();
        Ok(report)
    }
}
