//! `rewardscope eval`: a benchmark's items scored and marked.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_benchmarks::{Item, Selection, reward_bench_2};
use rewardscope_engine::Cancel;
use rewardscope_eval::{
    BoardRow, DatasetColumns, Journal, Reading, Rows, RunFile, RunIdentity, ScoreFile, dataset_name, marks_json,
    open_remote_dataset, read_items, reference_scores, reference_summary, score_item,
};
use rewardscope_store::{FetchProgress, Source, Store, is_address};

use crate::model::Named;
use crate::output::say;
use crate::{metrics, model};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    #[command(flatten)]
    data: Data,
    /// Only these subsets; may be given several times.
    #[arg(long, value_name = "NAME")]
    subset: Vec<String>,
    /// At most so many items a subset, drawn by the seed, ref/tied pairs kept together.
    #[arg(long, value_name = "ITEMS")]
    limit: Option<NonZeroUsize>,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A folder for journal.jsonl, run.json, scores.jsonl, marks.json and the reference
    /// evaluator's two files, and board/ with the row that the site's board takes. A run that was stopped goes on from the
    /// journal there.
    #[arg(long)]
    out: PathBuf,
    /// Go on with the journal there, as happens anyway.
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Score everything anew, forgetting the journal there.
    #[arg(long)]
    restart: bool,
    /// Give no marks where a score is NaN or infinite, an item has none or lacks its counterpart, or a text was cut.
    #[arg(long)]
    strict: bool,
}

/// Which rows.
#[derive(Args)]
pub struct Data {
    #[command(flatten)]
    pub which: metrics::Which,
    /// Its rows: a parquet, JSON Lines, JSON or CSV file, a folder of them, an address (https://...), or a Hub id
    /// OWNER/NAME[@REVISION][:FILE]; may be given several times; the bundled sample without it.
    #[arg(long)]
    data: Vec<String>,
    /// Where rows of your own have what, as JSON: {"prompt": ["question"], "chosen": ["better"], "rejected": ["worse"],
    /// "subset": ["topic"]}; names may lead into objects (`chosen.answer`).
    #[arg(long, value_name = "JSON")]
    columns: Option<String>,
}

impl Data {
    /// Where the rows come from, and the items in some rows of each file.
    pub async fn items(&self, reading: Reading, rows: Rows) -> anyhow::Result<(Vec<Source>, Vec<Item>)> {
        let (benchmark, _) = self.which.find()?;
        let columns = self.columns.as_deref().map(columns).transpose()?;
        let mut sources = Vec::new();
        for name in &self.data {
            sources.extend(datasets(name, reading).await?);
        }
        if sources.is_empty() {
            if benchmark.name != reward_bench_2::NAME {
                bail!(
                    "opening rows of {}: no sample of it is bundled; name its rows with --data FILE, an address or OWNER/NAME:FILE{}",
                    benchmark.title,
                    if benchmark.rows_at.is_empty() {
                        String::new()
                    } else {
                        format!(" (they are at {})", benchmark.rows_at)
                    }
                )
            }
            eprintln!(
                "Using the bundled sample, which is not RewardBench 2; --data allenai/reward-bench-2 takes the official rows."
            );
            sources.push(Source::memory("the bundled sample", SAMPLE));
        }
        let items = read_items(benchmark, &sources, columns.as_ref(), rows).await?;
        Ok((sources, items))
    }
}

