//! The two files that the reference evaluator (`allenai/reward-bench`) writes for a run: the scores, and a summary with
//! the marks by subset.

use rewardscope_benchmarks::{Benchmark, Marks, preferences, reward_bench, reward_bench_2};
use rewardscope_engine::ModelReport;
use serde_json::{Map, Value, json};

use crate::ScoreFileError;
use crate::run::Run;

/// Keys of a summary file that are not marks.
const LABELS: [&str; 4] = ["model", "model_type", "chat_template", "ref_model"];

fn labels(model: &ModelReport) -> Map<String, Value> {
    let kind = match &model.reference {
        Some(_) => "DPO",
        None if model.is_reward_model => "Seq. Classifier",
        None => "Language model likelihood",
    };
    let reference = model.reference.as_ref().map(|reference| ("ref_model", reference.model.as_str()));
    // The reference names a Hub model by its id, without the commit.
    let name = model.origin.as_ref().and_then(|origin| origin.split('@').next()).unwrap_or(&model.name);
    let labels = [("model", name), ("model_type", kind), ("chat_template", model.template.as_str())];
    labels.into_iter().chain(reference).map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// A run's scores as the reference evaluator writes them under `eval-set-scores`: parallel arrays, each score in a list
/// of one, and `null` as the result of Ties items. Unlike in the reference's own file, `text` holds the completions as
/// the dataset has them, not as a chat template renders them.
pub fn reference_scores(run: &Run, marks: &Marks, model: &ModelReport) -> Value {
    let mut file = labels(model);
    let scored = || {
        run.results()
            .iter()
            .filter_map(|result| Some((&run.items()[result.item], result.outcome.scores.as_ref().ok()?)))
    };
    let column = |values: Vec<Value>| Value::Array(values);
    let of = |score: f64| match score.is_finite() {
        true => json!([score]),
        false if score.is_nan() => json!(["NaN"]),
        false => json!([if score > 0.0 { "Infinity" } else { "-Infinity" }]),
    };
    let result = |(item, mark): (&rewardscope_benchmarks::Item, &f64)| match item.subset == reward_bench_2::TIES {
        true => Value::Null,
        false => json!(mark),
    };
    file.insert("id".to_owned(), column(scored().map(|(item, _)| json!(item.id)).collect()));
    file.insert("subset".to_owned(), column(scored().map(|(item, _)| json!(item.subset)).collect()));
    file.insert("text".to_owned(), column(scored().map(|(item, _)| json!(item.completions)).collect()));
    let scores = scored().map(|(_, scores)| scores.iter().map(|score| of(score.score)).collect());
    file.insert("scores".to_owned(), column(scores.collect()));
    let results = scored().map(|(item, _)| item).zip(&marks.items).map(result);
    file.insert("results".to_owned(), column(results.collect()));
    file.insert("num_correct".to_owned(), column(scored().map(|(item, _)| json!(item.num_correct)).collect()));
    Value::Object(file)
}

/// A run's marks as the reference evaluator writes them under `eval-set`: the mark of each subset by its name.
pub fn reference_summary(marks: &Marks, model: &ModelReport) -> Value {
    let mut file = labels(model);
    file.extend(marks.subsets.iter().map(|mark| (mark.subset.clone(), json!(mark.score))));
    Value::Object(file)
}

/// The reference evaluator's summary file: marks without scores.
#[derive(Debug, Clone)]
pub struct SummaryFile {
    /// The benchmark of the marks.
    pub benchmark: &'static Benchmark,
    /// The model's name.
    pub model: Option<String>,
    /// Subsets with their marks, 0 to 1, in the benchmark's order.
    pub subsets: Vec<(String, f64)>,
    /// Sections with their marks, 0 to 1; only for RewardBench.
    pub sections: Vec<(String, f64)>,
    /// The overall mark, 0 to 1; `None` unless every part of it is there.
    pub overall: Option<f64>,
}

impl SummaryFile {
    /// Reads a JSON object as a summary; `None` where it is something else, such as a file of scores. `name` is the
    /// file's name. Without a benchmark, the summary is taken as RewardBench 2's, or as what the `rewardbench` command
    /// writes for the user's own pairs.
    ///
    /// # Errors
    /// When it is a summary with subsets that the benchmark does not have, or with marks outside 0 to 1.
    pub fn of(
        name: &str,
        object: &Map<String, Value>,
        benchmark: Option<&'static Benchmark>,
    ) -> Result<Option<Self>, ScoreFileError> {
        let wrong = |found: String| ScoreFileError::Summary { file: name.to_owned(), found };
        let numbers: Vec<(String, f64)> = object
            .iter()
            .filter(|(name, _)| !LABELS.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        let has_list = object.values().any(|value| value.is_array() || value.is_object());
        if numbers.is_empty() || has_list || !object.contains_key("model") {
            return Ok(None);
        }
        // The `rewardbench` command writes this for the user's own pairs.
        if let Some(accuracy) =
            object.get("accuracy").and_then(Value::as_f64).filter(|_| object.contains_key("num_prompts"))
        {
            if !(0.0..=1.0).contains(&accuracy) {
                return Err(wrong(format!("{accuracy} for accuracy; is it in percent?")));
            }
            return Ok(Some(Self {
                benchmark: &preferences::BENCHMARK,
                model: object.get("model").and_then(Value::as_str).map(str::to_owned),
                subsets: vec![("accuracy".to_owned(), accuracy)],
                sections: Vec::new(),
                overall: Some(accuracy),
            }));
        }
        let benchmark = benchmark.unwrap_or(&reward_bench_2::BENCHMARK);
        let order: Vec<&str> = match benchmark.name {
            reward_bench_2::NAME => reward_bench_2::SUBSETS.to_vec(),
            reward_bench::NAME => {
                let subsets =
                    reward_bench::SECTIONS.iter().flat_map(|(_, subsets)| subsets.iter().map(|(name, _)| *name));
                subsets.chain(reward_bench::PRIORS).collect()
            }
            _ => return Ok(None),
        };
        if let Some((unknown, _)) = numbers.iter().find(|(name, _)| !order.contains(&name.as_str())) {
            let found = format!("a summary with {unknown}, which is no subset of {}", benchmark.title);
            return Err(ScoreFileError::Format { file: name.to_owned(), found });
        }
        // The Ties score can lie slightly outside 0 to 1.
        if let Some((name, mark)) = numbers.iter().find(|(_, mark)| !(-0.01..=1.01).contains(mark)) {
            return Err(wrong(format!("{mark} for {name}; is it in percent?")));
        }
        let mark = |name: &str| numbers.iter().find(|(known, _)| known == name).map(|(_, mark)| *mark);
        let (sections, overall) = if benchmark.name == reward_bench_2::NAME {
            let all = numbers.iter().map(|(name, mark)| (name.as_str(), *mark));
            (Vec::new(), reward_bench_2::overall(all))
        } else {
            let scores = reward_bench::section_scores(reward_bench::Counts::Current, mark);
            let is_whole = reward_bench::SECTIONS.iter().all(|(_, of)| of.iter().all(|(name, _)| mark(name).is_some()));
            let average =
                reward_bench::leaderboard_average(scores.map(|(_, score)| Some(score)), reward_bench::prior_sets(mark));
            (scores.map(|(name, score)| (name.to_owned(), score)).to_vec(), average.filter(|_| is_whole))
        };
        Ok(Some(Self {
            benchmark,
            model: object.get("model").and_then(Value::as_str).map(str::to_owned),
            subsets: order.iter().filter_map(|name| Some(((*name).to_owned(), mark(name)?))).collect(),
            sections,
            overall,
        }))
    }

    /// The marks as `metrics --json` writes them. Intervals and item counts are `null`: they need the scores.
    pub fn json(&self) -> Value {
        let named = |all: &[(String, f64)]| -> Map<String, Value> {
            all.iter().map(|(name, score)| (name.clone(), json!({ "score": score, "ci95": null, "n": null }))).collect()
        };
        json!({
            "benchmark": self.benchmark.name, "model": self.model, "overall": self.overall,
            "sections": named(&self.sections), "subsets": named(&self.subsets),
        })
    }
}
