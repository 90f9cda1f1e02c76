//! Fits a weight to pairs with features. Prompts are dealt into folds, cross-validation chooses the strength of the
//! penalty, every pair is held out once, and a temperature calibrates the scores.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rewardscope_benchmarks::statistics::finalise;
use rewardscope_engine::Cancel;
use rewardscope_engine::device::{now_ms, pause};

use crate::features::{Differences, FeatureCache, Gathered};
use crate::report::{self, FOLDS, Held, Settings};
use crate::solve::{Pass, Problem, log_loss, sigmoid};
use crate::{FitError, FitReport};

/// The strengths of the penalty to try, strongest first: each solution is a warm start for the next.
pub const STRENGTHS: [f64; 8] = [10.0, 3.162, 1.0, 0.3162, 0.1, 0.03162, 0.01, 0.001];

/// Fewest different prompts to fit on: with fewer, a fold says nothing.
const LEAST_PROMPTS: usize = 2 * FOLDS;

/// Shares of the prompts for the points of the learning curve; the last point, with all prompts, is not listed here.
const SHARES: [f64; 3] = [0.125, 0.25, 0.5];

/// How near to the solution the weights must be to choose a strength, as a share of their norm.
const ROUGH: f64 = 3e-3;
/// How near to the solution the weights of the head itself must be, as a share of their norm.
const EXACT: f64 = 1e-7;

/// Bounds of the temperature. Where wrong margins outweigh the right ones, hotter is always better.
const COLDEST: f64 = 0.01;
const HOTTEST: f64 = 100.0;

/// Milliseconds of work after which the worker pauses to answer messages.
const BREATH_MS: f64 = 50.0;

/// A fitted weight with its report.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The weight, `[hidden]`, for hidden states on the backbone's own scale, divided by the temperature.
    pub weight: Vec<f32>,
    /// The same before the division, in full precision.
    pub uncalibrated: Vec<f64>,
    /// How good the head is.
    pub report: FitReport,
}

/// Passes over the rows, with pauses in which the worker answers messages.
struct Passes<'a> {
    rows: Differences<'a>,
    cancel: &'a Cancel,
    /// The time of the last pause, in ms.
    breathed: f64,
}

impl Passes<'_> {
    /// Pauses if the last pause was long enough ago; fails if the work was cancelled.
    async fn breathe(&mut self) -> Result<(), FitError> {
        self.cancel.check()?;
        if now_ms() - self.breathed > BREATH_MS {
            pause().await;
            self.breathed = now_ms();
        }
        Ok(())
    }

    /// Solves all problems side by side.
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
            add_margins(&mut margins, &self.rows.block(block)?, problems);
            self.breathe().await?;
        }
        Ok(margins)
    }
}

/// Adds each problem's margins of some rows. Not in an async function: those are compiled where they are awaited, in
/// tests without optimisation.
fn add_margins(margins: &mut [Vec<f64>], rows: &ndarray::Array2<f64>, problems: &[Problem]) {
    for (margins, problem) in margins.iter_mut().zip(problems) {
        margins.extend(rows.dot(&ndarray::aview1(problem.weights())));
    }
}

/// Deals prompts into folds of equal size (plus or minus one) by the seed. Returns for each prompt its fold, and its
/// rank in a second random order, from 0 to 1. `pairs` gives the prompt of each pair.
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

/// The folds of pairs.
#[derive(Clone)]
struct Folds {
    /// The fold that each pair is held out in.
    own: Arc<[usize]>,
    /// The rank of each pair's prompt in a second random order, from 0 to 1; the learning curve takes the first ranks.
    ranks: Arc<[f64]>,
}

/// A share above every rank, which takes all prompts.
const ALL: f64 = 2.0;

impl Folds {
    fn new(gathered: &Gathered, seed: u64) -> Result<Self, FitError> {
        let dealt = deal(gathered.pairs.iter().map(|pair| pair.prompt), seed);
        if dealt.len() < LEAST_PROMPTS {
            return Err(FitError::FewPrompts { file: gathered.name.clone(), least: LEAST_PROMPTS, found: dealt.len() });
        }
        let of = gathered.pairs.iter().map(|pair| dealt[&pair.prompt]);
        Ok(Self { own: of.clone().map(|(fold, _)| fold).collect(), ranks: of.map(|(_, rank)| rank).collect() })
    }

