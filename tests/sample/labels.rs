//! The sample's labels are right by construction. These tests check the construction.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_data::Row;
use rewardscope_tests::construction::is_right;
use rewardscope_tests::{root, sample_rows};

const BEST_OF_4: [&str; 5] = ["Factuality", "Precise IF", "Math", "Safety", "Focus"];

fn rows(subset: &str) -> Vec<Row> {
    sample_rows().into_iter().filter(|row| row.subset == subset).collect()
}

/// The `check` and `detail` of a row.
fn construction(row: &Row) -> (String, String) {
    let metadata = row.additional_metadata.as_ref().unwrap();
    (metadata["check"].clone(), metadata["detail"].clone())
}

/// Asserts that every row of a subset has this check, and that the check holds for the chosen completions only.
fn only_the_chosen(subset: &str, wanted: &str) {
    for row in rows(subset) {
        let (check, detail) = construction(&row);
        assert_eq!(check, wanted);
        for (completions, want) in [(&row.chosen, true), (&row.rejected, false)] {
            for completion in completions {
                let found = is_right(&check, &detail, completion);
                assert_eq!(found, Some(want), "{}/{}: {completion:?}", row.subset, row.id);
            }
        }
    }
}

#[test]
fn the_parquet_holds_these_rows() {
    let committed = std::fs::read(root().join("sample/sample.parquet")).unwrap();
    let made = rewardscope_data::to_parquet(&sample_rows()).unwrap();
    assert!(committed == made, "sample.parquet is out of date: cargo run -p rewardscope-tests --bin make-sample");
}

#[test]
fn every_subset_is_large_enough_and_no_text_stands_twice() {
    for subset in BEST_OF_4 {
        let rows = rows(subset);
        assert!(rows.len() >= 20, "{subset} has {}", rows.len());
        assert!(rows.iter().all(|row| row.chosen.len() == 1 && row.rejected.len() == 3));
    }
    let prompts: Vec<String> = sample_rows().into_iter().map(|row| row.prompt).collect();
    assert_eq!(prompts.iter().collect::<BTreeSet<_>>().len(), prompts.len());
    for row in sample_rows() {
        let all: BTreeSet<&String> = row.chosen.iter().chain(&row.rejected).collect();
        assert_eq!(all.len() as i64, row.total_completions, "{}/{}", row.subset, row.id);
    }
}

#[test]
fn length_and_repetition_do_not_tell_the_label() {
    let words = |text: &str| -> BTreeSet<String> {
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    for subset in BEST_OF_4 {
        let rows = rows(subset);
        let mut picked: BTreeMap<&str, f64> = BTreeMap::new();
        for row in &rows {
            let completions: Vec<&String> = row.chosen.iter().chain(&row.rejected).collect();
            let lengths: Vec<f64> = completions.iter().map(|c| c.chars().count() as f64).collect();
            let shortness: Vec<f64> = lengths.iter().map(|l| -l).collect();
            let prompt = words(&row.prompt);
            let overlap: Vec<f64> = completions.iter().map(|c| words(c).intersection(&prompt).count() as f64).collect();
            for (rule, scores) in [("longest", lengths), ("shortest", shortness), ("overlap", overlap)] {
                *picked.entry(rule).or_default() += rewardscope_benchmarks::reward_bench_2::best_of_n_mark(&scores);
            }
        }
        for (rule, right) in picked {
            let share = right / rows.len() as f64;
            assert!(share < 0.4, "picking the {rule} is right on {share} of {subset}");
        }
    }
}

#[test]
fn math_ends_in_the_value_of_its_expression() {
    only_the_chosen("Math", "arithmetic");
}

#[test]
fn only_the_chosen_keeps_the_format() {
    only_the_chosen("Precise IF", "format");
}

#[test]
fn only_the_chosen_states_the_fact() {
    only_the_chosen("Factuality", "fact");
}

#[test]
fn safety_refuses_where_it_should_and_only_there() {
    only_the_chosen("Safety", "refusal");
    // Half of the rows are to be refused, so that always or never refusing gets no more than half.
    for kind in ["comply", "refuse"] {
        assert_eq!(rows("Safety").iter().filter(|row| construction(row).1 == kind).count(), 10, "{kind}");
    }
}

#[test]
fn focus_names_the_question_that_each_rejected_completion_answers() {
    for row in rows("Focus") {
        let (check, questions) = construction(&row);
        assert_eq!(check, "answers");
        let questions: BTreeSet<&str> = questions.split(" | ").collect();
        assert_eq!(questions.len(), row.rejected.len());
        assert!(questions.iter().all(|question| question.ends_with('?') && *question != row.prompt));
    }
}

#[test]
fn every_tied_prompt_has_its_reference() {
    let ties = rows("Ties");
    let by_id: BTreeMap<&str, &Row> = ties.iter().map(|row| (row.id.as_str(), row)).collect();
    let numbers: Vec<&str> = by_id.keys().filter_map(|id| id.strip_prefix("tied:")).collect();
    assert!(numbers.len() >= 20);
    assert_eq!(by_id.len(), 2 * numbers.len());
    for number in numbers {
        let (tied, reference) = (by_id[&*format!("tied:{number}")], by_id[&*format!("ref:{number}")]);
        assert!(tied.chosen.len() >= 3 && tied.rejected.len() >= 3, "tied:{number}");
        assert_eq!(reference.chosen.len(), 1, "ref:{number}");
        assert!(tied.chosen.contains(&reference.chosen[0]), "ref:{number}'s answer is one of tied:{number}'s");
    }
}
