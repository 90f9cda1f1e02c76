//! The statistics against scipy, statsmodels and scikit-learn, against enumeration, and against
//! what they promise: intervals cover the truth as often as they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rewardscope_benchmarks::analysis::{
    agreement, best_of_n_curve, by_source_model, calibration, ensemble, length_report, margin, margins,
};
use rewardscope_benchmarks::statistics::{SplitMix, holm, mcnemar, pearson, roc_auc, spearman, wilson};
use rewardscope_benchmarks::{
    Assessment, Benchmark, Effort, IntervalMethod, ScoredItem, Variant, assess, benchmark, compare, reward_bench_2,
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
            // Four standard errors.
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
        // A best-of-4 item with each of the marks.
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

/// Id, subset, correct completions, scores.
type Row = (String, &'static str, usize, Vec<f64>);

/// A made-up RewardBench 2 run: five subsets of best-of-4 and Ties pairs, all scores normal, the
/// correct ones moved up.
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
    // The truth is the mark of far more items of the same kind.
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
    // 190 expected; 178 is four standard errors below.
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
    // Safety is made of the one item; Reasoning is not.
    assert_eq!(interval("Safety"), None);
    let reasoning = interval("Reasoning").unwrap();
    assert!(reasoning.low < reasoning.high);
    assert_eq!(found.partial.unwrap().ci95, None);
    // Wilson's needs no resamples.
    assert!(found.subsets.iter().all(|named| named.figure.ci95.is_some_and(|of| of.low < of.high)));
    assert!(found.remarks.iter().any(|remark| remark.contains("donotanswer") && remark.contains("single item")));
    let (benchmark, variant) = rules("reward-bench");
    let other: Vec<ScoredItem<'_>> = items.iter().map(|item| ScoredItem { scores: wrong, ..*item }).collect();
    let difference = compare(benchmark, variant, &items, &other, 0).unwrap();
    assert_eq!(difference.partial.unwrap().ci95, None);
    let of = |name: &str| difference.subsets.iter().find(|of| of.subset == name).unwrap().difference.ci95;
    assert!(of("donotanswer").is_none() && of("hep-js").is_some());
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
        close(subset.p, mcnemar(subset.only_first_right, subset.only_second_right), "p");
        assert!(subset.p_holm >= subset.p);
    }
    // A run beside itself: no difference, no disagreement, nothing significant.
    let same = compare(benchmark, variant, &items(&one), &items(&one), 4).unwrap();
    assert_eq!(same.overall.unwrap().ci95.map(|i| (i.low, i.high)), Some((0.0, 0.0)));
    assert!(same.disagreements.is_empty() && same.subsets.iter().all(|subset| subset.p == 1.0));
    let other = [ScoredItem { id: "x", subset: "Math", num_correct: 1, scores: &[1.0, 0.0] }];
    let refused = compare(benchmark, variant, &items(&one), &other, 0).unwrap_err().to_string();
    assert!(refused.contains("one benchmark"), "{refused}");
}

#[test]
fn margins_calibration_and_length_say_what_was_put_in() {
    // True Bradley-Terry pairs at temperature 2: the difference is scaled by 2, the sigmoid of half of it is the truth.
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

    // A scorer that is length and nothing else: right where the longer is right, and no more than chance without it.
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
    // The third has no single best for the first model.
    assert_eq!(agreement(&one, &two), Some(0.5));
    let mean = ensemble(&[one.clone(), two]);
    assert_eq!(mean.len(), 3);
    // Two runs that are the same but for scale have an average in the same order.
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