    /// Accepts the rows outside the folds `a` and `b` whose prompts are among the first `share`; `a == b` leaves out
    /// one fold only.
    fn takes(&self, a: usize, b: usize, share: f64) -> impl Fn(usize) -> bool + 'static {
        let Self { own, ranks } = self.clone();
        move |i: usize| own[i] != a && own[i] != b && ranks[i] < share
    }

    /// How many rows [`Self::takes`] accepts.
    fn count(&self, a: usize, b: usize, share: f64) -> usize {
        let takes = self.takes(a, b, share);
        (0..self.own.len()).filter(|&i| takes(i)).count()
    }

    /// The number of pairs fitted on, as a mean over the folds.
    fn fitted_on(&self, share: f64) -> f64 {
        (0..FOLDS).map(|fold| self.count(fold, fold, share)).sum::<usize>() as f64 / FOLDS as f64
    }

    fn problem(&self, (a, b, share): (usize, usize, f64), strength: f64, tolerance: f64, start: Vec<f64>) -> Problem {
        Problem::new(Box::new(self.takes(a, b, share)), self.count(a, b, share), strength, tolerance, start)
    }
}

/// The results of trying every strength.
struct Tried {
    /// For each strength the mean log loss of the held-out pairs, in nats.
    losses: Vec<f64>,
    /// The position in [`STRENGTHS`] of the smallest loss.
    chosen: usize,
    /// For each fold the position of the strength that is chosen without it.
    chosen_without: Vec<usize>,
    /// Margins of all pairs. Each is by the head that was fitted without the pair's fold, with a strength that was
    /// chosen without it.
    held: Vec<f64>,
    /// The weights from which the fit on all pairs starts.
    start: Vec<f64>,
}

