//! Published marks of reward models with their sources (`data/`), and the place of a run among them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::statistics::pearson;
use crate::suites::{reward_bench, reward_bench_2};

/// A row of a published leaderboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct PublishedRow {
    /// The model's name, mostly a Hub id.
    pub model: String,
    /// The kind of model, as its source names it; empty where the source does not say.
    pub model_type: String,
    /// The overall mark, 0 to 1.
    pub overall: f64,
    /// The marks of subsets or sections, 0 to 1, under the benchmark's names; only those that the source has.
    pub parts: Vec<(String, f64)>,
    /// The settings under which the marks were made, as far as the source says.
    pub under: MadeUnder,
    /// Where the row was published.
    pub source: String,
}

/// Settings that may change the marks of a model; `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct MadeUnder {
    /// The type of the weights.
    pub dtype: Option<String>,
    /// Where conversations were cut, in tokens.
    pub length_limit: Option<usize>,
    /// The template that turned a conversation into text: `tokenizer` for the model's own, as the reference evaluator
    /// calls it, otherwise the name of a format.
    pub template: Option<String>,
}

impl MadeUnder {
    /// The name and value of each setting as text, for warnings.
    fn facts(&self) -> [(&'static str, Option<String>); 3] {
        let limit = self.length_limit.map(|tokens| format!("{tokens} tokens"));
        [("dtype", self.dtype.clone()), ("length limit", limit), ("template", self.template.clone())]
    }
}

/// The place of a run among published rows, with warnings where its mark may not be comparable with theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Placement {
    /// Its place.
    pub place: Place,
    /// One sentence for each of dtype, length limit and template that differs from the rows' or is unknown.
    pub warnings: Vec<String>,
}

/// One of the 17 reward models of RewardBench 2's paper that were also used downstream (table 8).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Downstream {
    /// The model's number in the paper.
    pub id: u32,
    /// How its training data relates to the policy that is trained.
    pub group: String,
    /// The model that it was trained from.
    pub base_model: String,
    /// The prompts that it was trained on.
    pub training_prompts: String,
    /// Learning rate and epochs.
    pub lr_epochs: String,
    /// Its overall RewardBench 2 mark, in percent.
    pub reward_bench_2: f64,
    /// The mean downstream result of a policy trained against it with PPO, in percent.
    pub ppo: f64,
    /// The mean downstream result of its picks among 16 completions, in percent.
    pub best_of_n: f64,
    /// The row of RewardBench 2's leaderboard that the model is taken to be; the row has its marks by subset. It is the
    /// only row with the same overall mark whose name does not contradict the base model, learning rate or epochs.
    /// `None` where no row fits, or more than one.
    pub board_row: Option<String>,
}

impl Downstream {
    /// The published row that [`Self::board_row`] names.
    pub fn published(&self) -> Option<&'static PublishedRow> {
        let name = self.board_row.as_ref()?;
        published(reward_bench_2::NAME).iter().find(|row| row.model == *name)
    }
}

/// The place of a mark among published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Place {
    /// The place, from 1; equal marks share the better place.
    pub place: usize,
    /// Number of published rows that it is compared with.
    pub of: usize,
}

/// How a mark of RewardBench 2 correlates with downstream results of the models: Pearson's correlation over a few
/// models, and no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct DownstreamCorrelation {
    /// Number of models it is over.
    pub models: usize,
    /// The correlation with the PPO result.
    pub ppo: f64,
    /// The correlation with the best-of-N result.
    pub best_of_n: f64,
}

/// The published rows of a benchmark, one per model, best first; empty for benchmarks without published rows here.
/// Where both the leaderboard and the paper have a model, the leaderboard's row is kept, because it has one more digit.
pub fn published(benchmark: &str) -> &'static [PublishedRow] {
    static REWARD_BENCH_2: LazyLock<Vec<PublishedRow>> = LazyLock::new(|| {
        let columns = ["factuality", "precise_if", "math", "safety", "focus", "ties"];
        rows(include_str!("../data/rb2_leaderboard.csv"), &columns, &reward_bench_2::SUBSETS)
    });
    static REWARD_BENCH: LazyLock<Vec<PublishedRow>> = LazyLock::new(|| {
        let columns = ["chat", "chat_hard", "safety", "reasoning", "prior_sets"];
        let names = ["Chat", "Chat Hard", "Safety", "Reasoning", reward_bench::PRIOR_SETS];
        rows(include_str!("../data/rb1_leaderboard.csv"), &columns, &names)
    });
    match benchmark {
        reward_bench_2::NAME => &REWARD_BENCH_2,
        reward_bench::NAME => &REWARD_BENCH,
        _ => &[],
    }
}

/// The 17 models of table 8 in RewardBench 2's paper.
pub fn downstream() -> &'static [Downstream] {
    static ROWS: LazyLock<Vec<Downstream>> = LazyLock::new(|| {
        let mut reader = csv::Reader::from_reader(include_str!("../data/rb2_downstream.csv").as_bytes());
        reader.deserialize().filter_map(Result::ok).collect()
    });
    &ROWS
}

/// How the overall mark correlates with PPO and best-of-N over the models of `group`, or over all 17. `None` where
/// there are fewer than two models.
pub fn downstream_correlation(group: Option<&str>) -> Option<DownstreamCorrelation> {
    let of: Vec<&Downstream> = downstream().iter().filter(|row| group.is_none_or(|group| row.group == group)).collect();
    let marks: Vec<f64> = of.iter().map(|row| row.reward_bench_2).collect();
    let with = |value: fn(&Downstream) -> f64| pearson(&marks, &of.iter().map(|row| value(row)).collect::<Vec<_>>());
    Some(DownstreamCorrelation { models: of.len(), ppo: with(|row| row.ppo)?, best_of_n: with(|row| row.best_of_n)? })
}

