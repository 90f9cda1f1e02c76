//! Chooses the benchmark and the variant that mark a file of scores, in the same way for the page and the command.

use rewardscope_benchmarks::{Benchmark, NameError, Variant, benchmark};

use crate::ScoreFile;

/// Why a file cannot be marked as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkedAsError {
    /// The file is a run of another benchmark.
    #[error("marking {file}: it is a run of {found}, not of {asked}; leave the benchmark away")]
    OtherBenchmark {
        /// The file's name.
        file: String,
        /// The benchmark of the run.
        found: String,
        /// The benchmark that was asked for.
        asked: String,
    },
    /// No benchmark or variant has this name.
    #[error("{reason} ({file})")]
    Name {
        /// The file's name.
        file: String,
        /// The name that was asked for, and the names that exist.
        reason: NameError,
    },
}

/// The benchmark and the variant that mark a file. A run file is marked by its own benchmark; another file by `asked`,
/// else by the benchmark that its rows show. The variant is `variant` where given, else the run's own, else the
/// benchmark's first.
///
/// # Errors
/// When the file is a run of another benchmark than `asked`, or when a name is unknown.
pub fn marked_as(
    file: &ScoreFile,
    asked: Option<&'static Benchmark>,
    variant: Option<&str>,
) -> Result<(&'static Benchmark, &'static Variant), MarkedAsError> {
    let name = |reason: NameError| MarkedAsError::Name { file: file.name.clone(), reason };
    let Some(run) = &file.run else {
        let of = asked.unwrap_or(file.benchmark);
        return Ok((of, of.variant(variant).map_err(name)?));
    };
    if let Some(asked) = asked.filter(|asked| asked.name != run.benchmark) {
        let (file, found, asked) = (file.name.clone(), run.benchmark.clone(), asked.name.to_owned());
        return Err(MarkedAsError::OtherBenchmark { file, found, asked });
    }
    let own = benchmark(&run.benchmark).map_err(name)?;
    Ok((own, own.variant(variant.or(Some(&run.variant))).map_err(name)?))
}
