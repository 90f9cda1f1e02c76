//! From the outcomes of all pairs of completions to a score for each of them.

use serde::{Deserialize, Serialize};

use crate::reader::verdict::sigmoid;

/// How the win probabilities of a completion against all others become its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "kebab-case")]
pub enum PairAggregate {
    /// Their mean, 0 to 1.
    #[default]
    WinRate,
    /// The strength of a Bradley-Terry model (Bradley and Terry, 1952) that is fitted to all of them: the difference of
    /// two strengths is the log-odds that the one wins. The strengths of a prompt's completions have the mean 0.
    BradleyTerry,
}

impl PairAggregate {
    /// Its name, as in `--pair-aggregate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::WinRate => "win-rate",
            Self::BradleyTerry => "bradley-terry",
        }
    }
}

/// A completion against another one of the same prompt. Logits favour the completion where they are positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Duel {
    /// The other completion's place among those of the prompt, from 0.
    pub against: usize,
    /// The logit where the completion stands first.
    pub first: f64,
    /// The logit where it stands second.
    pub second: f64,
    /// The probability that it wins: the sigmoid of the mean of the two.
    pub win: f64,
    /// Whether the order of the two decides which one wins.
    pub is_turned: bool,
}

impl Duel {
    fn new(against: usize, first: f64, second: f64) -> Self {
        let is_turned = (first > 0.0) != (second > 0.0);
        Self { against, first, second, win: sigmoid((first + second) / 2.0), is_turned }
    }
}

/// How much a model prefers a place, whatever stands there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct PositionBias {
    /// Pairs that were compared in both orders.
    pub pairs: usize,
    /// How many of them have another winner in the other order.
    pub turned: usize,
    /// The mean logit of the first place; 0 for a model that prefers none.
    pub lean: f64,
}

impl PositionBias {
    /// The bias over the completions of one prompt, from the duels of each; `None` where nothing was compared.
    pub fn of<'a>(completions: impl IntoIterator<Item = &'a [Duel]>) -> Option<Self> {
        // Each pair once.
        let later = |(place, duels): (usize, &'a [Duel])| duels.iter().filter(move |duel| duel.against > place);
        let duels: Vec<&Duel> = completions.into_iter().enumerate().flat_map(later).collect();
        let lean = duels.iter().map(|duel| (duel.first - duel.second) / 2.0).sum::<f64>() / duels.len() as f64;
        let turned = duels.iter().filter(|duel| duel.is_turned).count();
        (!duels.is_empty()).then_some(Self { pairs: duels.len(), turned, lean })
    }

    /// The bias over several prompts.
    pub fn over(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|one, other| {
            let pairs = one.pairs + other.pairs;
            let sum = one.lean * one.pairs as f64 + other.lean * other.pairs as f64;
            Self { pairs, turned: one.turned + other.turned, lean: sum / pairs as f64 }
        })
    }
}

/// The score of each completion and its duels. `logits[i][j]` is that of completion `i` standing first and `j` second;
/// it favours `i` where it is positive.
pub(super) fn standings(logits: &[Vec<f64>], aggregate: PairAggregate) -> Vec<(f64, Vec<Duel>)> {
    let all: Vec<Vec<Duel>> = (0..logits.len())
        .map(|own| {
            let others = (0..logits.len()).filter(|&other| other != own);
            others.map(|other| Duel::new(other, logits[own][other], -logits[other][own])).collect()
        })
        .collect();
    let scores: Vec<f64> = match aggregate {
        PairAggregate::WinRate => {
            all.iter().map(|own| own.iter().map(|duel| duel.win).sum::<f64>() / own.len() as f64).collect()
        }
        PairAggregate::BradleyTerry => strengths(&all),
    };
    scores.into_iter().zip(all).collect()
}

/// Win probabilities nearer to 0 or 1 than this are taken as this: a completion that always wins has no strength.
const LEAST: f64 = 1e-9;
/// Rounds of the fit, and the change of a strength that ends it.
const ROUNDS: usize = 10_000;
const STILL: f64 = 1e-12;

