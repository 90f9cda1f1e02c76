//! `rewardscope eval` scores and marks a benchmark's items.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use rewardscope_benchmarks::published::Placement;
use rewardscope_benchmarks::{Item, Marks, Selection};
use rewardscope_engine::{Cancel, EngineError, KeptReference, Scorer};
use rewardscope_eval::{
    BoardRow, Claims, DriveError, Driven, Journal, Reading, Rows, Run, RunFile, RunIdentity, ScoreFile, check_scorer,
    dataset_name, drive, marks_json, reference_scores, reference_summary, sequences,
};

use crate::dataset::Data;
use crate::output::{Stopped, on_interrupt, say, write};
use crate::reference_first::ReferenceFirst;
use crate::{model, progress, table};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope eval --model Skywork/Skywork-Reward-V2-Qwen3-0.6B --limit 20 --out run
  rewardscope eval --model ./model --data pairs.csv --columns prompt=question,chosen=good,rejected=bad --out run")]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    #[command(flatten)]
    data: Data,
    /// Score only this subset; repeat the option for several
    #[arg(long, value_name = "NAME")]
    subset: Vec<String>,
    /// Score at most this many items of each subset
    ///
    /// The items are drawn by --seed. The two items of a ref/tied pair stay together.
    #[arg(long, value_name = "ITEMS")]
    limit: Option<NonZeroUsize>,
    /// Seed of the draw for --limit
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder to write results to
    ///
    /// It gets journal.jsonl, run.json, scores.jsonl, marks.json, the reference evaluator's two files in reference/,
    /// and the row for the site's board in board/. A run that was stopped resumes from the journal.
    #[arg(long)]
    out: PathBuf,
    /// Score all items again, discarding the journal in --out
    #[arg(long)]
    restart: bool,
    /// Read the reference before the model is loaded, not beside it [default: where both do not fit into memory]
    ///
    /// What the reference says is kept in --out, in reference-first.jsonl.
    #[arg(long, requires = "reference")]
    reference_first: bool,
    /// Refuse bad rows, and give no marks for an incomplete run
    ///
    /// A bad row is one that is not a preference. A run is incomplete where a score is NaN or infinite, an item has no
    /// score or lacks its counterpart, or a text was cut.
    #[arg(long)]
    strict: bool,
}

/// A run that only this process works on.
struct Own(RefCell<(Journal, Claims)>);

impl Driven for Own {
    fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T> {
        let (journal, claims) = &mut *self.0.borrow_mut();
        Some(use_run(journal, claims))
    }
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Unknown names are refused before anything is read.
    arguments.data.which.check()?;
    let (sources, dataset) = arguments.data.items(Reading::Whole, Rows::ALL, arguments.strict).await?;
    let (benchmark, mut items) = (dataset.benchmark, dataset.items);
    let variant = benchmark.variant(arguments.data.which.variant.as_deref())?;
    if !arguments.subset.is_empty() {
        let known: BTreeSet<String> = items.iter().map(|item| item.subset.clone()).collect();
        if let Some(unknown) = arguments.subset.iter().find(|subset| !known.contains(*subset)) {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            bail!("choosing subsets of {}: it has no {unknown}; it has {known}", dataset_name(&sources));
        }
        items.retain(|item| arguments.subset.contains(&item.subset));
    }
    let selection = Selection { limit_per_subset: arguments.limit.map(NonZeroUsize::get), seed: arguments.seed };
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("creating {}", arguments.out.display()))?;
    let cancel = on_interrupt();
    let mut prepared = model::prepare(&arguments.model).await?;
    let kept = match arguments.reference_first || prepared.fits_alone().await? {
        true => {
            let run = Run::new(benchmark, &items, selection);
            Some(reference_first(arguments, run.items(), &mut prepared, &cancel).await?)
        }
        false => None,
    };
    let model::Loaded { scorer, clock, .. } = prepared.load(kept).await?;
    check_scorer(&scorer, benchmark)?;
    let identity = RunIdentity::new(scorer.report(), benchmark, &dataset_name(&sources), &items, selection);
    let place = arguments.out.join("journal.jsonl");
    let device = &scorer.report().device;
    let mut journal = Journal::open(&place, identity, &items, device, clock, arguments.restart).await?;
    if arguments.model.date.is_some_and(|asked| asked != journal.clock()) {
        bail!(
            "resuming {}: its chat templates were told the date {}, not that of --date; leave out --date, or start over with --restart",
            place.display(),
            journal.clock()
        );
    }
    journal.mark_by(variant);
    let (done, total) = (journal.run().results().len(), journal.run().items().len());
    if done > 0 {
        eprintln!("{} of {} items were scored earlier ({}); resuming.", done, total, place.display());
    }
    let bar = ProgressBar::new(total as u64)
        .with_style(progress::style("scoring {bar:30} {pos}/{len} items, {msg}, {eta} left")?)
        .with_position(done as u64);
    let own = Own(RefCell::new((journal, Claims::default())));
    let driven = drive(&scorer, &own, &cancel, &mut |now| {
        bar.set_message(format!("{:.0} tokens/s", now.tokens_per_second));
        bar.set_position(now.items_done as u64);
    })
    .await;
    let (journal, _) = own.0.into_inner();
    if matches!(driven, Err(DriveError::Engine(EngineError::Cancelled))) {
        let done = journal.run().results().len();
        return Err(
            Stopped(format!("stopped after {done} of {total} items; the same command goes on from there")).into()
        );
    }
    driven?;
    bar.finish_and_clear();
    let report = journal.run().report()?;
    let marks = journal.run().marks()?;
    for remark in &report.remarks {
        eprintln!("{remark}");
    }
    let (file, stands) = written(arguments, &journal, &scorer, &marks)?;
    for remark in &file.assessment.remarks {
        eprintln!("{remark}");
    }
    table::print_table(&file.assessment, &marks, stands.as_ref())?;
    say!(
        "{} tokens computed in {:.1} s, {} more reused from other completions of the same prompt",
        report.tokens,
        report.ms / 1e3,
        report.saved_tokens
    )?;
    Ok(ExitCode::from(u8::from(report.items_failed > 0)))
}

