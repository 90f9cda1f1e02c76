//! The report on a head: how good it is on pairs while they were held out, compared with ways to choose that need no
//! head.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rewardscope_benchmarks::Marks;
use rewardscope_benchmarks::statistics::{Interval, bootstrap_mean, percentile};
use rewardscope_engine::device::pause;
use rewardscope_engine::{Cancel, Pooling};
use serde::{Deserialize, Serialize};

use crate::features::{FeaturesHeader, Gathered, Pair};
use crate::solve::{log_loss, sigmoid};
use crate::{FitError, FormReport, OverlapReport};

/// Number of bins of the calibration table.
const BINS: usize = 5;

/// The percentiles of margins that are reported, as shares.
const SHARES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// The share of pairs that are right; equal scores count half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Accuracy {
    /// The share, 0 to 1.
    pub value: f64,
    /// Its 95 % interval, by a bootstrap over prompts: pairs of one prompt are drawn together.
    pub interval: Interval,
    /// Number of pairs.
    pub pairs: usize,
}

/// The accuracy on a subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SubsetAccuracy {
    /// The subset's name.
    pub subset: String,
    /// The head's accuracy there.
    pub accuracy: Accuracy,
}

/// A way to choose that needs no head, on the same pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RivalReport {
    /// What it chooses, such as `the longest completion`.
    pub name: String,
    /// Its accuracy, 0 to 1.
    pub accuracy: f64,
    /// The head's accuracy minus this one.
    pub lead: f64,
    /// The lead's 95 % interval, over resamples of prompts.
    pub lead_interval: Interval,
}

/// A point of the learning curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Curve {
    /// Number of pairs that the head was fitted on, as a mean over the folds.
    pub pairs: usize,
    /// Its accuracy on the held-out pairs.
    pub accuracy: Accuracy,
}

/// The pairs for which the head gives its own choice about the same probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct CalibrationBin {
    /// Lower end of the probability.
    pub from: f64,
    /// Upper end of the probability.
    pub to: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// The mean probability that the head gives its choice, 0 to 1.
    pub confidence: f64,
    /// The share of pairs in which its choice is right, 0 to 1.
    pub accuracy: f64,
}

/// The distribution of held-out margins, `score(chosen) - score(rejected)`, in log odds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct FitMargins {
    /// The smallest margin.
    pub least: f64,
    /// The 5th percentile.
    pub p5: f64,
    /// The 25th percentile.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// The 75th percentile.
    pub p75: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The largest margin.
    pub most: f64,
}

/// How the head was fitted: all that is needed to fit it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Training {
    /// The name of the files of preferences, without folders.
    pub data: String,
    /// The files' sha256, in hexadecimal digits.
    pub data_hash: String,
    /// Number of pairs fitted on.
    pub pairs: usize,
    /// Number of different prompts among these pairs.
    pub prompts: usize,
    /// Number of completions whose end the context cut off.
    pub cut_completions: usize,
    /// Number of pairs that the template, the tokenizer or the context refused; they are left out.
    pub refused: usize,
    /// The hash over the backbone's files.
    pub backbone: String,
    /// Number of the backbone's layers that run before the final norm.
    pub layers: usize,
    /// How the hidden states of a completion become the one that is scored.
    pub pooling: Pooling,
    /// Seed of the folds and of all resampling.
    pub seed: u64,
    /// Number of folds that prompts were dealt into.
    pub folds: usize,
    /// The strength of the penalty, for a mean loss and columns scaled to a root mean square of 1.
    pub strength: f64,
    /// The strengths that were tried, each with its held-out log loss in nats.
    pub tried: Vec<(f64, f64)>,
    /// What scores were divided by to make their differences log odds.
    pub temperature: f64,
    /// The program's version.
    pub version: String,
}

/// The marks of one scorer on a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ScorerMarks {
    /// What scores, such as `the head`.
    pub name: String,
    /// Unweighted mean over the subsets that are present; RewardBench 2's overall mark where all six are.
    pub mean: f64,
    /// Its marks.
    pub marks: Marks,
    /// The head's mean minus this one; `None` for the head itself.
    pub lead: Option<f64>,
    /// The lead's 95 % interval, over resamples of items within each subset.
    pub lead_interval: Option<Interval>,
}

