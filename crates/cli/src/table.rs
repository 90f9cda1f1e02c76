//! Prints marks as a table, with remarks below it.

use rewardscope_benchmarks::analysis::correctness_auc;
use rewardscope_benchmarks::published::Placement;
use rewardscope_benchmarks::{Assessment, Figure, Marks, ScoredItem};

use crate::output::say;

/// A sentence that gives the area under the ROC curve: how well scores tell correct completions from incorrect ones
/// over all prompts. `None` where it is undefined.
pub fn auc(items: &[ScoredItem<'_>]) -> Option<String> {
    let area = correctness_auc(items)?;
    Some(format!(
        "Area under the ROC curve of scores, correct against incorrect completions over all prompts: {area:.4} (0.5 by chance)."
    ))
}

/// Prints the marks as a table. Columns: subset, items, mark, 95 % interval, the mark expected by chance, and the marks
/// of picking the shortest or the longest completion. `stands` is the place among the published rows, if there is one.
pub fn print_table(assessment: &Assessment, marks: &Marks, stands: Option<&Placement>) -> anyhow::Result<()> {
    let of = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let interval = |figure: &Figure| {
        figure.ci95.map_or_else(|| "-".to_owned(), |interval| format!("{:.4} to {:.4}", interval.low, interval.high))
    };
    let width = assessment.subsets.iter().chain(&assessment.sections).map(|named| named.name.chars().count());
    let width = width.max().unwrap_or_default().max(12);
    say!(
        "{:<width$} {:>7} {:>8}  {:<16} {:>8} {:>8} {:>8}",
        "subset",
        "items",
        "score",
        "95 % interval",
        "chance",
        "shortest",
        "longest"
    )?;
    let line = |name: &str, figure: &Figure| {
        say!(
            "{name:<width$} {:>7} {:>8.4}  {:<16} {:>8} {:>8} {:>8}",
            figure.n,
            figure.score,
            interval(figure),
            of(figure.chance),
            of(figure.shortest),
            of(figure.longest)
        )
    };
    for named in &assessment.subsets {
        line(&named.name, &named.figure)?;
    }
    for ties in marks.subsets.iter().filter_map(|mark| mark.ties.as_ref()) {
        say!(
            "  Ties: ref_accuracy {:.4}, tied_accuracy {:.4}, correctness_preferred {:.4}, _hard {:.4}, margin {:.4}",
            ties.ref_accuracy,
            ties.tied_accuracy,
            ties.correctness_preferred,
            ties.correctness_preferred_hard,
            ties.correctness_margin_score
        )?;
    }
    for named in &assessment.sections {
        line(&named.name, &named.figure)?;
    }
    match (&assessment.overall, &assessment.partial) {
        (Some(overall), _) => {
            line("overall", overall)?;
            if let Some(Placement { place, warnings }) = stands {
                say!("This run would rank {} among the {} published rows.", place.place, place.of)?;
                for warning in warnings {
                    say!("  {warning}")?;
                }
            }
        }
        (None, Some(partial)) => {
            line("partial mean", partial)?;
            say!("overall: not given, because parts of the benchmark are missing")?;
        }
        (None, None) => say!("overall: not given, because parts of the benchmark are missing")?,
    }
    Ok(())
}
