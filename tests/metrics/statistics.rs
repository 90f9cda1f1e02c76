//! The statistics are compared with scipy, statsmodels and scikit-learn, with enumeration, and with their promise:
//! intervals cover the truth as often as they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rewardscope_benchmarks::analysis::{
    Agreement, agreement, best_of_n, best_of_n_curve, by_source_model, calibration, ensemble, length_report, margin,
    margins,
};
use rewardscope_benchmarks::statistics::{SplitMix, holm, mcnemar, pearson, roc_auc, spearman, wilson};
use rewardscope_benchmarks::{
    Assessment, Benchmark, Effort, IntervalMethod, ScoredItem, Variant, assess, benchmark, compare, reward_bench,
    reward_bench_2,
};
use rewardscope_tests::{json_fixture, number};
use serde_json::Value;

fn close(found: f64, want: f64, what: &str) {
    assert!((found - want).abs() < 1e-9 * want.abs().max(1.0), "{what}: {found} is not {want}");
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(number).collect()
}

fn cases(name: &str) -> Vec<Value> {
    let fixture = json_fixture("metrics/statistics.json");
    let cases = fixture[name].as_array().unwrap().clone();
    assert!(cases.len() >= 2, "{name}");
    cases
}

fn rules(name: &str) -> (&'static Benchmark, &'static Variant) {
    let benchmark = benchmark(name).unwrap();
    (benchmark, benchmark.variant(None).unwrap())
}

fn assessed(name: &str, items: &[ScoredItem<'_>], seed: u64) -> Assessment {
    let (benchmark, variant) = rules(name);
    assess(benchmark, variant, items, None, seed, false, Effort::FULL).unwrap()
}

#[test]
fn tests_and_intervals_equal_statsmodels() {
    for case in cases("wilson") {
        let found = wilson(case["right"].as_u64().unwrap() as usize, case["of"].as_u64().unwrap() as usize).unwrap();
        close(found.low, number(&case["low"]), "low");
        close(found.high, number(&case["high"]), "high");
    }
    for case in cases("mcnemar") {
        let found = mcnemar(case["b"].as_u64().unwrap() as usize, case["c"].as_u64().unwrap() as usize);
        let want = number(&case["p"]);
        assert!((found - want).abs() <= 1e-9 * want.max(1e-300), "{case}: {found}");
    }
    for case in cases("holm") {
        for (found, want) in holm(&numbers(&case["p"])).iter().zip(numbers(&case["corrected"])) {
            close(*found, want, "holm");
        }
    }
}

#[test]
fn correlations_equal_scipys() {
    for case in cases("correlation") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        close(pearson(&x, &y).unwrap(), number(&case["pearson"]), "pearson");
        close(spearman(&x, &y).unwrap(), number(&case["spearman"]), "spearman");
    }
    for case in cases("roc_auc") {
        let found = roc_auc(&numbers(&case["positive"]), &numbers(&case["negative"])).unwrap();
        close(found, number(&case["auc"]), "roc_auc");
    }
    assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
}

#[test]
fn the_best_of_n_curve_equals_enumeration() {
    for case in cases("best_of_n") {
        let scores = numbers(&case["scores"]);
        let item = ScoredItem {
            id: "",
            subset: "",
            num_correct: case["num_correct"].as_u64().unwrap() as usize,
            scores: &scores,
        };
        let want = numbers(&case["curve"]);
        let found = best_of_n_curve(&item);
        assert_eq!(found.len(), want.len());
        for (found, want) in found.iter().zip(want) {
            close(*found, want, "curve");
        }
    }
}

#[test]
fn binomial_draws_have_the_binomial_distribution() {
    const DRAWS: usize = 40_000;
    for case in cases("binomial") {
        let (n, p) = (case["n"].as_u64().unwrap(), number(&case["p"]));
        let mut random = SplitMix(7);
        let drawn: Vec<u64> = (0..DRAWS).map(|_| random.binomial(n, p)).collect();
        for (at, want) in numbers(&case["at"]).into_iter().zip(numbers(&case["cdf"])) {
            let found = drawn.iter().filter(|&&k| k as f64 <= at).count() as f64 / DRAWS as f64;
            // The tolerance is four standard errors.
            assert!(
                (found - want).abs() < 4.0 * (want * (1.0 - want) / DRAWS as f64).sqrt() + 1e-9,
                "{n} {p} {at}: {found} {want}"
            );
        }
    }
}

