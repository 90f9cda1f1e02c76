//! Marking of items that are all in memory, with or without intervals, chance levels and the marks of picking by
//! length.

use crate::assessment::{Assessment, Effort, Figure};
use crate::benchmark::{Benchmark, Variant};
use crate::by_length::by_length;
use crate::marker::Marker;
use crate::marks::Marks;
use crate::{MarkError, ScoredItem};

/// The marks of items that are all in memory, without intervals. Not strict.
///
/// # Errors
/// [`MarkError`] names the first item that cannot be marked.
pub fn marks(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    items: &[ScoredItem<'_>],
) -> Result<Marks, MarkError> {
    let mut marker = Marker::new(benchmark, variant, false);
    let marks = items.iter().map(|item| marker.push(item)).collect::<Result<Vec<f64>, _>>()?;
    Ok(marker.marks(marks))
}

/// The marks of items that are all in memory, with intervals and chance levels.
///
/// `lengths` holds for each item one length per completion, as whole numbers in any unit. It adds the marks of picking
/// by length alone. `seed` is for resampling and simulations. `strict` refuses NaN, infinity and items without their
/// counterpart instead of counting them.
///
/// # Errors
/// [`MarkError`] names the first item that cannot be marked or that strict marking refuses.
pub fn assess(
    benchmark: &'static Benchmark,
    variant: &'static Variant,
    items: &[ScoredItem<'_>],
    lengths: Option<&[Vec<f64>]>,
    seed: u64,
    strict: bool,
    effort: Effort,
) -> Result<Assessment, MarkError> {
    let mut marker = Marker::new(benchmark, variant, strict);
    for item in items {
        marker.push(item)?;
    }
    let mut assessment = marker.assess(seed, effort)?;
    // A step is not picked by its length.
    let Some(lengths) = lengths.filter(|_| !variant.rules.reads_steps()) else {
        return Ok(assessment);
    };
    for sign in [-1.0, 1.0] {
        let marks = by_length(benchmark, variant, items, lengths, sign, seed)?;
        let put = |figure: &mut Figure, score: Option<f64>| match sign < 0.0 {
            true => figure.shortest = score,
            false => figure.longest = score,
        };
        for (figure, score) in [(&mut assessment.overall, marks.overall), (&mut assessment.partial, marks.partial)] {
            if let Some(figure) = figure {
                put(figure, score);
            }
        }
        for (named, mark) in assessment.sections.iter_mut().zip(&marks.sections) {
            put(&mut named.figure, Some(mark.score));
        }
        for (named, mark) in assessment.subsets.iter_mut().zip(&marks.subsets) {
            put(&mut named.figure, Some(mark.score));
        }
    }
    Ok(assessment)
}