/// Marks on a benchmark's items. The head was fitted on none of their prompts unless [`OverlapReport`] counts some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct BenchmarkReport {
    /// The name of the benchmark's rows.
    pub name: String,
    /// Number of items marked.
    pub items: usize,
    /// The head, then the scorers that need no head.
    pub scorers: Vec<ScorerMarks>,
}

/// The report on a fitted head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct FitReport {
    /// How it was fitted.
    pub training: Training,
    /// Counts of what the preferences hold.
    pub form: FormReport,
    /// How many pairs have prompts that the benchmark has.
    pub overlap: OverlapReport,
    /// Held-out accuracy.
    pub accuracy: Accuracy,
    /// Held-out accuracy by subset.
    pub subsets: Vec<SubsetAccuracy>,
    /// Choices that need no head: chance, the longest, the shortest, the backbone's likelihood.
    pub rivals: Vec<RivalReport>,
    /// Held-out accuracy by the number of pairs fitted on.
    pub curve: Vec<Curve>,
    /// Held-out log loss in nats a pair; chance has ln 2 = 0.693.
    pub log_loss: f64,
    /// Held-out Brier score; chance has 0.25.
    pub brier: f64,
    /// Expected calibration error over the bins.
    pub calibration_error: f64,
    /// How often the head is right, by the probability that it gives its own choice.
    pub calibration: Vec<CalibrationBin>,
    /// Held-out margins.
    pub margins: FitMargins,
    /// Marks on a benchmark, where the head was marked on one.
    pub benchmark: Option<BenchmarkReport>,
}

/// Results on pairs while they were held out.
pub(crate) struct Held<'a> {
    /// Calibrated margins.
    pub margins: &'a [f64],
    /// The number of pairs fitted on, with the margins of the heads fitted on that many.
    pub curve: &'a [(f64, Vec<f64>)],
    /// The backbone's own margins of mean log-probability.
    pub likelihood_margins: Option<Vec<f64>>,
}

/// 1 for a right choice, 0 for a wrong one, one half for equal scores.
fn right(margin: f64) -> f64 {
    if margin == 0.0 { 0.5 } else { f64::from(u8::from(margin > 0.0)) }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1);
    values.sum::<f64>() / n as f64
}

/// The positions of each prompt's pairs; only pairs that `takes` accepts.
fn by_prompt(pairs: &[Pair], takes: impl Fn(&Pair) -> bool) -> Vec<Vec<usize>> {
    let mut prompts: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (i, pair) in pairs.iter().enumerate().filter(|(_, pair)| takes(pair)) {
        prompts.entry(pair.prompt).or_default().push(i);
    }
    prompts.into_values().collect()
}

/// The mean of values over pairs, its interval, and the number of pairs; `None` without pairs.
fn interval_of(values: &[f64], prompts: Vec<Vec<usize>>, seed: u64) -> Option<(f64, Interval, usize)> {
    // Resampling needs only the sum and the count of each prompt.
    let sums: Vec<(f64, usize)> = prompts.iter().map(|at| (at.iter().map(|&i| values[i]).sum(), at.len())).collect();
    let total: usize = sums.iter().map(|(_, count)| count).sum();
    let interval = bootstrap_mean(&sums, seed)?;
    Some((sums.iter().map(|(sum, _)| sum).sum::<f64>() / total.max(1) as f64, interval, total))
}

fn accuracy(margins: &[f64], pairs: &[Pair], seed: u64, takes: impl Fn(&Pair) -> bool) -> Option<Accuracy> {
    let rights: Vec<f64> = margins.iter().map(|&margin| right(margin)).collect();
    let (value, interval, pairs) = interval_of(&rights, by_prompt(pairs, takes), seed)?;
    Some(Accuracy { value, interval, pairs })
}

/// Number of folds that prompts are dealt into.
pub const FOLDS: usize = 5;

