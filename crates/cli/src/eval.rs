//! `rewardscope eval`: a benchmark's items scored and marked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_benchmarks::{Selection, reward_bench_2};
use rewardscope_engine::Cancel;
use rewardscope_eval::{Journal, RunIdentity, fetch_dataset, read_items, score_item};
use rewardscope_store::{FetchProgress, RepositoryKind, Source, Store};

use crate::model::Named;
use crate::{metrics, model};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// Which benchmark's marks.
    #[arg(long, default_value = reward_bench_2::NAME)]
    benchmark: String,
    /// Its rows: a parquet or JSON Lines file, or a Hub id OWNER/NAME[@REVISION][:FILE]; the bundled sample without it.
    #[arg(long)]
    data: Option<String>,
    /// At most so many items a subset, drawn by the seed, ref/tied pairs kept together.
    #[arg(long, value_name = "ITEMS")]
    limit: Option<usize>,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A folder for journal.jsonl, scores.jsonl and marks.json. A run that was stopped goes on from the journal there.
    #[arg(long)]
    out: PathBuf,
    /// Score everything anew, forgetting the journal there.
    #[arg(long)]
    restart: bool,
}

/// The sample that the page bundles.
pub const SAMPLE: &[u8] = include_bytes!("../../../sample/sample.parquet");

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.benchmark != reward_bench_2::NAME {
        bail!("evaluating {}: there is no such benchmark; there is {}", arguments.benchmark, reward_bench_2::NAME);
    }
    let source = match &arguments.data {
        Some(name) => dataset(name).await?,
        None => {
            eprintln!(
                "Using the bundled sample, which is not RewardBench 2; --data allenai/reward-bench-2 takes the official rows."
            );
            Source::memory("the bundled sample", SAMPLE)
        }
    };
    let items = read_items(&source).await?;
    let selection = Selection { limit_per_subset: arguments.limit, seed: arguments.seed };
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("creating {}", arguments.out.display()))?;
    let model::Loaded { scorer, clock, .. } = model::load(&arguments.model).await?;
    let identity = RunIdentity::new(scorer.report(), source.name(), &items, selection);
    let place = arguments.out.join("journal.jsonl");
    let device = &scorer.report().device;
    let mut journal = Journal::open(&place, identity, &items, device, clock, arguments.restart).await?;
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
    let report = journal.run().report()?;
    for remark in &report.remarks {
        eprintln!("{remark}");
    }
    let scores: Result<Vec<String>, _> = journal.run().scored_rows().iter().map(serde_json::to_string).collect();
    write(&arguments.out.join("scores.jsonl"), scores?.into_iter().map(|line| line + "\n").collect::<String>())?;
    write(&arguments.out.join("marks.json"), serde_json::to_string(&report.marks)?)?;
    metrics::print_table(&report.marks);
    println!("{} tokens in {:.1} s", report.tokens, report.ms / 1e3);
    Ok(ExitCode::from(u8::from(report.items_failed > 0)))
}

pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    std::fs::write(path, contents).with_context(|| format!("writing {}", path.display()))
}

/// A file on disk, or a Hub dataset's only rows.
pub async fn dataset(name: &str) -> anyhow::Result<Source> {
    let id = match model::named(name)? {
        Named::File(path) => return Ok(Source::file(&path)?),
        Named::Folder(path) => bail!("opening {}: a file was expected, a folder was found", path.display()),
        Named::Hub(id) => id,
    };
    let store = Store::from_environment()?;
    let bar = ProgressBar::new(0).with_style(model::bytes_style()?);
    let cancel = Cancel::default();
    let mut tell = |now: FetchProgress| model::bytes_bar(&bar, &now);
    let repository = store.repository(RepositoryKind::Dataset, &id, &cancel, &mut tell).await?;
    let source = fetch_dataset(&store, &repository, id.file.as_deref(), &cancel, &mut tell).await;
    bar.finish_and_clear();
    Ok(source?)
}