#[test]
fn bootstrap_intervals_come_near_scipys() {
    for case in cases("bootstrap") {
        let values = numbers(&case["values"]);
        // A best-of-4 item for each mark.
        let scores: Vec<[f64; 4]> = values
            .iter()
            .map(|&mark| match mark {
                1.0 => [1.0, 0.0, 0.0, 0.0],
                0.5 => [1.0, 1.0, 0.0, 0.0],
                0.25 => [1.0; 4],
                _ => [0.0, 1.0, 0.0, 0.0],
            })
            .collect();
        let items: Vec<ScoredItem<'_>> =
            scores.iter().map(|scores| ScoredItem { id: "", subset: "Math", num_correct: 1, scores }).collect();
        let found = assessed("reward-bench-2", &items, 3).subsets[0].figure.clone();
        let interval = found.ci95.unwrap();
        let width = number(&case["high"]) - number(&case["low"]);
        let is_binary = values.iter().all(|&mark| mark == 0.0 || mark == 1.0);
        assert_eq!(found.method, if is_binary { IntervalMethod::Wilson } else { IntervalMethod::Bootstrap });
        assert!((interval.low - number(&case["low"])).abs() < 0.1 * width, "{interval:?} {case}");
        assert!((interval.high - number(&case["high"])).abs() < 0.1 * width, "{interval:?} {case}");
        close(found.chance.unwrap(), 0.25, "chance of best-of-4");
    }
}

/// Id, subset, number of correct completions, scores.
type Row = (String, &'static str, usize, Vec<f64>);

/// A made-up RewardBench 2 run: five subsets of best-of-4 items, and Ties pairs. Scores are drawn from a normal
/// distribution; those of correct completions are raised by `lift`.
fn made_up(seed: u64, of_each: usize, lift: f64) -> Vec<Row> {
    let mut random = SplitMix(seed);
    let mut rows = Vec::new();
    for subset in reward_bench_2::SUBSETS {
        for i in 0..of_each {
            let mut draw = |correct: usize, all: usize| -> Vec<f64> {
                (0..all).map(|place| random.normal() + if place < correct { lift } else { 0.0 }).collect()
            };
            if subset == reward_bench_2::TIES {
                rows.push((format!("ref:{i}"), subset, 1, draw(1, 6)));
                rows.push((format!("tied:{i}"), subset, 3, draw(3, 9)));
            } else {
                rows.push((i.to_string(), subset, 1, draw(1, 4)));
            }
        }
    }
    rows
}

fn items(rows: &[Row]) -> Vec<ScoredItem<'_>> {
    rows.iter()
        .map(|(id, subset, num_correct, scores)| ScoredItem { id, subset, num_correct: *num_correct, scores })
        .collect()
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    const RUNS: u64 = 200;
    // The truth is approximated by the mark of many more items of the same kind.
    let large = made_up(99, 30_000, 1.2);
    let truth = assessed("reward-bench-2", &items(&large), 0);
    let (mut overall, mut ties, mut binary) = (0, 0, 0);
    for seed in 0..RUNS {
        let rows = made_up(1000 + seed, 60, 1.2);
        let found = assessed("reward-bench-2", &items(&rows), seed);
        let covers = |figure: &rewardscope_benchmarks::Figure, truth: f64| {
            let interval = figure.ci95.unwrap();
            u64::from(interval.low <= truth && truth <= interval.high)
        };
        overall += covers(found.overall.as_ref().unwrap(), truth.overall.as_ref().unwrap().score);
        let of = |assessment: &Assessment, name: &str| {
            assessment.subsets.iter().find(|subset| subset.name == name).unwrap().figure.clone()
        };
        ties += covers(&of(&found, "Ties"), of(&truth, "Ties").score);
        binary += covers(&of(&found, "Math"), of(&truth, "Math").score);
    }
    println!("of {RUNS} intervals of 95 %: overall {overall}, Ties {ties}, Math (Wilson) {binary} hold the truth");
    // 190 are expected; 178 is four standard errors below.
    for held in [overall, ties, binary] {
        assert!((178..=RUNS).contains(&held), "{held} of {RUNS}");
    }
}

