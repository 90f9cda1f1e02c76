//! `rewardscope fit` fits a reward head on preference pairs.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_benchmarks::reward_bench_2;
use rewardscope_engine::{Backbone, Cancel, HeadConfig, ModelFiles, Pooling, RewardHead, Scorer};
use rewardscope_eval::{Asked, Reading, dataset_name, read_items};
use rewardscope_fit::{
    FeatureCache, FeaturesHeader, FitError, FitReport, Gathered, OverlapRule, PreferenceFiles, Tell, gather, learn,
    marks_on,
};
use rewardscope_store::Source;

use crate::dataset::{BadRows, RowOptions, SAMPLE, datasets};
use crate::output::{Stopped, on_interrupt, say, write};
use crate::{model, progress};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope fit --model HuggingFaceTB/SmolLM2-135M-Instruct --preferences pairs.jsonl --out head
  rewardscope fit --model ./backbone --preferences shards --split train --out head --drop-overlap")]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// Preferences to fit on: a file, a folder, an address, a Hub id or `-`
    ///
    /// Any layout that `items` shows is read. A file is parquet, Arrow, JSON Lines, JSON, CSV or TSV, compressed or
    /// not. A Hub id is `OWNER/NAME[@REVISION][:FILE]`, and `-` is standard input. Repeat the option to fit on several
    /// inputs.
    #[arg(long, required = true)]
    preferences: Vec<String>,
    #[command(flatten)]
    rows: RowOptions,
    /// Stop at a row that is not a preference instead of skipping it
    #[arg(long)]
    strict: bool,
    /// Folder to write the head to
    ///
    /// It gets head.safetensors, report.json, report.md, features.bin (hidden states, from which a stopped run resumes)
    /// and checkpoint/ (backbone and head, for transformers).
    #[arg(long)]
    out: PathBuf,
    /// Seed of the cross-validation folds and of all resampling
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Name of the head [default: the name of the folder --out]
    #[arg(long)]
    name: Option<String>,
    /// Number of layers after which hidden states are taken [default: all]
    #[arg(long)]
    layers: Option<usize>,
    /// Hidden states that the head reads
    #[arg(long, value_enum, default_value = "last")]
    pooling: Pooling,
    /// Benchmark rows to mark the head on [default: the bundled sample]
    ///
    /// Their prompts are also compared with the prompts of the preferences, to find overlap.
    #[arg(long)]
    benchmark_data: Option<String>,
    /// Leave out pairs whose prompt is also in the benchmark
    #[arg(long)]
    drop_overlap: bool,
    /// Do not write the checkpoint for transformers
    #[arg(long)]
    no_checkpoint: bool,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.model.head.is_some() {
        bail!("fitting: a new head is fitted on the bare backbone; leave out --head");
    }
    let cancel = on_interrupt();
    let split = arguments.rows.split.as_deref();
    let mut preferences = Vec::new();
    for name in &arguments.preferences {
        preferences.extend(datasets(name, Reading::Whole, split).await?);
    }
    let benchmark = match &arguments.benchmark_data {
        Some(name) => datasets(name, Reading::Whole, None).await?,
        None => vec![Source::memory("the bundled sample", SAMPLE)],
    };
    let asked = Asked { benchmark: Some(&reward_bench_2::BENCHMARK), ..Asked::default() };
    let items = read_items(&benchmark, &asked).await?.items;
    let benchmark = dataset_name(&benchmark);
    let model::Loaded { scorer, files, .. } = model::load(&arguments.model).await?;
    let model = scorer.report();
    let pooling = arguments.pooling;
    let header = FeaturesHeader::of(model, arguments.layers, pooling)?;
    let layers = header.layers;
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("creating {}", arguments.out.display()))?;
    let mut cache = FeatureCache::open(&arguments.out.join("features.bin"), header).await?;
    if !cache.is_empty() {
        eprintln!("{} completions were computed earlier; resuming.", cache.len());
    }
    let prompts = items.iter().map(|item| item.prompt.as_str());
    let gathered = gathered(arguments, &scorer, &preferences, (&benchmark, prompts), &mut cache, &cancel).await?;
    let bar = ProgressBar::new(100).with_style(progress::style("fitting {bar:30} {percent} %")?);
    let learned = learn(&gathered, &cache, u64::from(arguments.seed), &cancel, &mut |share| {
        bar.set_position((100.0 * share) as u64);
    })
    .await;
    bar.finish_and_clear();
    let learned = learned.map_err(stopped)?;
    let mut report = learned.report;
    let folder = arguments.out.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = arguments.name.clone().or(folder).unwrap_or_else(|| "head".to_owned());
    let mut head = RewardHead {
        config: HeadConfig { name: name.clone(), backbone: Backbone::of(model, files.id.clone()), layers, pooling },
        weight: learned.weight,
        report: Some(serde_json::to_string(&report)?),
    };
    let save = |head: &RewardHead, report: &FitReport| -> anyhow::Result<()> {
        write(&arguments.out.join("head.safetensors"), head.to_bytes()?)?;
        write(&arguments.out.join("report.json"), serde_json::to_string_pretty(report)? + "\n")?;
        write(&arguments.out.join("report.md"), report.markdown(&name))
    };
    // Saved before the benchmark runs, so that the head is kept even if marking fails.
    save(&head, &report)?;
    let bar =
        ProgressBar::new(items.len() as u64).with_style(progress::style("marking {bar:30} {pos}/{len}, {eta} left")?);
    let marks = marks_on(
        &scorer,
        (&benchmark, &items),
        &head.weight,
        &mut cache,
        u64::from(arguments.seed),
        &cancel,
        &mut |done| bar.set_position(done as u64),
    )
    .await;
    bar.finish_and_clear();
    report.benchmark = marks.map_err(stopped)?;
    head.report = Some(serde_json::to_string(&report)?);
    save(&head, &report)?;
    say!("{}", report.markdown(&name))?;
    if pooling == Pooling::CompletionMean {
        eprintln!(
            "No checkpoint for transformers was written: its classifiers read the last token, this head reads a mean."
        );
    } else if !arguments.no_checkpoint {
        write_checkpoint(arguments, &files.files, &head, &cancel).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Gathers the pairs and computes their features, with progress. Prints what was left out.
async fn gathered<'a>(
    arguments: &Arguments,
    scorer: &Scorer,
    sources: &[Source],
    benchmark: (&str, impl IntoIterator<Item = &'a str>),
    cache: &mut FeatureCache,
    cancel: &Cancel,
) -> anyhow::Result<Gathered> {
    let rule = if arguments.drop_overlap { OverlapRule::Drop } else { OverlapRule::Keep };
    let bar = ProgressBar::new(0).with_style(progress::style("{msg} {bar:30} {pos}/{len}, {eta} left")?);
    bar.set_message("pairs");
    let rows = PreferenceFiles {
        sources,
        columns: arguments.rows.columns.as_ref(),
        split: arguments.rows.split.as_deref(),
        is_strict: arguments.strict,
    };
    let mut bad = BadRows::create(arguments.rows.bad_rows.as_deref());
    let mut tell = Tell {
        progress: &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        },
        bad: &mut |row| bad.push(&row),
    };
    let gathered = gather(scorer, &rows, benchmark, rule, cache, cancel, &mut tell).await;
    bar.finish_and_clear();
    bad.finish()?;
    let gathered = gathered.map_err(stopped)?;
    for remark in &gathered.form.remarks {
        eprintln!("{remark}");
    }
    for example in &gathered.form.examples {
        eprintln!("{example}; left out");
    }
    Ok(gathered)
}

/// Writes the backbone and the head as a checkpoint folder for transformers.
async fn write_checkpoint(
    arguments: &Arguments,
    files: &ModelFiles,
    head: &RewardHead,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let folder = arguments.out.join("checkpoint");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut open: HashMap<String, File> = HashMap::new();
    let mut write = |file: &str, bytes: &[u8]| {
        if !open.contains_key(file) {
            open.insert(file.to_owned(), File::create(folder.join(file))?);
        }
        open.get_mut(file).map_or(Ok(()), |file| file.write_all(bytes))
    };
    Ok(files.write_checkpoint(head, cancel, &mut write).await?)
}

/// Makes [`Stopped`] of a cancelled fit. The features computed so far are kept in the folder.
fn stopped(error: FitError) -> anyhow::Error {
    match error {
        FitError::Cancelled => {
            Stopped("stopped; the same command resumes with the features that were computed".to_owned()).into()
        }
        error => error.into(),
    }
}
