//! The benchmark, and its variant, by which scores are marked.

use std::path::Path;

use anyhow::bail;
use clap::Args;
use rewardscope_benchmarks::{BENCHMARKS, Benchmark, Variant, benchmark, benchmark_names, reward_bench_2};
use rewardscope_eval::{OpenedScores, ScoreFile, marked_as};
use rewardscope_store::Source;

/// The options `--benchmark` and `--variant`.
#[derive(Args)]
pub struct Which {
    /// Benchmark that the rows or scores belong to [default: found from the input]
    #[arg(long, long_help = benchmark_help())]
    pub benchmark: Option<String>,
    /// Variant of the benchmark's rules for marks [default: the run's own, or the benchmark's first]
    #[arg(long)]
    pub variant: Option<String>,
}

/// The long help of `--benchmark`: what it means, and every name that it takes.
fn benchmark_help() -> String {
    format!(
        "Benchmark that the rows or scores belong to [default: found from the input]\n\nOne of {}; preferences is for \
         your own rows. By default it is the benchmark that a run file names; for other input it is reward-bench-2 or \
         preferences, depending on the columns.",
        benchmark_names()
    )
}

impl Which {
    /// Refuses unknown names, so that a command fails before it reads anything.
    ///
    /// # Errors
    /// When there is no such benchmark, or no such variant.
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

    /// The benchmark and the variant that mark a file of scores.
    ///
    /// # Errors
    /// When a name is unknown, or the file is a run of another benchmark.
    pub fn find_for(&self, file: &ScoreFile) -> anyhow::Result<(&'static Benchmark, &'static Variant)> {
        Ok(marked_as(file, self.asked()?, self.variant.as_deref())?)
    }

    /// The benchmark that `--benchmark` names; `None` without the option.
    ///
    /// # Errors
    /// When there is no such benchmark.
    pub fn asked(&self) -> anyhow::Result<Option<&'static Benchmark>> {
        self.benchmark.as_deref().map(|name| Ok(benchmark(name)?)).transpose()
    }

    /// Reads a file of scores, or a summary: a file of marks without scores.
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

    /// Reads a file of scores; refuses a summary.
    pub async fn read(&self, path: &Path) -> anyhow::Result<ScoreFile> {
        match self.open(path).await? {
            OpenedScores::Scores(file) => Ok(*file),
            OpenedScores::Summary(_) => {
                bail!("reading {}: scores were expected, a summary was found, which has only marks", path.display())
            }
        }
    }
}
