//! `rewardscope merge` joins the outputs of shards to the output of one run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rewardscope_data::{merge_lines, merge_tables};
use rewardscope_store::Source;

use crate::dataset::matching;
use crate::output::{is_table, replaced};
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
    let as_table = is_table(&arguments.output);
    if let Some(other) = parts.iter().find(|part| is_table(Path::new(part.name())) != as_table) {
        bail!("merging {}: parts and output of one form were expected, the output is {shown}", other.name());
    }
    let written = replaced(&arguments.output, async |to| match as_table {
        true => Ok(merge_tables(&parts, &shown, to).await?),
        false => Ok(merge_lines(&parts, &shown, to).await?),
    });
    let rows = written.await.with_context(|| format!("merging to {shown}"))?;
    eprintln!("{rows} rows of {} shards are in {shown}", parts.len());
    Ok(ExitCode::SUCCESS)
}
