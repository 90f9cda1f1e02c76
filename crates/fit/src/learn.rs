//! From pairs with features to a weight: folds by prompt, the strength of the penalty by
//! cross-validation, every pair held out once, and a temperature.

use std::collections::{BTreeMap, HashMap};

use rewardscope_benchmarks::statistics::finalise;
use rewardscope_engine::Cancel;
use rewardscope_engine::device::{now_ms, pause};

use crate::features::{Differences, FeatureCache, Gathered};
use crate::report::{self, Held};
use crate::solve::{Pass, Problem, log_loss, sigmoid};
use crate::{FitError, Report};

/// Parts that prompts are dealt into.
pub const FOLDS: usize = 5;

/// What the penalty may be, strongest first: each is a warm start for the next.
pub const STRENGTHS: [f64; 8] = [10.0, 3.162, 1.0, 0.3162, 0.1, 0.03162, 0.01, 0.001];

/// With fewer different prompts a fold says nothing.
const LEAST_PROMPTS: usize = 2 * FOLDS;

/// Shares of the prompts for the learning curve; all of them are the last point.
const SHARES: [f64; 3] = [0.125, 0.25, 0.5];

/// How near to the solution the weights are, as a share of their norm: for choosing a strength, and
/// for the head itself.
const ROUGH: f64 = 3e-3;
const EXACT: f64 = 1e-7;

/// Bounds of the temperature: where no pair is wrong, colder is always better.
const COLDEST: f64 = 0.01;
const HOTTEST: f64 = 100.0;

/// The worker answers at least this often.
const BREATH_MS: f64 = 50.0;

/// A fitted weight with its report.
#[derive(Debug, Clone)]
pub struct Learned {
    /// `[hidden]`, on the backbone's own scale, temperature included.
    pub weight: Vec<f32>,
    /// The same before the temperature, in full precision.
    pub uncalibrated: Vec<f64>,
    /// What it is worth.
    pub report: Report,
}

/// Passes over the rows with a breath now and then.
struct Passes<'a> {
    rows: Differences<'a>,
    cancel: &'a Cancel,
    breathed: f64,
}

impl Passes<'_> {
    async fn breathe(&mut self) -> Result<(), FitError> {
        self.cancel.check()?;
        if now_ms() - self.breathed > BREATH_MS {
            pause().await;
            self.breathed = now_ms();
        }
        Ok(())
    }

    async fn solve(&mut self, problems: &mut [Problem]) -> Result<(), FitError> {
        while let Some(mut pass) = Pass::begin(problems, self.rows.width()) {
            for block in self.rows.blocks() {
                pass.take(block.start, self.rows.block(block.clone())?.view());
                self.breathe().await?;
            }
            pass.end();
        }
        Ok(())
    }

    /// Each problem's margins of all rows: `[problems][rows]`.
    async fn margins(&mut self, problems: &[Problem]) -> Result<Vec<Vec<f64>>, FitError> {
        let mut margins = vec![Vec::new(); problems.len()];
        for block in self.rows.blocks() {
            let rows = self.rows.block(block)?;
            for (margins, problem) in margins.iter_mut().zip(problems) {
                margins.extend(rows.dot(&ndarray::aview1(problem.weights())));
            }
            self.breathe().await?;
        }
        Ok(margins)
    }
}

/// Deals prompts into folds, as even as can be, by the seed; and gives each prompt a place in a
/// second order, as a share of all.
fn deal(pairs: impl Iterator<Item = u64>, seed: u64) -> HashMap<u64, (usize, f64)> {
    let order = |round: u64, prompts: &[u64]| {
        let mut order: Vec<(u64, u64)> =
            prompts.iter().map(|&prompt| (finalise(prompt ^ finalise(seed.wrapping_mul(2) + round)), prompt)).collect();
        order.sort_unstable();
        order
    };
    let mut prompts: Vec<u64> = pairs.collect();
    prompts.sort_unstable();
    prompts.dedup();
    let mut dealt: HashMap<u64, (usize, f64)> =
        order(0, &prompts).into_iter().enumerate().map(|(i, (_, prompt))| (prompt, (i % FOLDS, 0.0))).collect();
    for (i, (_, prompt)) in order(1, &prompts).into_iter().enumerate() {
        dealt.entry(prompt).and_modify(|entry| entry.1 = i as f64 / prompts.len() as f64);
    }
    dealt
}