/// Fits with every strength, without each fold and without each two folds.
async fn try_strengths(
    passes: &mut Passes<'_>,
    folds: &Folds,
    progress: &mut dyn FnMut(f64),
) -> Result<Tried, FitError> {
    let (pairs, own) = (folds.own.len(), &folds.own);
    let left_out: Vec<(usize, usize)> = (0..FOLDS).flat_map(|a| (a..FOLDS).map(move |b| (a, b))).collect();
    let mut starts: Vec<Vec<f64>> = vec![vec![0.0; passes.rows.width()]; left_out.len()];
    // [strength][pair]: the pair's margin by the head that was fitted without its fold.
    let mut single: Vec<Vec<f64>> = Vec::new();
    // (strength, outer fold, inner fold): the summed log loss of the inner fold by the head fitted without both.
    let mut inner: BTreeMap<(usize, usize, usize), f64> = BTreeMap::new();
    let mut whole_starts = Vec::new();
    for (s, &strength) in STRENGTHS.iter().enumerate() {
        let with_start = left_out.iter().zip(&starts);
        let mut problems: Vec<Problem> =
            with_start.map(|(&(a, b), start)| folds.problem((a, b, ALL), strength, ROUGH, start.clone())).collect();
        passes.solve(&mut problems).await?;
        let margins = passes.margins(&problems).await?;
        let mut held = vec![0.0; pairs];
        for (&(a, b), margins) in left_out.iter().zip(&margins) {
            for (i, &margin) in margins.iter().enumerate() {
                if a == b && own[i] == a {
                    held[i] = margin;
                } else if a != b && (own[i] == a || own[i] == b) {
                    let outer = if own[i] == a { b } else { a };
                    *inner.entry((s, outer, own[i])).or_default() += log_loss(margin);
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
    let without = |outer: usize| {
        let of = |s: usize| (0..FOLDS).filter_map(|fold| inner.get(&(s, outer, fold))).sum::<f64>();
        least(&(0..STRENGTHS.len()).map(of).collect::<Vec<_>>())
    };
    let chosen_without: Vec<usize> = (0..FOLDS).map(without).collect();
    let held = (0..pairs).map(|i| single[chosen_without[own[i]]][i]).collect();
    Ok(Tried { losses, chosen, chosen_without, held, start: whole_starts.swap_remove(chosen) })
}

/// The points of the learning curve: the number of pairs fitted on, as a mean over the folds, with the held-out margins
/// of all rows.
async fn learning_curve(
    passes: &mut Passes<'_>,
    folds: &Folds,
    tried: &Tried,
) -> Result<Vec<(f64, Vec<f64>)>, FitError> {
    let width = passes.rows.width();
    let mut fewer: Vec<Problem> = SHARES
        .iter()
        .flat_map(|&share| (0..FOLDS).map(move |fold| (share, fold)))
        // The loss is a mean over fewer rows here; a larger strength keeps the penalty per row the same.
        .map(|(share, fold)| {
            let fewer = folds.count(fold, fold, ALL) as f64 / folds.count(fold, fold, share).max(1) as f64;
            let strength = STRENGTHS[tried.chosen_without[fold]] * fewer;
            folds.problem((fold, fold, share), strength, ROUGH, vec![0.0; width])
        })
        .collect();
    passes.solve(&mut fewer).await?;
    let margins = passes.margins(&fewer).await?;
    let of = |(share, margins): (&f64, &[Vec<f64>])| {
        let held = folds.own.iter().enumerate().map(|(i, &fold)| margins[fold][i]).collect();
        (folds.fitted_on(*share), held)
    };
    let mut curve: Vec<(f64, Vec<f64>)> = SHARES.iter().zip(margins.chunks_exact(FOLDS)).map(of).collect();
    curve.push((folds.fitted_on(ALL), tried.held.clone()));
    Ok(curve)
}

/// The margins, each divided by the temperature of the other folds' margins.
fn calibrated(held: &[f64], folds: &Folds) -> Vec<f64> {
    let of_others = |fold: usize| {
        let others = held.iter().zip(folds.own.iter()).filter(|(_, own)| **own != fold);
        temperature(&others.map(|(&margin, _)| margin).collect::<Vec<f64>>())
    };
    let of_others: Vec<f64> = (0..FOLDS).map(of_others).collect();
    held.iter().zip(folds.own.iter()).map(|(margin, &fold)| margin / of_others[fold]).collect()
}

/// The margins of the backbone's mean log-probability, in nats; `None` where features were prepared without it.
fn likelihood_margins(gathered: &Gathered, cache: &FeatureCache) -> Result<Option<Vec<f64>>, FitError> {
    if !cache.header().has_likelihood {
        return Ok(None);
    }
    let margin = |pair: &crate::features::Pair| {
        Ok::<f64, FitError>(cache.likelihood(pair.chosen)? - cache.likelihood(pair.rejected)?)
    };
    let margins: Vec<f64> = gathered.pairs.iter().map(margin).collect::<Result<_, _>>()?;
    Ok(margins.iter().all(|margin| margin.is_finite()).then_some(margins))
}

/// Fits a head on gathered pairs and reports on it. `seed` deals prompts into folds and draws resamples; `progress`
/// gets the share of the work that is done, 0 to 1.
///
/// The strength with the smallest held-out log loss over [`FOLDS`] folds is chosen. For the report, each fold is held
/// out once: it is judged by a head that was fitted on the other folds alone, with a strength that was chosen on them
/// alone, and calibrated by the temperature of their margins. The head itself is fitted on all pairs and divided by the
/// temperature of all margins. Before the fit, columns are scaled to a root mean square of 1 over all pairs; this uses
/// no label. After the fit the scale goes into the weights.
///
/// # Errors
/// When there are too few different prompts, a feature is NaN or infinite, or the work is cancelled.
///
/// ```
/// use rewardscope_engine::{Cancel, Pooling};
/// use rewardscope_fit::{FeatureCache, FeaturesHeader, Gathered, Pair, learn};
///
/// # let (backbone, pooling) = ("a hash".to_owned(), Pooling::LastToken);
/// # let header = FeaturesHeader { backbone, layers: 2, pooling, hidden_size: 2, has_likelihood: false };
/// let mut cache = FeatureCache::memory(header);
/// let mut pairs = Vec::new();
/// for prompt in 0..20u32 {
///     // The first of two dimensions is larger in the chosen completion; the second is the same in both.
///     let (chosen, rejected) = (2 * prompt, 2 * prompt + 1);
///     cache.push(chosen.into(), &[1.0, 0.5])?;
///     cache.push(rejected.into(), &[-1.0, 0.5])?;
///     pairs.push(Pair { chosen, rejected, prompt: prompt.into(), subset: None, characters: [10, 10] });
/// }
/// # let (form, overlap, name) = (Default::default(), Default::default(), "pairs.jsonl".to_owned());
/// # let (data_hash, subsets, cut_completions, refused) = (String::new(), Vec::new(), 0, 0);
/// let gathered = Gathered { pairs, name, data_hash, subsets, form, overlap, cut_completions, refused };
/// let learned = pollster::block_on(learn(&gathered, &cache, 0, &Cancel::default(), &mut |_share| {}))?;
/// assert_eq!(learned.report.accuracy.value, 1.0);
/// assert!(learned.weight[0] > 0.0 && learned.weight[1] == 0.0);
/// # Ok::<(), rewardscope_fit::FitError>(())
/// ```
pub async fn learn(
    gathered: &Gathered,
    cache: &FeatureCache,
    seed: u64,
    cancel: &Cancel,
    progress: &mut dyn FnMut(f64),
) -> Result<Learned, FitError> {
    let folds = Folds::new(gathered, seed)?;
    let rows = Differences::new(&gathered.name, cache, &gathered.pairs, cancel)?;
    let mut passes = Passes { rows, cancel, breathed: now_ms() };
    let tried = try_strengths(&mut passes, &folds, progress).await?;
    let curve = learning_curve(&mut passes, &folds, &tried).await?;
    progress((STRENGTHS.len() + 1) as f64 / (STRENGTHS.len() + 2) as f64);

    // No fold has the number `FOLDS`, so all rows count.
    let strength = STRENGTHS[tried.chosen];
    let mut whole = [folds.problem((FOLDS, FOLDS, ALL), strength, EXACT, tried.start)];
    passes.solve(&mut whole).await?;
    let temperature = temperature(&tried.held);
    let uncalibrated: Vec<f64> =
        whole[0].weights().iter().zip(&passes.rows.scale).map(|(w, scale)| w / scale).collect();
    let weight: Vec<f32> = uncalibrated.iter().map(|w| (w / temperature) as f32).collect();
    if weight.iter().any(|w| !w.is_finite()) {
        return Err(FitError::NotFinite { file: gathered.name.clone(), what: "the fitted weight".to_owned() });
    }
    // The report calibrates each fold by the temperature of the others.
    let held = calibrated(&tried.held, &folds);
    let likelihood_margins = likelihood_margins(gathered, cache)?;
    let report = report::of(
        gathered,
        cache.header(),
        Held { margins: &held, curve: &curve, likelihood_margins },
        Settings { seed, strength, temperature, tried: STRENGTHS.into_iter().zip(tried.losses).collect() },
        cancel,
    )
    .await?;
    progress(1.0);
    Ok(Learned { weight, uncalibrated, report })
}

/// The temperature at which `sigmoid(margin / temperature)` best predicts the chosen completions. This is Platt's
/// scaling (1999) without a bias. His target of `(n + 1) / (n + 2)` instead of 1 keeps a few pairs without an error
/// from making the head sure of everything. Solved by Newton's method on the inverse temperature, in which the loss is
/// convex.
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
        // A step changes it at most by a factor of two: far out the curvature is so small that Newton overshoots.
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
        // Margins claim sigmoid(4) = 98 % but are right in 3 of 4, for which a margin of ln 3 would be right.
        let margins: Vec<f64> = (0..400).map(|i| if i % 4 == 0 { -4.0 } else { 4.0 }).collect();
        let share = (300.0 * 401.0 + 100.0) / 402.0 / 400.0;
        assert!((temperature(&margins) - 4.0 / libm::log(share / (1.0 - share))).abs() < 1e-9);
        // Two pairs without an error have a target of 3 in 4.
        assert!((temperature(&[2.0, 2.0]) - 2.0 / libm::log(3.0)).abs() < 1e-9);
        assert_eq!(temperature(&[-1.0, -2.0]), HOTTEST);
    }
}
