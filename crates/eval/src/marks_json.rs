//! Marks as JSON, one format for the page and the command.

use rewardscope_benchmarks::analysis::{by_source_model, calibration, correctness_auc, length_report, margins};
use rewardscope_benchmarks::{Assessment, Figure, Interval, Marks, Named, ScoredItem};
use serde_json::{Map, Value, json};

use crate::ScoreFile;

/// Marks as JSON, as the command and the page write them. `assessment` and `marks` come from the same scores. `file`
/// holds those scores and adds their analysis (margins, calibration, AUC, length, source models) and the place among
/// published marks; without it, only the marks are written.
pub fn marks_json(assessment: &Assessment, marks: &Marks, file: Option<&ScoreFile>) -> Value {
    let stands = file.and_then(|file| file.placement(assessment));
    let interval = |interval: Interval| json!([interval.low, interval.high]);
    let figure = |figure: &Figure| {
        json!({
            "score": figure.score, "n": figure.n, "ci95": figure.ci95.map(interval), "method": figure.method,
            "chance": figure.chance, "shortest": figure.shortest, "longest": figure.longest,
        })
    };
    let named = |all: &[Named]| -> Map<String, Value> {
        all.iter().map(|named| (named.name.clone(), figure(&named.figure))).collect()
    };
    let mut subsets = named(&assessment.subsets);
    for mark in &marks.subsets {
        if let (Some(ties), Some(Value::Object(subset))) = (&mark.ties, subsets.get_mut(&mark.subset))
            && let Ok(Value::Object(parts)) = serde_json::to_value(ties)
        {
            subset.extend(parts);
        }
    }
    let worth = |of: &Option<Figure>| of.as_ref().map(figure);
    let mut out = json!({
        "benchmark": assessment.benchmark, "variant": assessment.variant, "seed": assessment.seed,
        "overall": assessment.overall.as_ref().map(|figure| figure.score),
        "overall_figure": worth(&assessment.overall),
        "partial": assessment.partial.as_ref().map(|figure| figure.score),
        "partial_figure": worth(&assessment.partial),
        "sections": named(&assessment.sections), "subsets": subsets,
        "items": assessment.items, "not_finite": assessment.not_finite, "remarks": assessment.remarks,
        "place": stands.as_ref().map(|stands| stands.place),
        "place_warnings": stands.map(|stands| stands.warnings).unwrap_or_default(),
    });
    let Some(file) = file else {
        return out;
    };
    let items = file.items();
    let models: Vec<&[String]> = file.models.iter().map(Vec::as_slice).collect();
    let auc = |subset: &str| {
        let of: Vec<ScoredItem<'_>> = items.iter().filter(|item| item.subset == subset).copied().collect();
        correctness_auc(&of)
    };
    let names: std::collections::BTreeSet<&str> = items.iter().map(|item| item.subset).collect();
    let aucs: Map<String, Value> = names.into_iter().map(|name| (name.to_owned(), json!(auc(name)))).collect();
    if let Value::Object(out) = &mut out {
        let own = file.run.as_ref().map(|run| &run.protocol);
        out.insert("protocol".to_owned(), json!(own));
        out.insert("margins".to_owned(), json!(margins(&items)));
        out.insert("calibration".to_owned(), json!(calibration(&items, file.is_bradley_terry(), assessment.seed)));
        out.insert("auc".to_owned(), json!(correctness_auc(&items)));
        out.insert("auc_by_subset".to_owned(), Value::Object(aucs));
        out.insert("length_unit".to_owned(), json!(file.lengths.as_ref().map(|_| file.length_unit)));
        out.insert("length".to_owned(), json!(file.lengths.as_ref().and_then(|of| length_report(&items, of))));
        out.insert("source_models".to_owned(), json!(by_source_model(&items, &models)));
    }
    out
}
