//! Marks a file of scores: a run file, the reference evaluator's files, or rows with scores.
//!
//! ```sh
//! cargo run --release --package rewardscope-examples --bin example-mark -- run/run.json
//! ```

use std::path::Path;

use anyhow::Context;
use pollster::block_on;
use rewardscope_eval::{ScoreFile, marked_as};
use rewardscope_store::Source;

/// Of the bootstrap: the same seed gives the same intervals.
const SEED: u64 = 0;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name a file of scores")?;
    let file = block_on(ScoreFile::open(&Source::file(Path::new(&path))?, None))?;

    // A run file names its benchmark; of other files the rows tell.
    let (benchmark, variant) = marked_as(&file, None, None)?;
    let assessment = file.assess(benchmark, variant, SEED, false)?;
    println!("{}, {} items", benchmark.title, assessment.items);
    let subsets = assessment.subsets.iter().map(|subset| (subset.name.as_str(), &subset.figure));
    for (name, figure) in subsets.chain(assessment.overall.as_ref().map(|figure| ("overall", figure))) {
        let interval =
            figure.ci95.map_or(String::new(), |ci95| format!(", 95 % interval {:.3} to {:.3}", ci95.low, ci95.high));
        println!("{name}: {:.6}{interval}", figure.score);
    }
    Ok(())
}