/// The settings that the head was fitted with.
pub(crate) struct Settings {
    pub seed: u64,
    pub strength: f64,
    pub temperature: f64,
    /// The strengths that were tried, each with its log loss.
    pub tried: Vec<(f64, f64)>,
}

/// Choices that need no head, each with its margins: chance, by length, by the backbone's likelihood.
fn rivals(pairs: &[Pair], likelihood: Option<Vec<f64>>) -> Vec<(&'static str, Vec<f64>)> {
    let longer = |pair: &Pair| f64::from(pair.characters[0]) - f64::from(pair.characters[1]);
    let mut rivals = vec![
        ("chance", vec![0.0; pairs.len()]),
        ("the longest completion", pairs.iter().map(longer).collect()),
        ("the shortest completion", pairs.iter().map(|pair| -longer(pair)).collect::<Vec<f64>>()),
    ];
    rivals.extend(likelihood.map(|margins| ("the backbone's likelihood", margins)));
    rivals
}

/// Compares the head with one of [`rivals`].
fn rival_report(margins: &[f64], pairs: &[Pair], seed: u64, (name, others): (&str, &[f64])) -> Option<RivalReport> {
    let leads: Vec<f64> = margins.iter().zip(others).map(|(&own, &other)| right(own) - right(other)).collect();
    let (lead, lead_interval, _) = interval_of(&leads, by_prompt(pairs, |_| true), seed)?;
    let accuracy = mean(others.iter().map(|&other| right(other)));
    Some(RivalReport { name: name.to_owned(), accuracy, lead, lead_interval })
}