/// The strengths of completions by the algorithm of Hunter (2004, "MM algorithms for generalized Bradley-Terry
/// models", equation 3), each pair counted once with its win probability. Any NaN makes all of them NaN.
fn strengths(all: &[Vec<Duel>]) -> Vec<f64> {
    let win = |duel: &Duel| if duel.win.is_nan() { f64::NAN } else { duel.win.clamp(LEAST, 1.0 - LEAST) };
    let wins: Vec<f64> = all.iter().map(|own| own.iter().map(win).sum()).collect();
    let mut strengths = vec![1.0f64; all.len()];
    for _ in 0..ROUNDS {
        let next = all.iter().zip(&wins).zip(&strengths).map(|((own, wins), strength)| {
            wins / own.iter().map(|duel| 1.0 / (strength + strengths[duel.against])).sum::<f64>()
        });
        let mut next: Vec<f64> = next.collect();
        let mean = next.iter().map(|strength| strength.ln()).sum::<f64>() / next.len() as f64;
        next.iter_mut().for_each(|strength| *strength /= mean.exp());
        let moved = next.iter().zip(&strengths).map(|(new, old)| (new.ln() - old.ln()).abs()).fold(0.0, f64::max);
        strengths = next;
        if moved < STILL {
            break;
        }
    }
    strengths.into_iter().map(f64::ln).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of completions with these strengths, and so much more for the first place.
    fn logits(strengths: &[f64], lean: f64) -> Vec<Vec<f64>> {
        strengths.iter().map(|own| strengths.iter().map(|other| own - other + lean).collect()).collect()
    }

    #[test]
    fn win_rates_are_means_over_both_orders() {
        let found = standings(&logits(&[1.0, 0.0, -1.0], 0.5), PairAggregate::WinRate);
        let rate = |margins: [f64; 2]| margins.map(sigmoid).iter().sum::<f64>() / 2.0;
        let want = [rate([1.0, 2.0]), rate([-1.0, 1.0]), rate([-2.0, -1.0])];
        for ((score, _), want) in found.iter().zip(want) {
            assert!((score - want).abs() < 1e-15, "{score} is not {want}: the place cancels out");
        }
        let duel = found[0].1[0];
        assert_eq!((duel.against, duel.first, duel.second), (1, 1.5, 0.5));
    }

    #[test]
    fn a_bradley_terry_model_finds_the_strengths_that_made_the_outcomes() {
        for strengths in [vec![0.25, -0.25], vec![2.0, 0.5, -1.0, -1.5], vec![0.0; 5]] {
            let found = standings(&logits(&strengths, -0.75), PairAggregate::BradleyTerry);
            for ((score, _), want) in found.iter().zip(&strengths) {
                assert!((score - want).abs() < 1e-9, "{score} is not {want} of {strengths:?}");
            }
        }
        // Certain outcomes have no greatest likelihood; the order stays.
        let certain = standings(&logits(&[900.0, 0.0, -900.0], 0.0), PairAggregate::BradleyTerry);
        assert!(certain.windows(2).all(|pair| pair[0].0 > pair[1].0 && pair[0].0.is_finite()), "{certain:?}");
    }

    #[test]
    fn a_bias_is_the_mean_logit_of_the_first_place() {
        let bias = |strengths: &[f64], lean| {
            let found = standings(&logits(strengths, lean), PairAggregate::WinRate);
            PositionBias::of(found.iter().map(|(_, duels)| duels.as_slice()))
        };
        let one = bias(&[1.0, 0.0, -1.0], 1.5).expect("compared");
        assert_eq!((one.pairs, one.turned, one.lean), (3, 2, 1.5));
        let other = bias(&[1.0, 0.0], -0.5).expect("compared");
        assert_eq!((other.pairs, other.turned, other.lean), (1, 0, -0.5));
        let both = PositionBias::over([one, other]).expect("some");
        assert_eq!((both.pairs, both.turned, both.lean), (4, 2, 1.0));
        assert_eq!(PositionBias::of([[].as_slice()]), None);
        assert_eq!(PositionBias::over([]), None);
    }
}
