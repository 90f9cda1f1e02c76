//! `rewardscope merge` joins the outputs of shards to the output of one run.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rewardscope_data::{merge_lines, merge_tables};
use rewardscope_store::Source;

use crate::dataset::matching;
use crate::output::part_of;
use crate::row_journal::place_of;

#[derive(Args)]
#[command(after_help = "Example:
  rewardscope merge --output scores.parquet 'part-*.parquet'")]
pub struct Arguments {
    /// Outputs of all shards, or patterns of their names
    #[arg(required = true)]
    parts: Vec<String>,
    /// File for the rows of all shards
    ///
    /// The rows are in the order of the input, as if one run had scored them. The file has the form of the parts.
    #[arg(long)]
    output: PathBuf,
    /// Replace an existing output
    #[arg(long)]
    overwrite: bool,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let shown = arguments.output.display().to_string();
    if arguments.output.exists() && !arguments.overwrite {
        bail!("writing {shown}: it is there already; name another file, or replace it with --overwrite");
    }
    let mut parts = Vec::new();
    for name in &arguments.parts {
        let paths = if Path::new(name).exists() { vec![PathBuf::from(name)] } else { matching(name)? };
        for path in paths {
            if place_of(&path).exists() {
                bail!("merging {}: it is not complete, its journal is there; run its shard again", path.display());
            }
            parts.push(Source::file(&path)?);
        }
    }
    let is_table = |name: &str| name.to_ascii_lowercase().ends_with(".parquet");
    if let Some(other) = parts.iter().find(|part| is_table(part.name()) != is_table(&shown)) {
        bail!("merging {}: parts and output of one form were expected, the output is {shown}", other.name());
    }
    let part = part_of(&arguments.output);
    let file = File::create(&part).with_context(|| format!("writing {}", part.display()))?;
    let written = async {
        let to = BufWriter::new(file.try_clone()?);
        let rows = match is_table(&shown) {
            true => merge_tables(&parts, &shown, to).await?,
            false => merge_lines(&parts, &shown, to).await?,
        };
        file.sync_all()?;
        std::fs::rename(&part, &arguments.output)?;
        anyhow::Ok(rows)
    }
    .await;
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    let rows = written.with_context(|| format!("merging to {shown}"))?;
    eprintln!("{rows} rows of {} shards are in {shown}", parts.len());
    Ok(ExitCode::SUCCESS)
}
