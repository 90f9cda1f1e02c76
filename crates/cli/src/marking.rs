//! Which benchmark marks a file of scores, and in which of its ways.

use std::path::Path;

use anyhow::bail;
use clap::Args;
use rewardscope_benchmarks::{BENCHMARKS, Benchmark, Variant, benchmark, reward_bench_2};
use rewardscope_eval::{OpenedScores, ScoreFile, marked_as};
use rewardscope_store::Source;

/// Which benchmark, and which of its ways of marking.
#[derive(Args)]
pub struct Which {
    /// Which benchmark's marks: reward-bench-2, reward-bench, rm-bench, judge-bench, rmb, ppe, m-reward-bench, or
    /// preferences for rows of your own. Without it the one that a run file is of, else reward-bench-2 or preferences, as
    /// the columns show.
    #[arg(long)]
    pub benchmark: Option<String>,
    /// Which of the benchmark's ways of marking; a run's own, else the first, without it.
    #[arg(long)]
    pub variant: Option<String>,
}

impl Which {
    /// Refuses names that no benchmark has, before anything is read.
    pub fn check(&self) -> anyhow::Result<()> {
        let asked = self.asked()?;
        let is_known =
            |of: &Benchmark| self.variant.as_ref().is_none_or(|name| of.variants.iter().any(|v| v.name == name));
        match asked {
            Some(asked) => asked.variant(self.variant.as_deref()).map(|_| ()).map_err(Into::into),
            None if BENCHMARKS.iter().any(|known| is_known(known)) => Ok(()),
            None => Ok(reward_bench_2::BENCHMARK.variant(self.variant.as_deref()).map(|_| ())?),
        }
    }

    /// Those of a file of scores.
    pub fn find_for(&self, file: &ScoreFile) -> anyhow::Result<(&'static Benchmark, &'static Variant)> {
        Ok(marked_as(file, self.asked()?, self.variant.as_deref())?)
    }

    /// The benchmark that is asked for, where one is.
    pub fn asked(&self) -> anyhow::Result<Option<&'static Benchmark>> {
        self.benchmark.as_deref().map(|name| Ok(benchmark(name)?)).transpose()
    }

    /// Reads a file of scores, or of marks.
    pub async fn open(&self, path: &Path) -> anyhow::Result<OpenedScores> {
        if path.is_dir() {
            bail!(
                "reading {}: a file of scores was expected, a folder was found; name the file in it, such as run.json",
                path.display()
            );
        }
        let source = Source::file_or_pipe(path)?;
        Ok(ScoreFile::open_any(&source, self.asked()?).await?)
    }

    /// Reads a file of scores.
    pub async fn read(&self, path: &Path) -> anyhow::Result<ScoreFile> {
        match self.open(path).await? {
            OpenedScores::Scores(file) => Ok(*file),
            OpenedScores::Summary(_) => {
                bail!("reading {}: scores were expected, a summary was found, which has marks alone", path.display())
            }
        }
    }
}