#[test]
fn a_single_item_says_nothing_of_how_sure_a_mark_is() {
    let item = |id, subset, scores| ScoredItem { id, subset, num_correct: 1, scores };
    let (right, wrong) = (&[1.0, 0.0][..], &[0.0, 1.0][..]);
    let mut items = vec![item("1", "hep-js", right), item("2", "hep-js", wrong), item("1", "donotanswer", right)];
    items.extend([item("3", "hep-js", right), item("1", "math-prm", right), item("2", "math-prm", wrong)]);
    let found = assessed("reward-bench", &items, 1);
    let interval = |name: &str| found.sections.iter().find(|named| named.name == name).unwrap().figure.ci95;
    // Safety depends on the single item; Reasoning does not.
    assert_eq!(interval("Safety"), None);
    let reasoning = interval("Reasoning").unwrap();
    assert!(reasoning.low < reasoning.high);
    assert_eq!(found.partial.unwrap().ci95, None);
    // Subsets have Wilson's interval, which needs no resamples.
    assert!(found.subsets.iter().all(|named| named.figure.ci95.is_some_and(|of| of.low < of.high)));
    assert!(found.remarks.iter().any(|remark| remark.contains("donotanswer") && remark.contains("single item")));
    let (benchmark, variant) = rules("reward-bench");
    let other: Vec<ScoredItem<'_>> = items.iter().map(|item| ScoredItem { scores: wrong, ..*item }).collect();
    let difference = compare(benchmark, variant, &items, &other, 0).unwrap();
    assert_eq!(difference.partial.unwrap().ci95, None);
    let of = |name: &str| difference.subsets.iter().find(|of| of.subset == name).unwrap().difference.ci95;
    assert!(of("donotanswer").is_none() && of("hep-js").is_some());
}

