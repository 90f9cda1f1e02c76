//! The marks of the head on a benchmark's items, compared with scorers that need no head.

use std::collections::{BTreeMap, HashMap};

use rewardscope_benchmarks::reward_bench_2::{self, TIES, TiesKind, parse_ties_id, ties_pair};
use rewardscope_benchmarks::statistics::bootstrap;
use rewardscope_benchmarks::{Item, MarkError, Marks, ScoredItem};
use rewardscope_engine::{Cancel, EngineError, Message, Scorer};

use crate::features::FeatureCache;
use crate::report::ScorerMarks;
use crate::{BenchmarkReport, FitError};

/// One scorer's scores: `[items][completions]`.
type Scores = Vec<Vec<f64>>;

/// Marks the head (a `weight` of shape `[hidden]`), the completions' lengths and the backbone's likelihood on items, by
/// the rules of RewardBench 2. Items that the template or the context refuses are left out for all scorers; `None`
/// where no item is left. `name` is the name of the items' file; `progress` gets the number of items done.
///
/// # Errors
/// When the device fails, an item cannot be marked, or the work is cancelled.
pub async fn marks_on(
    scorer: &Scorer,
    (name, items): (&str, &[Item]),
    weight: &[f32],
    cache: &mut FeatureCache,
    seed: u64,
    cancel: &Cancel,
    progress: &mut dyn FnMut(usize),
) -> Result<Option<BenchmarkReport>, FitError> {
    let mut kept: Vec<&Item> = Vec::new();
    let mut by_scorer: [Scores; 4] = Default::default();
    for (done, item) in items.iter().enumerate() {
        let prompt = [Message::new("user", item.prompt.as_str())];
        let sequences = match scorer.tokenize(&prompt, item.completions.iter().map(String::as_str)) {
            Ok(sequences) => sequences,
            Err(EngineError::Text(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let places = match cache.have(scorer, &sequences, cancel).await {
            Ok(places) => places,
            Err(FitError::Engine(EngineError::NothingToScore { .. } | EngineError::OutOfVocabulary { .. })) => continue,
            Err(error) => return Err(error),
        };
        let (mut head, mut likelihood) = (Vec::new(), Vec::new());
        for &place in &places {
            let state = cache.state(place)?;
            head.push(state.iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum());
            likelihood.push(cache.likelihood(place)?);
        }
        let lengths: Vec<f64> = item.completions.iter().map(|text| text.chars().count() as f64).collect();
        by_scorer[0].push(head);
        by_scorer[1].push(lengths.clone());
        by_scorer[2].push(lengths.iter().map(|length| -length).collect());
        by_scorer[3].push(likelihood);
        kept.push(item);
        progress(done + 1);
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let names = ["the head", "the longest completion", "the shortest completion", "the backbone's likelihood"];
    let has_likelihood = by_scorer[3].iter().flatten().all(|score| score.is_finite());
    let groups = units(&kept);
    let whole: Vec<usize> = (0..kept.len()).collect();
    let mut scorers: Vec<ScorerMarks> = Vec::new();
    let head_mean = |at: &[usize]| mean(&kept, &by_scorer[0], at);
    for (name, scores) in names.into_iter().zip(&by_scorer) {
        if name == names[3] && !has_likelihood {
            continue;
        }
        let marks = marked(&kept, scores, &whole).map_err(|error| FitError::Marks { reason: error.to_string() })?;
        let own = mean_of(&marks);
        let is_head = scorers.is_empty();
        let lead = |at: &[usize]| head_mean(at) - mean(&kept, scores, at);
        scorers.push(ScorerMarks {
            name: name.to_owned(),
            mean: own,
            lead: (!is_head).then(|| head_mean(&whole) - own),
            lead_interval: if is_head { None } else { bootstrap(&groups, seed, lead) },
            marks,
        });
    }
    Ok(Some(BenchmarkReport { name: name.to_owned(), items: kept.len(), scorers }))
}

/// The units of each subset that are resampled: an item, or both items of a Ties pair.
fn units(items: &[&Item]) -> Vec<Vec<Vec<usize>>> {
    let mut subsets: BTreeMap<&str, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let unit = match ties_pair(item) {
            Some(number) => format!("pair {number}"),
            None => format!("item {i}"),
        };
        subsets.entry(&item.subset).or_default().entry(unit).or_default().push(i);
    }
    subsets.into_values().map(|units| units.into_values().collect()).collect()
}

/// The overall mark; the mean of the subsets that are present where there is none.
fn mean_of(marks: &Marks) -> f64 {
    marks
        .overall
        .unwrap_or_else(|| marks.subsets.iter().map(|mark| mark.score).sum::<f64>() / marks.subsets.len().max(1) as f64)
}

/// The mean mark of a resample. It has items of every subset, and all of them were marked before, so marking cannot
/// fail.
fn mean(items: &[&Item], scores: &Scores, at: &[usize]) -> f64 {
    marked(items, scores, at).map(|marks| mean_of(&marks)).unwrap_or(f64::NAN)
}

/// The marks of a resample. A Ties pair that is drawn again gets another number and counts as another pair.
fn marked(items: &[&Item], scores: &Scores, at: &[usize]) -> Result<Marks, MarkError> {
    const AGAIN: u64 = 1 << 40;
    let mut drawn: HashMap<usize, u64> = HashMap::new();
    let ids: Vec<Option<String>> = at
        .iter()
        .map(|&i| {
            if items[i].subset != TIES {
                return None;
            }
            let time = drawn.entry(i).or_default();
            *time += 1;
            let (kind, number) = parse_ties_id(&items[i].id)?;
            let kind = match kind {
                TiesKind::Ref => "ref",
                TiesKind::Tied => "tied",
            };
            (*time > 1).then(|| format!("{kind}:{}", number % AGAIN + (*time - 1) * AGAIN))
        })
        .collect();
    let scored: Vec<ScoredItem<'_>> = at
        .iter()
        .zip(&ids)
        .map(|(&i, id)| ScoredItem {
            id: id.as_deref().unwrap_or(&items[i].id),
            subset: &items[i].subset,
            num_correct: items[i].num_correct,
            scores: &scores[i],
        })
        .collect();
    reward_bench_2::marks(&scored)
}
