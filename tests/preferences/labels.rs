//! Checks the default head's preferences. There are enough of them, their labels are right where this can be computed,
//! length does not tell the label, and they have nothing in common with the sample.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use rewardscope_tests::construction::is_right;
use rewardscope_tests::{root, sample_rows};
use serde_json::Value;

/// A line of the file.
struct Row {
    subset: String,
    prompt: String,
    chosen: Vec<String>,
    rejected: Vec<String>,
    check: String,
    detail: String,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("heads/smollm2-135m-instruct/preferences.jsonl")).unwrap();
    let texts = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        many => serde_json::from_value(many.clone()).unwrap(),
    };
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            Row {
                subset: text("subset"),
                prompt: text("prompt"),
                chosen: texts(&row["chosen"]),
                rejected: texts(&row["rejected"]),
                check: text("check"),
                detail: text("detail"),
            }
        })
        .collect()
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    // Numbers only fill the slots of a prompt's template, so all count as the same word.
    let word = |w: &str| if w.chars().all(|c| c.is_ascii_digit()) { "#".to_owned() } else { w.to_owned() };
    lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).map(word).collect()
}

/// Common words, which any two prompts may share.
const PLAIN: &str = "a an the of in on at to for and or is are was were be do does did i my me you your it its this \
    that these those what which who whom whose when where why how many much can could would should with without by \
    from as if not no one two three name give tell list write say using use only exactly word words sentence \
    sentences answer please about into than there";

fn content(text: &str) -> BTreeSet<String> {
    let plain: BTreeSet<&str> = PLAIN.split_whitespace().collect();
    words(text).into_iter().filter(|word| word.len() > 1 && !plain.contains(word.as_str())).collect()
}

#[test]
fn there_are_enough_of_every_kind() {
    let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        *pairs.entry(row.subset).or_default() += row.chosen.len() * row.rejected.len();
    }
    assert!(pairs.values().sum::<usize>() >= 600, "{pairs:?}");
    for subset in ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"] {
        assert!(pairs[subset] >= 100, "{subset}: {pairs:?}");
    }
}

#[test]
fn the_chosen_keeps_what_the_rejected_breaks() {
    let mut checked = 0;
    for row in rows() {
        for (completions, want) in [(&row.chosen, true), (&row.rejected, false)] {
            for completion in completions {
                if let Some(found) = is_right(&row.check, &row.detail, completion) {
                    assert_eq!(found, want, "{}: {completion:?}", row.prompt);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 1500, "{checked}");
}

#[test]
fn length_and_the_prompts_words_do_not_tell_the_label() {
    let (mut pairs, mut longer) = (0.0, 0.0);
    for row in rows() {
        for chosen in &row.chosen {
            for rejected in &row.rejected {
                pairs += 1.0;
                longer += f64::from(u8::from(chosen.chars().count() > rejected.chars().count()));
            }
        }
    }
    assert!((0.45..0.55).contains(&(longer / pairs)), "the chosen is longer in {}", longer / pairs);
}

#[test]
fn no_prompt_template_or_fact_is_the_samples() {
    let sample = sample_rows();
    let runs = |text: &str| -> BTreeSet<Vec<String>> { words(text).windows(5).map(<[String]>::to_vec).collect() };
    let sample_runs: BTreeMap<Vec<String>, &str> =
        sample.iter().flat_map(|row| runs(&row.prompt).into_iter().map(|run| (run, row.prompt.as_str()))).collect();
    let completions: BTreeSet<String> = sample
        .iter()
        .flat_map(|row| row.chosen.iter().chain(&row.rejected))
        .filter(|text| words(text).len() >= 4)
        .map(|text| text.trim().to_lowercase())
        .collect();
    let asked: Vec<(&str, BTreeSet<String>)> =
        sample.iter().map(|row| (row.prompt.as_str(), content(&row.prompt))).collect();
    for row in rows() {
        // Prompts from one template share a run of words.
        if let Some(run) = runs(&row.prompt).into_iter().find(|run| sample_runs.contains_key(run)) {
            panic!("{:?} shares {run:?} with {:?}", row.prompt, sample_runs[&run]);
        }
        let own = content(&row.prompt);
        for (prompt, theirs) in &asked {
            let shared = own.intersection(theirs).count() as f64;
            let alike = shared / own.union(theirs).count().max(1) as f64;
            assert!(own.is_empty() || alike < 0.5, "{:?} asks what {prompt:?} asks", row.prompt);
        }
        for completion in row.chosen.iter().chain(&row.rejected) {
            assert!(!completions.contains(&completion.trim().to_lowercase()), "{completion:?} is the sample's");
        }
    }
    // Two rows have the same fact if they have the same answer and ask for the same.
    let facts: Vec<(&str, String, BTreeSet<String>)> = sample
        .iter()
        .filter(|row| row.subset == "Factuality")
        .map(|row| {
            let detail = row.additional_metadata.as_ref().unwrap()["detail"].clone();
            (row.prompt.as_str(), detail, content(&row.prompt))
        })
        .collect();
    for row in rows().iter().filter(|row| row.check == "fact") {
        let own = content(&format!("{} {}", row.prompt, row.chosen.join(" ")));
        for (prompt, answer, theirs) in &facts {
            let same_answer = is_right("fact", answer, &row.detail) == Some(true);
            let shared = own.intersection(theirs).count();
            assert!(!same_answer || 2 * shared < theirs.len().max(1), "{:?} has the fact of {prompt:?}", row.prompt);
        }
    }
}