/// The sample that the page bundles.
pub const SAMPLE: &[u8] = include_bytes!("../../../sample/sample.parquet");

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (benchmark, variant) = arguments.data.which.find()?;
    let (sources, mut items) = arguments.data.items(Reading::Whole, Rows::ALL).await?;
    if !arguments.subset.is_empty() {
        let known: BTreeSet<String> = items.iter().map(|item| item.subset.clone()).collect();
        if let Some(unknown) = arguments.subset.iter().find(|subset| !known.contains(*subset)) {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            bail!("choosing subsets of {}: it has no {unknown}; it has {known}", dataset_name(&sources));
        }
        items.retain(|item| arguments.subset.contains(&item.subset));
    }
    let _ = arguments.resume;
    let selection = Selection { limit_per_subset: arguments.limit.map(NonZeroUsize::get), seed: arguments.seed };
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("creating {}", arguments.out.display()))?;
    let model::Loaded { scorer, clock, .. } = model::load(&arguments.model).await?;
    // Every item would fail for the same reason.
    scorer.check_template()?;
    let identity = RunIdentity::new(scorer.report(), benchmark, &dataset_name(&sources), &items, selection);
    let place = arguments.out.join("journal.jsonl");
    let device = &scorer.report().device;
    let mut journal = Journal::open(&place, identity.clone(), &items, device, clock, arguments.restart).await?;
    // An item scored the next day reads the date that the first one read.
    scorer.set_clock(journal.clock());
    let (done, total) = (journal.run().results().len(), journal.run().items().len());
    if done > 0 {
        eprintln!("{} of {} items were scored earlier ({}); going on.", done, total, place.display());
    }
    let bar = ProgressBar::new(total as u64)
        .with_style(model::style("scoring {bar:30} {pos}/{len} items, {msg}, {eta} left")?)
        .with_position(done as u64);
    while let Some(item) = journal.run().next_item() {
        let outcome = score_item(&scorer, item, &Cancel::default()).await?;
        journal.push(outcome)?;
        bar.set_message(format!("{:.0} tokens/s", journal.run().progress().tokens_per_second));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (report, run_marks) = (journal.run().report()?, journal.run().marks()?);
    for remark in &report.remarks {
        eprintln!("{remark}");
    }
    let scores: Result<Vec<String>, _> = journal.run().scored_rows().iter().map(serde_json::to_string).collect();
    write(&arguments.out.join("scores.jsonl"), scores?.into_iter().map(|line| line + "\n").collect::<String>())?;
    let host = format!("native {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let file = RunFile::new(journal.run(), &identity, scorer.report(), (benchmark, variant), &host)?;
    write(&arguments.out.join("run.json"), serde_json::to_string(&file)? + "\n")?;
    // A run of nothing but failures has no scores to say anything of.
    let scored = ScoreFile::of_run(&arguments.out.join("run.json").display().to_string(), file.clone());
    if arguments.strict {
        scored.as_ref().map_err(Clone::clone)?.assess(benchmark, variant, 0, true)?;
    }
    let marks = marks_json(&file.assessment, &run_marks, scored.as_ref().ok());
    write(&arguments.out.join("marks.json"), marks.to_string() + "\n")?;
    // The reference evaluator's own two files.
    let reference = arguments.out.join("reference");
    std::fs::create_dir_all(&reference).with_context(|| format!("creating {}", reference.display()))?;
    let scores = reference_scores(journal.run(), &run_marks, scorer.report());
    write(&reference.join("eval-set-scores.json"), serde_json::to_string_pretty(&scores)? + "\n")?;
    let summary = reference_summary(&run_marks, scorer.report());
    write(&reference.join("eval-set.json"), serde_json::to_string_pretty(&summary)? + "\n")?;
    // What is sent to stand on the site's board; a run of nothing has nothing to send.
    if let Ok(sent) = BoardRow::of(&file).contribution() {
        let board = arguments.out.join("board");
        std::fs::create_dir_all(&board).with_context(|| format!("creating {}", board.display()))?;
        write(&board.join(&sent.file), &sent.json)?;
        write(&board.join("pull-request.md"), &sent.text)?;
    }
    for remark in &file.assessment.remarks {
        eprintln!("{remark}");
    }
    let stands = scored.as_ref().ok().and_then(|scored| scored.placement(&file.assessment));
    metrics::print_table(&file.assessment, &run_marks, stands.as_ref())?;
    say!(
        "{} tokens computed in {:.1} s, {} more shared with other completions of their prompt",
        report.tokens,
        report.ms / 1e3,
        report.saved_tokens
    )?;
    Ok(ExitCode::from(u8::from(report.items_failed > 0)))
}

pub fn columns(text: &str) -> anyhow::Result<DatasetColumns> {
    serde_json::from_str(text).with_context(|| {
        format!(
            "reading --columns: names by id, subset, prompt, chosen, rejected or models were expected, {text} was found"
        )
    })
}

pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    std::fs::write(path, contents).with_context(|| format!("writing {}", path.display()))
}

/// As [`dataset`], or the files of rows in a folder, in the order of their paths.
async fn datasets(name: &str, reading: Reading) -> anyhow::Result<Vec<Source>> {
    let folder = Path::new(name);
    if is_address(name) || !folder.is_dir() {
        return Ok(vec![dataset(name, reading).await?]);
    }
    let mut paths = Vec::new();
    files_of_rows(folder, &mut paths).with_context(|| format!("listing {name}"))?;
    paths.sort();
    if paths.is_empty() {
        bail!("opening {name}: a folder with .parquet, .jsonl, .json or .csv files was expected, it has none");
    }
    paths.iter().map(|path| Ok(Source::file(path)?)).collect()
}

/// Links to folders are not followed: they may lead in circles.
fn files_of_rows(folder: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if entry.file_type()?.is_dir() {
            files_of_rows(&path, paths)?;
        } else if ending.is_some_and(|ending| ["parquet", "jsonl", "json", "csv"].contains(&ending)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// A file on disk, an address, or a Hub dataset's only rows.
pub async fn dataset(name: &str, reading: Reading) -> anyhow::Result<Source> {
    if !is_address(name) {
        match model::named(name)? {
            Named::File(path) => return Ok(Source::file(&path)?),
            Named::Folder(path) => bail!("opening {}: a file was expected, a folder was found", path.display()),
            Named::Hub(_) => {}
        }
    }
    let store = Store::from_environment()?;
    let bar = ProgressBar::new(0).with_style(model::bytes_style()?);
    let cancel = Cancel::default();
    let mut tell = |now: FetchProgress| model::bytes_bar(&bar, &now);
    let source = open_remote_dataset(&store, name, reading, &cancel, &mut tell).await;
    bar.finish_and_clear();
    Ok(source?)
}