/// Computes what the reference says of all items.
async fn reference_first(
    arguments: &Arguments,
    items: &[Item],
    prepared: &mut model::Prepared<'_>,
    cancel: &Cancel,
) -> anyhow::Result<KeptReference> {
    let place = arguments.out.join("reference-first.jsonl");
    let mut reference =
        ReferenceFirst::begin(prepared, Some(place), arguments.model.date, arguments.restart, cancel.clone()).await?;
    let bar = ProgressBar::new(items.len() as u64)
        .with_style(progress::style("reading the reference {bar:30} {pos}/{len} items, {eta} left")?);
    for item in items {
        reference.add(|scorer| sequences(scorer, item)).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(reference.finish())
}

/// Writes the results of a run: its scores, run file, marks, the reference evaluator's files, and the row for the
/// site's board. Gives the run file and its place among the published rows.
fn written(
    arguments: &Arguments,
    journal: &Journal,
    scorer: &Scorer,
    run_marks: &Marks,
) -> anyhow::Result<(RunFile, Option<Placement>)> {
    let scores: Result<Vec<String>, _> = journal.run().scored_rows().iter().map(serde_json::to_string).collect();
    write(&arguments.out.join("scores.jsonl"), scores?.into_iter().map(|line| line + "\n").collect::<String>())?;
    let host = format!("native {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let file = RunFile::new(journal.run(), journal.identity(), scorer.report(), &host, journal.clock())?;
    write(&arguments.out.join("run.json"), serde_json::to_string(&file)? + "\n")?;
    // A run in which every item failed has no scores, and is an error here.
    let scored = ScoreFile::of_run(&arguments.out.join("run.json").display().to_string(), file.clone());
    if arguments.strict {
        scored.as_ref().map_err(Clone::clone)?.assess(journal.run().benchmark(), journal.run().variant(), 0, true)?;
    }
    let marks = marks_json(&file.assessment, run_marks, scored.as_ref().ok());
    write(&arguments.out.join("marks.json"), marks.to_string() + "\n")?;
    // The two files that the reference evaluator would write.
    let reference = arguments.out.join("reference");
    std::fs::create_dir_all(&reference).with_context(|| format!("creating {}", reference.display()))?;
    let scores = reference_scores(journal.run(), run_marks, scorer.report());
    write(&reference.join("eval-set-scores.json"), serde_json::to_string_pretty(&scores)? + "\n")?;
    let summary = reference_summary(run_marks, scorer.report());
    write(&reference.join("eval-set.json"), serde_json::to_string_pretty(&summary)? + "\n")?;
    // The row to send to the site's board. A run without scores has no valid row.
    if let Ok(sent) = BoardRow::of(&file).contribution() {
        let board = arguments.out.join("board");
        std::fs::create_dir_all(&board).with_context(|| format!("creating {}", board.display()))?;
        write(&board.join(&sent.file), &sent.json)?;
        write(&board.join("pull-request.md"), &sent.text)?;
    }
    let stands = scored.as_ref().ok().and_then(|scored| scored.placement(&file.assessment));
    Ok((file, stands))
}
