//! Which benchmark marks a file of scores, and in which of its ways: one answer for page and command.

use rewardscope_benchmarks::{Benchmark, NameError, Variant, benchmark};

use crate::ScoreFile;

/// Why a file cannot be marked as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkedAsError {
    /// A run of another benchmark.
    #[error("marking {file}: it is a run of {found}, not of {asked}; leave the benchmark away")]
    OtherBenchmark {
        /// The file.
        file: String,
        /// The benchmark that it is a run of.
        found: String,
        /// The benchmark that was asked for.
        asked: String,
    },
    /// No such benchmark or variant.
    #[error("{reason} ({file})")]
    Name {
        /// The file.
        file: String,
        /// Which name, and which there are.
        reason: NameError,
    },
}

/// The benchmark and the variant that mark a file: a run's own, or what its rows show; `variant` goes before a run's
/// own.
///
/// # Errors
/// When a run of another benchmark than `asked` was found, or a name is not known.
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