fn training(gathered: &Gathered, header: &FeaturesHeader, settings: Settings) -> Training {
    let Settings { seed, strength, temperature, tried } = settings;
    Training {
        data: gathered.name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned(),
        data_hash: gathered.data_hash.clone(),
        pairs: gathered.pairs.len(),
        prompts: by_prompt(&gathered.pairs, |_| true).len(),
        cut_completions: gathered.cut_completions,
        refused: gathered.refused,
        backbone: header.backbone.clone(),
        layers: header.layers,
        pooling: header.pooling,
        seed,
        folds: FOLDS,
        strength,
        tried,
        temperature,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Makes the report.
pub(crate) async fn of(
    gathered: &Gathered,
    header: &FeaturesHeader,
    held: Held<'_>,
    settings: Settings,
    cancel: &Cancel,
) -> Result<FitReport, FitError> {
    let (pairs, margins, seed) = (&gathered.pairs, held.margins, settings.seed);
    let nothing = Accuracy { value: f64::NAN, interval: Interval { low: f64::NAN, high: f64::NAN }, pairs: 0 };
    let accuracy_of = |margins: &[f64]| accuracy(margins, pairs, seed, |_| true).unwrap_or(nothing);
    // Each of these resamples prompts two thousand times, so the worker pauses between them to answer messages.
    let mut curve = Vec::new();
    for (pairs, margins) in held.curve {
        breathe(cancel).await?;
        curve.push(Curve { pairs: pairs.round() as usize, accuracy: accuracy_of(margins) });
    }
    let mut rival_reports = Vec::new();
    for (name, others) in rivals(pairs, held.likelihood_margins) {
        breathe(cancel).await?;
        rival_reports.extend(rival_report(margins, pairs, seed, (name, &others)));
    }
    let mut subsets = Vec::new();
    for (number, name) in gathered.subsets.iter().enumerate() {
        breathe(cancel).await?;
        let accuracy = accuracy(margins, pairs, seed, |pair| pair.subset == Some(number));
        subsets.extend(accuracy.map(|accuracy| SubsetAccuracy { subset: name.clone(), accuracy }));
    }
    let calibration = calibration(margins);
    let mut sorted = margins.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [least, p5, p25, p50, p75, p95, most] = SHARES.map(|share| percentile(&sorted, share));
    Ok(FitReport {
        training: training(gathered, header, settings),
        form: gathered.form.clone(),
        overlap: gathered.overlap.clone(),
        accuracy: accuracy_of(margins),
        subsets,
        rivals: rival_reports,
        curve,
        log_loss: mean(margins.iter().map(|&margin| log_loss(margin))),
        brier: mean(margins.iter().map(|&margin| sigmoid(-margin) * sigmoid(-margin))),
        calibration_error: calibration
            .iter()
            .map(|bin| (bin.confidence - bin.accuracy).abs() * bin.pairs as f64 / pairs.len().max(1) as f64)
            .sum(),
        calibration,
        margins: FitMargins { least, p5, p25, p50, p75, p95, most },
        benchmark: None,
    })
}

async fn breathe(cancel: &Cancel) -> Result<(), FitError> {
    cancel.check()?;
    pause().await;
    Ok(())
}

/// Bins of equal width of the probability that the head gives its own choice, from one half to one, without empty bins.
fn calibration(margins: &[f64]) -> Vec<CalibrationBin> {
    let mut bins = vec![(0usize, 0.0, 0.0); BINS];
    for &margin in margins {
        let confidence = sigmoid(margin.abs());
        let bin = (((confidence - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1);
        let (pairs, sure, correct) = &mut bins[bin];
        *pairs += 1;
        *sure += confidence;
        *correct += right(margin);
    }
    let edge = |i: usize| 0.5 + 0.5 * i as f64 / BINS as f64;
    let bin = |(i, (pairs, sure, correct)): (usize, (usize, f64, f64))| CalibrationBin {
        from: edge(i),
        to: edge(i + 1),
        pairs,
        confidence: sure / pairs.max(1) as f64,
        accuracy: correct / pairs.max(1) as f64,
    };
    bins.into_iter().enumerate().filter(|(_, (pairs, ..))| *pairs > 0).map(bin).collect()
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn range(interval: &Interval) -> String {
    format!("{:.1} to {:.1} %", 100.0 * interval.low, 100.0 * interval.high)
}

impl FitReport {
    /// The report as Markdown with the heading `title`, for a terminal or a repository.
    pub fn markdown(&self, title: &str) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, title);
        text
    }

    fn write(&self, out: &mut String, title: &str) -> std::fmt::Result {
        let t = &self.training;
        writeln!(out, "# {title}\n")?;
        writeln!(
            out,
            "A linear reward head, fitted on {} preference pairs over {} prompts ({}, sha256 {}). Backbone {}, {} layers, {}; seed {}, penalty {}, temperature {:.4}; rewardscope {}.\n",
            t.pairs,
            t.prompts,
            t.data,
            t.data_hash,
            t.backbone.chars().take(12).collect::<String>(),
            t.layers,
            match t.pooling {
                Pooling::LastToken => "last token",
                Pooling::CompletionMean => "mean over the completion",
            },
            t.seed,
            t.strength,
            t.temperature,
            t.version
        )?;
        self.write_form(out)?;
        self.write_held_out(out)?;
        self.write_calibration(out)?;
        self.write_benchmark(out)
    }

    fn write_form(&self, out: &mut String) -> std::fmt::Result {
        let (f, t) = (&self.form, &self.training);
        writeln!(
            out,
            "The file: {} rows, {} of them no preference; of {} pairs {} with an empty completion, {} identical, {} duplicates, {} contradictory; {} kept{}. The chosen completion is the longer one in {} (mean {:.0} characters against {:.0}).{} {} completions were cut at the context's end.\n",
            f.rows,
            f.unreadable,
            f.pairs,
            f.empty,
            f.identical,
            f.duplicates,
            f.contradictory,
            f.kept,
            if t.refused > 0 {
                format!(", {} refused by the model's template or context", t.refused)
            } else {
                String::new()
            },
            percent(f.chosen_longer),
            f.chosen_characters,
            f.rejected_characters,
            if f.is_skewed() { " That is a length skew: a head can score well by length alone." } else { "" },
            t.cut_completions
        )?;
        let o = &self.overlap;
        writeln!(
            out,
            "Prompts shared with {} ({} prompts): {} pairs exactly, {} but for case and punctuation, {} by half of its 8-grams; {} of its prompts are touched; such pairs were {}.\n",
            o.benchmark,
            o.benchmark_prompts,
            o.exact,
            o.normalised,
            o.contained,
            o.benchmark_prompts_touched,
            match o.rule {
                crate::OverlapRule::Keep => "kept",
                crate::OverlapRule::Drop => "dropped",
            }
        )?;
        Ok(())
    }

    fn write_held_out(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## On pairs held out ({} folds by prompt)\n", self.training.folds)?;
        writeln!(out, "| | pairs | accuracy | 95 % interval |\n|---|---|---|---|")?;
        let mut line = |name: &str, a: &Accuracy| {
            writeln!(out, "| {name} | {} | {} | {} |", a.pairs, percent(a.value), range(&a.interval))
        };
        line("the head", &self.accuracy)?;
        for subset in &self.subsets {
            line(&format!("– {}", subset.subset), &subset.accuracy)?;
        }
        writeln!(out, "\n| instead of the head | accuracy | the head's lead | 95 % interval |\n|---|---|---|---|")?;
        for r in &self.rivals {
            let (accuracy, lead) = (percent(r.accuracy), percent(r.lead));
            writeln!(out, "| {} | {accuracy} | {lead} | {} |", r.name, range(&r.lead_interval))?;
        }
        writeln!(out, "\n| fitted on pairs | accuracy held out | 95 % interval |\n|---|---|---|")?;
        for point in &self.curve {
            let a = &point.accuracy;
            writeln!(out, "| {} | {} | {} |", point.pairs, percent(a.value), range(&a.interval))?;
        }
        Ok(())
    }

    fn write_calibration(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\nLog loss {:.4} nats (chance 0.6931), Brier score {:.4} (chance 0.25), expected calibration error {:.4}.\n",
            self.log_loss, self.brier, self.calibration_error
        )?;
        writeln!(out, "| the head's probability | pairs | mean | right |\n|---|---|---|---|")?;
        for bin in &self.calibration {
            let (from, to) = (percent(bin.from), percent(bin.to));
            let (sure, right) = (percent(bin.confidence), percent(bin.accuracy));
            writeln!(out, "| {from} to {to} | {} | {sure} | {right} |", bin.pairs)?;
        }
        let m = &self.margins;
        writeln!(
            out,
            "\nMargins: least {:.2}, 5th percentile {:.2}, 25th {:.2}, median {:.2}, 75th {:.2}, 95th {:.2}, largest {:.2}.",
            m.least, m.p5, m.p25, m.p50, m.p75, m.p95, m.most
        )
    }

    fn write_benchmark(&self, out: &mut String) -> std::fmt::Result {
        if let Some(benchmark) = &self.benchmark {
            writeln!(out, "\n## On {} ({} items)\n", benchmark.name, benchmark.items)?;
            let names = benchmark.scorers.first().map(|s| s.marks.subsets.iter().map(|m| m.subset.as_str()).collect());
            let names: Vec<&str> = names.unwrap_or_default();
            writeln!(out, "| | {} | mean | the head's lead | 95 % interval |", names.join(" | "))?;
            writeln!(out, "|---|{}---|---|---|", "---|".repeat(names.len()))?;
            for s in &benchmark.scorers {
                let marks: Vec<String> = s.marks.subsets.iter().map(|mark| percent(mark.score)).collect();
                let lead = s.lead.map(percent).unwrap_or_default();
                let interval = s.lead_interval.as_ref().map(range).unwrap_or_default();
                writeln!(out, "| {} | {} | {} | {lead} | {interval} |", s.name, marks.join(" | "), percent(s.mean))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_counts_its_own_choice() {
        // Sure of 0.95 and right in one of two; undecided on one.
        let sure = libm::log(19.0);
        let bins = calibration(&[sure, -sure, 0.0]);
        assert_eq!(bins.iter().map(|bin| bin.pairs).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((bins[0].confidence, bins[0].accuracy), (0.5, 0.5));
        assert!((bins[1].confidence - 0.95).abs() < 1e-12 && bins[1].accuracy == 0.5);
        assert!((bins[1].from - 0.9).abs() < 1e-12 && (bins[1].to - 1.0).abs() < 1e-12);
    }
}