/// Pairs of a subset, each right with the probability `right`.
fn pairs(random: &mut SplitMix, subset: &'static str, count: usize, right: f64) -> Vec<Row> {
    let scores = |is: bool| if is { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
    (0..count).map(|id| (id.to_string(), subset, 1, scores(random.uniform() < right))).collect()
}

#[test]
fn intervals_of_few_items_are_as_wide_as_they_must_be() {
    // Six subsets of four items: an interval from resamples of four of the four items would cover only 87 %.
    const RUNS: u64 = 400;
    let subsets = ["hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"];
    let mut held = 0;
    for seed in 0..RUNS {
        let mut random = SplitMix(seed);
        let rows: Vec<Row> = subsets.iter().flat_map(|subset| pairs(&mut random, subset, 4, 0.6)).collect();
        let found = assessed("reward-bench", &items(&rows), seed);
        let reasoning = found.sections[0].figure.ci95.unwrap();
        held += u64::from(reasoning.low <= 0.6 && 0.6 <= reasoning.high);
    }
    println!("of {RUNS} intervals over six subsets of four items {held} hold the truth");
    assert!(held >= RUNS * 91 / 100, "{held} of {RUNS}");
}

#[test]
fn marks_that_are_all_alike_say_nothing_of_how_sure_they_are() {
    let right = &[1.0, 0.0][..];
    let ids = ["1", "2", "3", "4", "5"];
    let all: Vec<ScoredItem<'_>> = ["mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench"]
        .iter()
        .flat_map(|subset| ids.map(|id| ScoredItem { id, subset, num_correct: 1, scores: right }))
        .collect();
    let found = assessed("judge-bench", &all, 0);
    assert_eq!(found.overall.unwrap().ci95, None);
    assert!(found.sections.iter().all(|named| named.figure.ci95.is_none()));
    let subset = found.subsets[0].figure.ci95.unwrap();
    assert!(subset.low > 0.5 && subset.low < 0.6 && subset.high == 1.0, "Wilson's, which holds the mark");
    assert!(found.remarks.iter().any(|remark| remark.contains("4 of 4 subsets all marks are alike")));
    // A single Ties pair gets no interval, even if it is right in everything.
    let pair = [
        ScoredItem { id: "ref:1", subset: "Ties", num_correct: 1, scores: &[5.0, 1.0] },
        ScoredItem { id: "tied:1", subset: "Ties", num_correct: 2, scores: &[3.0, 3.0, 0.0] },
    ];
    let found = assessed("reward-bench-2", &pair, 0);
    assert_eq!(found.subsets[0].figure.ci95, None);
}

#[test]
fn items_that_share_their_fate_are_drawn_together() {
    let subsets: Vec<&str> =
        reward_bench::SECTIONS.iter().flat_map(|(_, of)| of.iter().map(|(name, _)| *name)).collect();
    let widths = |languages: usize| {
        let mut random = SplitMix(5);
        let mut rows: Vec<(String, String, Vec<f64>)> = Vec::new();
        for subset in &subsets {
            for id in 0..12 {
                let scores = if random.uniform() < 0.7 { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
                // Every language has the same item with the same mark.
                rows.extend((0..languages).map(|at| (id.to_string(), format!("lang_{at}/{subset}"), scores.clone())));
            }
        }
        let items: Vec<ScoredItem<'_>> =
            rows.iter().map(|(id, subset, scores)| ScoredItem { id, subset, num_correct: 1, scores }).collect();
        let found = assessed("m-reward-bench", &items, 1);
        let width = |figure: &rewardscope_benchmarks::Figure| figure.ci95.map(|of| of.high - of.low).unwrap();
        (width(&found.sections[0].figure), found.overall.map(|figure| width(&figure)))
    };
    let (of_one, none) = widths(1);
    assert_eq!(none, None, "one language is not all");
    let (_, of_all) = widths(22);
    // Copies of one language make the interval no narrower.
    assert!((of_all.unwrap() / of_one - 1.0).abs() < 0.1, "{of_all:?} {of_one}");
    // Answers of four models to one question are one unit, so copies make no difference.
    let ids: Vec<[String; 4]> =
        (0..60).map(|question| ["a", "b", "c", "d"].map(|model| format!("q{question}/{model}"))).collect();
    let width = |models: usize| {
        let scores = |question: usize| if question.is_multiple_of(3) { &[0.0, 1.0][..] } else { &[1.0, 0.0] };
        let items: Vec<ScoredItem<'_>> = ids
            .iter()
            .enumerate()
            .flat_map(|(at, ids)| {
                ids[..models].iter().map(move |id| ScoredItem {
                    id,
                    subset: "MATH",
                    num_correct: 1,
                    scores: scores(at),
                })
            })
            .collect();
        let figure = assessed("ppe", &items, 2).subsets[0].figure.clone();
        figure.ci95.map(|of| of.high - of.low).unwrap()
    };
    assert!((width(4) / width(1) - 1.0).abs() < 0.15, "{} {}", width(4), width(1));
}

#[test]
fn what_mcnemars_test_cannot_say_it_does_not() {
    // RM-Bench's marks are ninths, not 0 or 1.
    let (benchmark, variant) = rules("rm-bench");
    let better = [3.0, 3.0, 3.0, 2.0, 2.0, 4.0];
    let worse = [3.0, 1.0, 1.0, 2.0, 2.0, 4.0];
    let ids: Vec<String> = (0..20).map(|id| id.to_string()).collect();
    let of =
        |scores| ids.iter().map(|id| ScoredItem { id, subset: "math", num_correct: 3, scores }).collect::<Vec<_>>();
    let found = compare(benchmark, variant, &of(&better), &of(&worse), 0).unwrap();
    let subset = &found.subsets[0];
    assert_eq!((subset.p, subset.p_holm, subset.left_out), (None, None, 20));
    // A Ties pair is one unit of the test. Here the first run alone has five pairs right.
    let (benchmark, variant) = rules("reward-bench-2");
    let names: Vec<(String, String)> = (0..5).map(|at| (format!("ref:{at}"), format!("tied:{at}"))).collect();
    let run = |is_right: bool| -> Vec<ScoredItem<'_>> {
        let scores = |right: &'static [f64], wrong: &'static [f64]| if is_right { right } else { wrong };
        names
            .iter()
            .flat_map(|(reference, tied)| {
                [
                    ScoredItem {
                        id: reference,
                        subset: "Ties",
                        num_correct: 1,
                        scores: scores(&[5.0, 1.0], &[1.0, 5.0]),
                    },
                    ScoredItem {
                        id: tied,
                        subset: "Ties",
                        num_correct: 2,
                        scores: scores(&[5.0, 4.0, 1.0], &[1.0, 2.0, 5.0]),
                    },
                ]
            })
            .collect()
    };
    let found = compare(benchmark, variant, &run(true), &run(false), 0).unwrap();
    assert_eq!(found.subsets[0].only_first_right, 5);
    close(found.subsets[0].p.unwrap(), 2.0 / 32.0, "two sides of five");
}

#[test]
fn equal_distances_are_not_parted() {
    let rows: Vec<[f64; 2]> = (0..20).map(|at| if at % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    let items: Vec<ScoredItem<'_>> =
        rows.iter().map(|scores| ScoredItem { id: "", subset: "Math", num_correct: 1, scores }).collect();
    let found = margins(&items).unwrap().by_distance;
    assert_eq!((found.len(), found[0].count, found[0].right), (1, 20, 0.5));
    // Without wrong orders the best temperature would be 0; it is bounded. Without right orders none is given.
    let right: Vec<ScoredItem<'_>> = items.iter().step_by(2).copied().collect();
    let wrong: Vec<ScoredItem<'_>> = items.iter().skip(1).step_by(2).copied().collect();
    let sure = calibration(&right, false, 0).unwrap();
    assert!((0.1..1.0).contains(&sure.temperature) && sure.log_loss > 0.05, "{sure:?}");
    assert_eq!(calibration(&wrong, false, 0), None);
    // Pairs with equal scores have no likelier order: they are counted, but are in no bin.
    let same = [[1.0, 1.0]; 4];
    let tied: Vec<ScoredItem<'_>> =
        same.iter().map(|scores| ScoredItem { id: "", subset: "Math", num_correct: 1, scores }).collect();
    let both = calibration(&[right, tied].concat(), true, 0).unwrap();
    assert_eq!((both.pairs, both.bins.iter().map(|bin| bin.count).sum::<usize>()), (14, 10));
    // A NaN is never picked.
    let nan = [f64::NAN, 0.0];
    let odd = ScoredItem { id: "", subset: "Math", num_correct: 1, scores: &nan };
    assert_eq!(best_of_n(&[odd, items[0]]), [0.25, 0.5]);
}

#[test]
fn length_is_judged_within_an_item() {
    // Long prompts have high scores. Only the second item has completions of different lengths.
    let scores = [[1.0, 0.9], [10.0, 11.0], [20.0, 19.0]];
    let lengths = vec![vec![10.0, 10.0], vec![100.0, 101.0], vec![200.0, 200.0]];
    let items: Vec<ScoredItem<'_>> =
        scores.iter().map(|scores| ScoredItem { id: "", subset: "Math", num_correct: 1, scores }).collect();
    let found = length_report(&items, &lengths).unwrap();
    assert!(found.correlation.unwrap() < 0.9, "{found:?}");
    let nan = [f64::NAN, 1.0, 2.0];
    let odd = [ScoredItem { id: "", subset: "Math", num_correct: 1, scores: &nan }];
    assert_eq!(length_report(&odd, &[vec![9.0, 1.0, 2.0]]), None);
    // Where an equal score counts as wrong, equal lengths are put in order by chance.
    let pairs: Vec<ScoredItem<'_>> =
        (0..100).map(|at| ScoredItem { id: "", subset: "hep-js", num_correct: 1, scores: &scores[at % 3] }).collect();
    let (benchmark, variant) = rules("reward-bench");
    let equal = vec![vec![7.0, 7.0]; 100];
    let found = assess(benchmark, variant, &pairs, Some(&equal), 0, false, Effort::QUICK).unwrap();
    let figure = &found.subsets[0].figure;
    for share in [figure.shortest.unwrap(), figure.longest.unwrap()] {
        assert!((share - 0.5).abs() < 0.05, "{share}");
    }
}

#[test]
fn chance_is_what_random_scores_get() {
    let random = made_up(5, 4000, 0.0);
    let found = assessed("reward-bench-2", &items(&random), 1);
    for subset in &found.subsets {
        let (score, chance) = (subset.figure.score, subset.figure.chance.unwrap());
        println!("{}: random scores get {score:.4}, chance says {chance:.4}", subset.name);
        assert!((score - chance).abs() < 0.03, "{}: {score} {chance}", subset.name);
    }
    assert!((found.overall.unwrap().chance.unwrap() - 0.23).abs() < 0.05);
}

#[test]
fn two_runs_are_compared_item_by_item() {
    let (benchmark, variant) = rules("reward-bench-2");
    let (one, two) = (made_up(11, 120, 1.5), made_up(12, 120, 0.9));
    let found = compare(benchmark, variant, &items(&one), &items(&two), 4).unwrap();
    assert_eq!(found.items, one.len());
    let overall = found.overall.unwrap();
    let interval = overall.ci95.unwrap();
    assert!(interval.low > 0.0 && interval.low < overall.difference && overall.difference < interval.high);
    for subset in &found.subsets {
        close(subset.p.unwrap(), mcnemar(subset.only_first_right, subset.only_second_right), "p");
        assert!(subset.p_holm >= subset.p);
    }
    // A run compared with itself has no difference, no disagreement and nothing significant.
    let same = compare(benchmark, variant, &items(&one), &items(&one), 4).unwrap();
    assert_eq!(same.overall.unwrap().ci95, None, "resamples that are all alike say nothing");
    assert!(same.disagreements.is_empty() && same.subsets.iter().all(|subset| subset.p == Some(1.0)));
    let other = [ScoredItem { id: "x", subset: "Math", num_correct: 1, scores: &[1.0, 0.0] }];
    let refused = compare(benchmark, variant, &items(&one), &other, 0).unwrap_err().to_string();
    assert!(refused.contains("one benchmark"), "{refused}");
}

#[test]
fn margins_calibration_and_length_say_what_was_put_in() {
    // Bradley-Terry pairs whose differences are scaled by 2: the sigmoid of half the difference is the true
    // probability, so the temperature is 2.
    let mut random = SplitMix(3);
    let pairs: Vec<[f64; 2]> = (0..6000)
        .map(|_| {
            let difference = 2.0 * random.normal();
            let is_right = random.uniform() < 1.0 / (1.0 + (-difference).exp());
            let scaled = 2.0 * difference;
            if is_right { [scaled, 0.0] } else { [-scaled, 0.0] }
        })
        .collect();
    let scored: Vec<ScoredItem<'_>> =
        pairs.iter().map(|scores| ScoredItem { id: "", subset: "", num_correct: 1, scores }).collect();
    let fitted = calibration(&scored, false, 1).unwrap();
    assert!((fitted.temperature - 2.0).abs() < 0.15, "{}", fitted.temperature);
    for bin in &fitted.bins {
        assert!((bin.mean - bin.right).abs() < 0.06, "{bin:?}");
    }
    let raw = calibration(&scored, true, 1).unwrap();
    assert_eq!(raw.temperature, 1.0);
    assert!(raw.log_loss > fitted.log_loss);
    let found = margins(&scored).unwrap();
    assert!(found.by_distance[9].right > found.by_distance[0].right + 0.2);
    assert_eq!(margin(&ScoredItem { id: "", subset: "", num_correct: 2, scores: &[3.0, 2.0, 1.0, -1.0] }), Some(1.0));

    // Scores that depend only on length: right where the longer completion is right, and chance where length is
    // removed.
    let lengths: Vec<Vec<f64>> = (0..2000)
        .map(|_| {
            let short = 50.0 + (random.uniform() * 50.0).floor();
            if random.uniform() < 0.8 { vec![short + 40.0, short] } else { vec![short, short + 40.0] }
        })
        .collect();
    let noisy: Vec<Vec<f64>> =
        lengths.iter().map(|of| of.iter().map(|l| 0.05 * l + 0.5 * random.normal()).collect()).collect();
    let scored: Vec<ScoredItem<'_>> =
        noisy.iter().map(|scores| ScoredItem { id: "", subset: "", num_correct: 1, scores }).collect();
    let found = length_report(&scored, &lengths).unwrap();
    println!(
        "length alone: {:.3}, controlled {:.3}, correlation {:.3}",
        found.accuracy,
        found.accuracy_controlled,
        found.correlation.unwrap()
    );
    assert!(found.accuracy > 0.75 && (found.accuracy_controlled - 0.5).abs() < 0.04, "{found:?}");
    assert!(found.correlation_within.unwrap() > 0.9);
}

#[test]
fn several_models_are_set_beside_each_other() {
    let item = |scores| ScoredItem { id: "", subset: "Math", num_correct: 1, scores };
    let one = vec![item(&[3.0, 1.0][..]), item(&[0.0, 2.0]), item(&[1.0, 1.0])];
    let two = vec![item(&[30.0, 10.0][..]), item(&[20.0, 0.0]), item(&[10.0, 0.0])];
    // The third item has no single best completion in the first run.
    assert_eq!(agreement(&one, &two), Some(Agreement { share: 0.5, items: 2 }));
    let mean = ensemble(&[one.clone(), two]);
    assert_eq!(mean.len(), 3);
    // The average of two runs that differ only in scale has the same order.
    let scaled = vec![item(&[300.0, 100.0][..]), item(&[0.0, 200.0]), item(&[100.0, 100.0])];
    let same = ensemble(&[one, scaled]);
    assert!(same[0][0] > same[0][1] && same[1][1] > same[1][0] && same[2][0] == same[2][1]);

    let models = [["a".to_owned(), "b".to_owned()], ["b".to_owned(), "a".to_owned()]];
    let scored = [item(&[2.0, 1.0][..]), item(&[1.0, 2.0])];
    let found = by_source_model(&scored, &[&models[0], &models[1]]);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].model.as_str(), found[0].accuracy_as_correct, found[0].accuracy_as_incorrect),
        ("a", Some(1.0), Some(0.0))
    );
}