/// How each subset's mark correlates with PPO and best-of-N, over those of the 17 models whose marks by subset are
/// known ([`Downstream::board_row`]). The last entry, `overall`, is the overall mark over the same models.
pub fn downstream_correlations_by_subset() -> Vec<(String, DownstreamCorrelation)> {
    let known: Vec<(&Downstream, &PublishedRow)> =
        downstream().iter().filter_map(|row| Some((row, row.published()?))).collect();
    let of = |name: &str, mark: &dyn Fn(&PublishedRow) -> Option<f64>| {
        let both: Vec<(f64, &Downstream)> = known.iter().filter_map(|(row, of)| Some((mark(of)?, *row))).collect();
        let marks: Vec<f64> = both.iter().map(|(mark, _)| *mark).collect();
        let with = |value: fn(&Downstream) -> f64| {
            pearson(&marks, &both.iter().map(|(_, row)| value(row)).collect::<Vec<_>>())
        };
        let (ppo, best_of_n) = (with(|row| row.ppo)?, with(|row| row.best_of_n)?);
        Some((name.to_owned(), DownstreamCorrelation { models: both.len(), ppo, best_of_n }))
    };
    let subset = |name: &&str| of(name, &|row| row.parts.iter().find(|(part, _)| part == name).map(|(_, mark)| *mark));
    let mut all: Vec<_> = reward_bench_2::SUBSETS.iter().filter_map(subset).collect();
    all.extend(of("overall", &|row| Some(row.overall)));
    all
}

/// The [`place`] of a run's overall mark among published ones, with warnings. `overall` (0 to 1) is the mark over
/// `items` items, made under the settings `under`.
pub fn placement(benchmark: &str, items: usize, overall: f64, under: &MadeUnder) -> Option<Placement> {
    let place = place(benchmark, items, overall)?;
    let rows = published(benchmark);
    let mut warnings = Vec::new();
    for (at, (what, own)) in under.facts().into_iter().enumerate() {
        let theirs = || rows.iter().map(|row| row.under.facts()[at].1.clone());
        let unknown = theirs().filter(Option::is_none).count();
        let others = theirs().filter(|fact| fact.is_some() && *fact != own).count();
        let Some(own) = own else {
            warnings.push(format!("This run's {what} is unknown: where it differs from the rows', so may marks."));
            continue;
        };
        let all = rows.len();
        if others > 0 {
            warnings.push(format!("{others} of the {all} rows have another {what} than this run's {own}."));
        }
        if unknown > 0 {
            warnings.push(format!(
                "The {what} of {unknown} of the {all} rows is unknown; this run's is {own}: where they differ, so may marks."
            ));
        }
    }
    Some(Placement { place, warnings })
}

/// The place of an overall mark (0 to 1) over `items` items. `None` where nothing is published, or where `items` is not
/// the benchmark's full number of items: the mark of a sample has no place.
pub fn place(benchmark: &str, items: usize, overall: f64) -> Option<Place> {
    let whole = match benchmark {
        reward_bench_2::NAME => reward_bench_2::ITEMS,
        reward_bench::NAME => reward_bench::ITEMS,
        _ => return None,
    };
    let rows = if items == whole { published(benchmark) } else { &[] };
    let like: Vec<f64> = rows.iter().filter_map(|row| like_a_runs(benchmark, row)).collect();
    let better = like.iter().filter(|mark| **mark > overall).count();
    (!like.is_empty()).then_some(Place { place: better + 1, of: like.len() })
}

/// A row's overall mark, computed as a run computes it. For RewardBench this is the mean of the four sections alone;
/// the leaderboard's own number counts the prior sets too, for models that have them.
fn like_a_runs(benchmark: &str, row: &PublishedRow) -> Option<f64> {
    if benchmark != reward_bench::NAME {
        return Some(row.overall);
    }
    let section = |name: &str| row.parts.iter().find(|(part, _)| part == name).map(|(_, mark)| *mark);
    let sections: Option<Vec<f64>> = reward_bench::SECTIONS.iter().map(|(name, _)| section(name)).collect();
    sections.map(|sections| sections.iter().sum::<f64>() / sections.len() as f64)
}

/// Reads the rows of a leaderboard from CSV. `columns` are the columns of the parts, `names` the parts' names. Rows
/// that cannot be read are left out: the text is compiled into the program, and a test counts its rows.
fn rows(text: &str, columns: &[&str], names: &[&str]) -> Vec<PublishedRow> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let mut rows: Vec<PublishedRow> = Vec::new();
    for record in reader.records().filter_map(Result::ok) {
        let text = |column: &str| {
            let at = headers.iter().position(|header| header == column)?;
            record.get(at).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let number = |column: &str| text(column)?.parse::<f64>().ok();
        let (Some(model), Some(overall)) = (text("model"), number("overall")) else {
            continue;
        };
        let source = text("source").unwrap_or_default();
        // Equal names in one source may be different models, because the leaderboard cuts names short. A name that two
        // sources have is one model.
        if rows.iter().any(|row| row.model == model && row.source != source) {
            continue;
        }
        let parts = columns.iter().zip(names).filter_map(|(column, name)| Some(((*name).to_owned(), number(column)?)));
        rows.push(PublishedRow {
            parts: parts.collect(),
            under: MadeUnder {
                dtype: text("dtype"),
                length_limit: text("max_length").and_then(|tokens| tokens.parse().ok()),
                template: text("chat_template"),
            },
            model_type: text("model_type").unwrap_or_default(),
            source,
            model,
            overall,
        });
    }
    rows.sort_by(|a, b| b.overall.total_cmp(&a.overall));
    rows
}
