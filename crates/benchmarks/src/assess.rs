//! Marks with what they are worth, in one pass: a [`Marker`] takes scored items one after the other
//! and keeps of a subset only how often each mark came, so that a million items need no more memory
//! than a thousand.

use crate::assessment::{Assessment, Effort, Figure};
use crate::benchmark::{Benchmark, Variant};
use crate::by_length::by_length;
use crate::marker::Marker;
use crate::marks::Marks;
use crate::{MarkError, ScoredItem};

/// The marks of items that are all at hand.
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

/// The marks of items that are all at hand with what they are worth. `lengths`, one a completion,
/// add what picking by length alone gets.
///
/// # Errors
/// [`MarkError`] names the first item that cannot be marked; strict marking refuses more.
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
    let Some(lengths) = lengths else {
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