/// Fits a head on gathered pairs and reports on it. `progress` gets the share that is done.
///
/// The strength is chosen by the held-out log loss over [`FOLDS`] folds. For the report each fold
/// is held out once from a head whose strength was chosen without it, on the other folds alone, and
/// calibrated by the temperature of the other folds' margins; the head itself is fitted on all pairs
/// and divided by the temperature of all margins. Columns are scaled to a root mean square of 1
/// over all pairs before, which no label has a part in, and the scale goes into the weights after.
///
/// # Errors
/// When there are too few prompts, a feature is no number, or the work is cancelled.
pub async fn learn(
    gathered: &Gathered,
    cache: &FeatureCache,
    seed: u64,
    cancel: &Cancel,
    progress: &mut dyn FnMut(f64),
) -> Result<Learned, FitError> {
    let pairs = &gathered.pairs;
    let dealt = deal(pairs.iter().map(|pair| pair.prompt), seed);
    if dealt.len() < LEAST_PROMPTS {
        return Err(FitError::FewPrompts { file: gathered.name.clone(), least: LEAST_PROMPTS, found: dealt.len() });
    }
    let folds: std::sync::Arc<[usize]> = pairs.iter().map(|pair| dealt[&pair.prompt].0).collect();
    let ranks: std::sync::Arc<[f64]> = pairs.iter().map(|pair| dealt[&pair.prompt].1).collect();
    let mut passes =
        Passes { rows: Differences::new(&gathered.name, cache, pairs, cancel)?, cancel, breathed: now_ms() };
    let width = passes.rows.width();
    // Without `a` and `b`, of the first share of prompts; `a == b` leaves out one fold alone.
    let takes = |a: usize, b: usize, share: f64| {
        let (folds, ranks) = (folds.clone(), ranks.clone());
        move |i: usize| folds[i] != a && folds[i] != b && ranks[i] < share
    };
    let count = |a: usize, b: usize, share: f64| {
        let takes = takes(a, b, share);
        (0..pairs.len()).filter(|&i| takes(i)).count()
    };
    let problem = |a: usize, b: usize, share: f64, strength: f64, tolerance: f64, start: Vec<f64>| {
        let (takes, rows) = (takes(a, b, share), count(a, b, share));
        Problem::new(Box::new(takes), rows, strength, tolerance, start)
    };
    let left_out: Vec<(usize, usize)> = (0..FOLDS).flat_map(|a| (a..FOLDS).map(move |b| (a, b))).collect();
    let mut starts: Vec<Vec<f64>> = vec![vec![0.0; width]; left_out.len()];
    // [strength][fold]: margins of the rows of a fold by the head that was fitted without it.
    let mut single: Vec<Vec<f64>> = Vec::new();
    // (strength, outer fold, inner fold): the log loss over the inner one.
    let mut inner: BTreeMap<(usize, usize, usize), f64> = BTreeMap::new();
    let mut whole_starts = Vec::new();
    for (s, &strength) in STRENGTHS.iter().enumerate() {
        let mut problems: Vec<Problem> = left_out
            .iter()
            .zip(&starts)
            .map(|(&(a, b), start)| problem(a, b, 2.0, strength, ROUGH, start.clone()))
            .collect();
        passes.solve(&mut problems).await?;
        let margins = passes.margins(&problems).await?;
        let mut held = vec![0.0; pairs.len()];
        for (&(a, b), margins) in left_out.iter().zip(&margins) {
            for (i, &margin) in margins.iter().enumerate() {
                if a == b && folds[i] == a {
                    held[i] = margin;
                } else if a != b && (folds[i] == a || folds[i] == b) {
                    let outer = if folds[i] == a { b } else { a };
                    *inner.entry((s, outer, folds[i])).or_default() += log_loss(margin);
                }
            }
        }
        single.push(held);
        starts = problems.iter().map(|problem| problem.weights().to_vec()).collect();
        whole_starts.push(starts[0].clone());
        progress((s + 1) as f64 / (STRENGTHS.len() + 2) as f64);
    }
    let mean_loss =
        |margins: &[f64]| margins.iter().map(|&margin| log_loss(margin)).sum::<f64>() / margins.len().max(1) as f64;
    let losses: Vec<f64> = single.iter().map(|margins| mean_loss(margins)).collect();
    let least = |losses: &[f64]| (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or_default();
    let chosen = least(&losses);
    let chosen_without: Vec<usize> = (0..FOLDS)
        .map(|outer| {
            let of = |s: usize| (0..FOLDS).filter_map(|fold| inner.get(&(s, outer, fold))).sum::<f64>();
            least(&(0..STRENGTHS.len()).map(of).collect::<Vec<_>>())
        })
        .collect();
    let held: Vec<f64> = (0..pairs.len()).map(|i| single[chosen_without[folds[i]]][i]).collect();

    // Pairs fitted on, on average over the folds, with the margins of the rows held out.
    let mut curve: Vec<(f64, Vec<f64>)> = Vec::new();
    let fitted_on = |share: f64| (0..FOLDS).map(|fold| count(fold, fold, share)).sum::<usize>() as f64 / FOLDS as f64;
    let mut fewer: Vec<Problem> = SHARES
        .iter()
        .flat_map(|&share| (0..FOLDS).map(move |fold| (share, fold)))
        // The same penalty in all, though the loss is a mean over fewer.
        .map(|(share, fold)| {
            let fewer = count(fold, fold, 2.0) as f64 / count(fold, fold, share).max(1) as f64;
            problem(fold, fold, share, STRENGTHS[chosen_without[fold]] * fewer, ROUGH, vec![0.0; width])
        })
        .collect();
    passes.solve(&mut fewer).await?;
    let margins = passes.margins(&fewer).await?;
    for (share, margins) in SHARES.iter().zip(margins.chunks_exact(FOLDS)) {
        curve.push((fitted_on(*share), (0..pairs.len()).map(|i| margins[folds[i]][i]).collect()));
    }
    curve.push((fitted_on(2.0), held.clone()));
    progress((STRENGTHS.len() + 1) as f64 / (STRENGTHS.len() + 2) as f64);

    // No fold has this number: all rows count.
    let mut whole = [problem(FOLDS, FOLDS, 2.0, STRENGTHS[chosen], EXACT, whole_starts.swap_remove(chosen))];
    passes.solve(&mut whole).await?;
    let temperature = temperature(&held);
    let uncalibrated: Vec<f64> =
        whole[0].weights().iter().zip(&passes.rows.scale).map(|(w, scale)| w / scale).collect();
    let weight: Vec<f32> = uncalibrated.iter().map(|w| (w / temperature) as f32).collect();
    if weight.iter().any(|w| !w.is_finite()) {
        return Err(FitError::NotFinite { file: gathered.name.clone(), what: "the fitted weight".to_owned() });
    }
    // What is reported of a fold is by the temperature of the others.
    let of_others: Vec<f64> = (0..FOLDS)
        .map(|fold| {
            let others = held.iter().zip(folds.iter()).filter(|(_, own)| **own != fold);
            self::temperature(&others.map(|(&margin, _)| margin).collect::<Vec<f64>>())
        })
        .collect();
    let held: Vec<f64> = held.iter().zip(folds.iter()).map(|(margin, &fold)| margin / of_others[fold]).collect();
    let likelihood_margins = if cache.header().has_likelihood {
        let margin = |pair: &crate::features::Pair| {
            Ok::<f64, FitError>(cache.likelihood(pair.chosen)? - cache.likelihood(pair.rejected)?)
        };
        let margins: Vec<f64> = pairs.iter().map(margin).collect::<Result<_, _>>()?;
        // Features that were prepared without them have none.
        margins.iter().all(|margin| margin.is_finite()).then_some(margins)
    } else {
        None
    };
    let report = report::of(
        gathered,
        cache.header(),
        Held { margins: &held, curve: &curve, likelihood_margins },
        (seed, STRENGTHS[chosen], temperature, STRENGTHS.into_iter().zip(losses).collect()),
        cancel,
    )
    .await?;
    progress(1.0);
    Ok(Learned { weight, uncalibrated, report })
}

/// The temperature that makes `sigmoid(margin / temperature)` the likeliest share of chosen
/// completions (Platt's scaling without a bias, with his target of `(n + 1) / (n + 2)` instead of 1,
/// so that a few pairs without a fault do not make it sure of everything; Platt, 1999): Newton's
/// method on its inverse, in which the loss is convex.
fn temperature(margins: &[f64]) -> f64 {
    let target = (margins.len() + 1) as f64 / (margins.len() + 2) as f64;
    let mut inverse = 1.0;
    for _ in 0..100 {
        let (mut slope, mut bend) = (0.0, 0.0);
        for &margin in margins {
            let p = sigmoid(-inverse * margin);
            slope += margin * (1.0 - target - p);
            bend += margin * margin * p * (1.0 - p);
        }
        // Steps of at most a factor of two: far out the loss bends so little that Newton overshoots.
        let next = if bend > 0.0 { inverse - slope / bend } else { inverse * if slope < 0.0 { 2.0 } else { 0.5 } };
        let next = next.clamp(inverse / 2.0, inverse * 2.0).clamp(1.0 / HOTTEST, 1.0 / COLDEST);
        if (next - inverse).abs() <= 1e-12 * inverse {
            return 1.0 / next;
        }
        inverse = next;
    }
    1.0 / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_dealt_evenly_and_by_the_seed() {
        let prompts = || (0..103u64).map(|i| finalise(i / 2));
        let dealt = deal(prompts(), 7);
        assert_eq!(dealt.len(), 52);
        let mut sizes = [0; FOLDS];
        dealt.values().for_each(|(fold, _)| sizes[*fold] += 1);
        assert!(sizes.iter().all(|&size| (10..=11).contains(&size)), "{sizes:?}");
        assert_eq!(dealt, deal(prompts(), 7));
        assert_ne!(dealt, deal(prompts(), 8));
    }

    #[test]
    fn a_temperature_makes_shares_right() {
        // Margins that claim sigmoid(4) = 98 % and are right in 3 of 4: ln 3 would be right.
        let margins: Vec<f64> = (0..400).map(|i| if i % 4 == 0 { -4.0 } else { 4.0 }).collect();
        let share = (300.0 * 401.0 + 100.0) / 402.0 / 400.0;
        assert!((temperature(&margins) - 4.0 / libm::log(share / (1.0 - share))).abs() < 1e-9);
        // Two pairs without a fault are worth a target of 3 in 4.
        assert!((temperature(&[2.0, 2.0]) - 2.0 / libm::log(3.0)).abs() < 1e-9);
        assert_eq!(temperature(&[-1.0, -2.0]), HOTTEST);
    }
}
