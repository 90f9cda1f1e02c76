//! RewardBench 2's marks are compared with the values of the reference evaluator, to 1e-9.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rewardscope_benchmarks::ScoredItem;
use rewardscope_benchmarks::reward_bench_2::{SUBSETS, best_of_n_mark, best_of_n_marks, marks, overall};
use rewardscope_eval::ScoredRow;
use rewardscope_tests::{json_fixture, number};
use serde_json::Value;

fn close(found: f64, want: f64, what: &str) {
    assert!((found - want).abs() < 1e-9, "{what}: {found} is not {want}");
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(number).collect()
}

#[test]
fn best_of_n_marks_equal_the_references() {
    let fixture = json_fixture("metrics/rb2_best_of_n.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        close(best_of_n_mark(&numbers(&case["scores"])), number(&case["expected"]), &case.to_string());
    }
}

#[test]
fn ragged_groups_are_marked_one_by_one() {
    let group = &json_fixture("metrics/rb2_best_of_n.json")["group_case"];
    let sizes: Vec<usize> = numbers(&group["total_completions"]).into_iter().map(|n| n as usize).collect();
    let found = best_of_n_marks(&numbers(&group["flat_scores"]), &sizes).unwrap();
    let want = numbers(&group["expected_results"]);
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(&want) {
        close(*found, *want, "group");
    }
    assert!(best_of_n_marks(&[1.0], &[2]).is_none());
}

#[test]
fn every_part_of_the_ties_score_equals_the_references() {
    let fixture = json_fixture("metrics/rb2_ties.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let rows: Vec<ScoredRow> = case["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let mut row = row.clone();
                row["subset"] = "Ties".into();
                serde_json::from_value(row).unwrap()
            })
            .collect();
        let marks = marks(&rows.iter().map(ScoredRow::as_item).collect::<Vec<_>>()).unwrap();
        let found = marks.subsets[0].ties.as_ref().unwrap();
        let want = &case["expected"];
        for (part, found) in [
            ("overall_score", found.overall_score),
            ("ref_accuracy", found.ref_accuracy),
            ("tied_accuracy", found.tied_accuracy),
            ("correctness_preferred", found.correctness_preferred),
            ("correctness_preferred_hard", found.correctness_preferred_hard),
            ("correctness_margin_score", found.correctness_margin_score),
        ] {
            close(found, number(&want[part]), &format!("{name}, {part}"));
        }
        let pairs = want["per_prompt"].as_array().unwrap();
        assert_eq!(found.per_prompt.len(), pairs.len(), "{name}");
        for want in pairs {
            let pair = found.per_prompt.iter().find(|pair| pair.prompt == want["prompt"].as_u64().unwrap()).unwrap();
            close(pair.spread, number(&want["spread"]), name);
            close(pair.margin_tied, number(&want["margin_tied"]), name);
            close(pair.margin_ref, number(&want["margin_ref"]), name);
            close(pair.margin_score, number(&want["margin_score"]), name);
        }
    }
}

#[test]
fn the_overall_mark_is_the_mean_of_six_and_exists_only_with_six() {
    let fixture = json_fixture("metrics/rb2_macro.json");
    let scores = fixture["subsets"].as_object().unwrap();
    let all = || scores.iter().map(|(name, score)| (name.as_str(), number(score)));
    close(overall(all()).unwrap(), number(&fixture["expected"]), "overall");
    for left_out in SUBSETS {
        assert_eq!(overall(all().filter(|(name, _)| *name != left_out)), None, "without {left_out}");
    }
}

#[test]
fn the_ties_score_is_never_clamped() {
    let item = |id, num_correct, scores| ScoredItem { id, subset: "Ties", num_correct, scores };
    let good = marks(&[item("ref:0", 1, &[5.0, 1.0]), item("tied:0", 2, &[5.0, 5.0, 1.0])]).unwrap();
    close(good.subsets[0].score, 1.01, "the best");
    let bad = marks(&[item("ref:0", 1, &[0.0, 1.0]), item("tied:0", 2, &[1.0, 1.0, 2.0])]).unwrap();
    close(bad.subsets[0].score, -0.01, "the worst");
    assert_eq!(good.overall, None);
}

#[test]
fn what_cannot_be_marked_is_named() {
    let item = |id, subset, num_correct, scores| ScoredItem { id, subset, num_correct, scores };
    for (item, named) in [
        (item("7", "Ties", 1, &[1.0, 0.0][..]), "ref:NUMBER"),
        (item("tied:7", "Ties", 2, &[1.0, 0.0]), "at least one of each"),
        (item("7", "Math", 1, &[]), "no scores"),
        (item("7", "Math", 2, &[1.0, 0.0]), "exactly 1"),
    ] {
        let message = marks(&[item]).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
}
