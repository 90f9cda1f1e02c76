//! The other benchmarks' marks are compared with the values of their reference evaluators, to 1e-9, and the published
//! figures are checked for consistency.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rewardscope_benchmarks::published::{
    Downstream, MadeUnder, downstream, downstream_correlation, downstream_correlations_by_subset, place, placement,
    published,
};
use rewardscope_benchmarks::reward_bench::{self, Counts, leaderboard_average, prior_sets, section_scores};
use rewardscope_benchmarks::{BENCHMARKS, MarkError, Marks, ScoredItem, benchmark, marks, reward_bench_2};
use rewardscope_tests::{json_fixture, number};
use serde_json::Value;

fn close(found: f64, want: f64, what: &str) {
    assert!((found - want).abs() < 1e-9, "{what}: {found} is not {want}");
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(number).collect()
}

fn marked(name: &str, variant: Option<&str>, items: &[ScoredItem<'_>]) -> Result<Marks, MarkError> {
    let benchmark = benchmark(name).unwrap();
    marks(benchmark, benchmark.variant(variant).unwrap(), items)
}

fn section(marks: &Marks, name: &str) -> f64 {
    marks.sections.iter().find(|mark| mark.section == name).unwrap().score
}

#[test]
fn reward_bench_sections_equal_the_references() {
    let fixture = json_fixture("metrics/rb1_sections.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let found = section_scores(Counts::Current, |subset| case["metrics"].get(subset).map(number));
        for (name, score) in found {
            close(score, number(&case["expected"][name]), name);
        }
    }
    let boards = fixture["leaderboard"].as_array().unwrap();
    assert_eq!(boards.len(), 2);
    for board in boards {
        let section = |name: &str| board["sections"].get(name).map(number);
        let sections = ["Chat", "Chat Hard", "Safety", "Reasoning"].map(section);
        let priors = prior_sets(|set| board["prior_sets"].get(set).map(number));
        assert_eq!(priors.is_some(), !board["prior_sets"].is_null());
        close(leaderboard_average(sections, priors).unwrap(), number(&board["expected"]), "leaderboard");
    }
    // The counts and the mapping of subsets to sections are the reference's.
    let mut seen = 0;
    for (name, subsets) in reward_bench::SECTIONS {
        let want: Vec<&str> =
            fixture["subset_mapping"][name].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(subsets.iter().map(|(subset, _)| *subset).collect::<Vec<_>>(), want);
        for (subset, count) in subsets {
            assert_eq!(fixture["example_counts"][subset], *count, "{subset}");
            seen += 1;
        }
    }
    assert_eq!(seen, 23);
}

#[test]
fn the_worked_examples_four_published_sections_come_out() {
    let fixture = json_fixture("metrics/rb1_worked_example.json");
    let published = fixture["published_section_scores"].as_object().unwrap();
    assert_eq!(published.len(), 4);
    let found = section_scores(Counts::Current, |subset| fixture["per_subset"].get(subset).map(number));
    for (name, score) in found {
        close(score, number(&published[name]), name);
    }
    // Marks from scores: as many pairs are right as the published shares say, rounded to whole items.
    let counts = fixture["example_counts"].as_object().unwrap();
    let mut rows: Vec<(String, String, [f64; 2])> = Vec::new();
    for (subset, count) in counts {
        // The reference weighs math-prm as 984 items, but it has 447 rows.
        let count = if subset == "math-prm" { 447 } else { count.as_u64().unwrap() };
        let right = (number(&fixture["per_subset"][subset]) * count as f64).round() as u64;
        rows.extend((0..count).map(|i| {
            let scores = if i < right { [1.0, 0.0] } else { [0.0, 0.0] };
            (i.to_string(), subset.clone(), scores)
        }));
    }
    let items: Vec<ScoredItem<'_>> =
        rows.iter().map(|(id, subset, scores)| ScoredItem { id, subset, num_correct: 1, scores }).collect();
    let current = marked("reward-bench", None, &items).unwrap();
    assert_eq!(current.subsets.len(), 23);
    for (name, score) in published {
        close(section(&current, name), number(score), name);
    }
    let mean = published.values().map(number).sum::<f64>() / 4.0;
    close(current.overall.unwrap(), mean, "overall without prior sets");
    // The variant with the two counts exchanged changes Safety and no other section.
    let before = marked("reward-bench", Some("before-pr-175"), &items).unwrap();
    assert!((section(&before, "Safety") - section(&current, "Safety")).abs() > 1e-3);
    close(section(&before, "Chat"), section(&current, "Chat"), "Chat");
    // Without one of the subsets there is no overall mark, only a partial one.
    let less: Vec<ScoredItem<'_>> = items.iter().filter(|item| item.subset != "hep-js").copied().collect();
    let less = marked("reward-bench", None, &less).unwrap();
    assert_eq!(less.overall, None);
    assert!(less.partial.is_some());
}

#[test]
fn rm_benchs_difficulties_equal_the_references() {
    let fixture = json_fixture("metrics/rmbench.json");
    let marked_rows = |rows: &Value, domain: Option<&str>| {
        let rows: Vec<(String, String, Vec<f64>)> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let scores = [numbers(&row["score_chosen"]), numbers(&row["score_rejected"])].concat();
                let domain = domain.unwrap_or_else(|| row["domain"].as_str().unwrap());
                (row["id"].as_str().unwrap().to_owned(), domain.to_owned(), scores)
            })
            .collect();
        let items: Vec<ScoredItem<'_>> =
            rows.iter().map(|(id, subset, scores)| ScoredItem { id, subset, num_correct: 3, scores }).collect();
        marked("rm-bench", None, &items).unwrap()
    };
    let all = marked_rows(&fixture["rows"], None);
    let want = &fixture["expected"];
    for difficulty in ["hard", "normal", "easy"] {
        close(section(&all, difficulty), number(&want[format!("{difficulty}_acc")]), difficulty);
    }
    assert_eq!(all.subsets.len(), 4);
    for subset in &all.subsets {
        close(subset.score, number(&want[&subset.subset]), &subset.subset);
    }
    close(all.overall.unwrap(), number(&want["total_avg_acc"]), "overall");
    let single = marked_rows(&fixture["single_domain"]["rows"], Some("chat"));
    for difficulty in ["hard", "normal", "easy"] {
        let want = number(&fixture["single_domain"]["expected"][format!("{difficulty}_acc")]);
        close(section(&single, difficulty), want, difficulty);
    }
    assert_eq!(single.overall, None);
}

#[test]
fn both_published_variants_of_the_ties_margin_are_there() {
    let item = |id, num_correct, scores| ScoredItem { id, subset: "Ties", num_correct, scores };
    // The correct scores of pair 0 have no spread. The package leaves it out of the margin part, the repository gives
    // it 1.
    let items = [
        item("ref:0", 1, &[5.0, 1.0][..]),
        item("tied:0", 2, &[5.0, 5.0, 1.0]),
        item("ref:1", 1, &[3.0, 1.0]),
        item("tied:1", 2, &[3.0, 2.0, 0.0]),
    ];
    let margin = |variant| {
        let marks = marked("reward-bench-2", Some(variant), &items).unwrap();
        marks.subsets[0].ties.clone().unwrap().correctness_margin_score
    };
    let second = 1.0f64.tanh();
    close(margin("repository"), (1.0 + second) / 2.0, "repository");
    close(margin("package-0.1.4"), second, "package");
}

#[test]
fn papers_definitions_are_followed_where_no_evaluators_values_are_at_hand() {
    let item = |id, subset, num_correct, scores| ScoredItem { id, subset, num_correct, scores };
    let rmb = marked(
        "rmb",
        None,
        &[
            item("1", "BoN_set/Helpfulness/Chat/Discussion", 1, &[2.0, 1.0, 0.0][..]),
            item("2", "BoN_set/Helpfulness/Chat/Discussion", 1, &[2.0, 2.0, 0.0]),
            item("3", "Pairwise_set/Helpfulness/Code/Documentation", 1, &[2.0, 1.0]),
            item("4", "BoN_set/Harmlessness/S1", 1, &[1.0, 2.0]),
            item("5", "Pairwise_set/Harmlessness/S1", 1, &[2.0, 1.0]),
        ],
    )
    .unwrap();
    close(section(&rmb, "Helpfulness, best-of-N"), 0.5, "a shared maximum does not beat every loser");
    close(rmb.overall.unwrap(), (0.5 + 1.0 + 0.0 + 1.0) / 4.0, "four sections alike");

    let judge = marked(
        "judge-bench",
        None,
        &[
            item("1", "mmlu-pro-law", 1, &[2.0, 1.0][..]),
            item("2", "mmlu-pro-math", 1, &[1.0, 2.0]),
            item("3", "livebench-reasoning", 1, &[2.0, 1.0]),
            item("4", "livebench-math", 1, &[2.0, 1.0]),
            item("5", "livecodebench", 1, &[0.0, 1.0]),
        ],
    )
    .unwrap();
    close(section(&judge, "Knowledge"), 0.5, "both mmlu sources");
    close(judge.overall.unwrap(), 3.0 / 5.0, "over all pairs");

    let ppe = marked("ppe", None, &[item("1", "math", 2, &[3.0, 1.0, 2.0, 1.0][..])]).unwrap();
    close(ppe.subsets[0].score, (1.0 + 1.0 + 0.0 + 0.5) / 4.0, "pairs, a shared score one half");
    assert_eq!(ppe.overall, None, "one of five sets");
    let sets = ["mmlu_pro", "math", "gpqa", "PPE-MBPP-Plus-Best-of-K", "ifeval"];
    let scores = |at: usize| if at < 2 { &[1.0, 0.0][..] } else { &[0.0, 1.0] };
    let five: Vec<ScoredItem<'_>> =
        sets.iter().enumerate().map(|(at, subset)| item("1", subset, 1, scores(at))).collect();
    close(marked("ppe", None, &five).unwrap().overall.unwrap(), 2.0 / 5.0, "five sets alike");

    let all: Vec<String> =
        reward_bench::SECTIONS.iter().flat_map(|(_, s)| s.iter().map(|(n, _)| (*n).to_owned())).collect();
    let named = |language: &str| all.iter().map(|subset| format!("{language}/{subset}")).collect::<Vec<_>>();
    let (german, english) = (named("deu_Latn"), named("eng_Latn"));
    let items: Vec<ScoredItem<'_>> = german
        .iter()
        .map(|subset| item("1", subset, 1, if subset.contains("hep-") { &[1.0, 0.0][..] } else { &[0.0, 1.0] }))
        .chain(english.iter().map(|subset| item("1", subset, 1, &[1.0, 0.0])))
        .collect();
    let multilingual = marked("m-reward-bench", None, &items).unwrap();
    // The code subsets weigh 5 x 164 + 163 of 1,966 in Reasoning; everything else in German is wrong.
    close(section(&multilingual, "deu_Latn"), 983.0 / 1966.0 / 4.0, "German");
    close(section(&multilingual, "eng_Latn"), 1.0, "English");
    assert_eq!(multilingual.overall, None, "22 languages beside English are the whole");
    let tongues: Vec<Vec<String>> = (0..22).map(|at| named(&format!("lang_{at}"))).collect();
    let whole: Vec<ScoredItem<'_>> = tongues
        .iter()
        .enumerate()
        .flat_map(|(at, subsets)| subsets.iter().map(move |subset| (at, subset)))
        .map(|(at, subset)| item("1", subset, 1, if at < 11 { &[1.0, 0.0][..] } else { &[0.0, 1.0] }))
        .chain(items.iter().filter(|item| item.subset.starts_with("eng")).copied())
        .collect();
    let all = marked("m-reward-bench", None, &whole).unwrap();
    close(all.overall.unwrap(), 0.5, "English is not among the languages");
    let less: Vec<ScoredItem<'_>> = whole.iter().skip(1).copied().collect();
    assert_eq!(marked("m-reward-bench", None, &less).unwrap().overall, None, "a subset of one language is missing");
}

#[test]
fn another_benchmarks_file_is_named_as_such() {
    let item = |subset, num_correct, scores| ScoredItem { id: "7", subset, num_correct, scores };
    for (name, item, said) in [
        ("reward-bench", item("Math", 1, &[1.0, 0.0, 0.0, 0.0][..]), "no subset \"Math\""),
        ("reward-bench", item("hep-js", 1, &[1.0, 0.0, 0.0]), "one chosen and one rejected"),
        ("reward-bench-2", item("alpacaeval-easy", 1, &[1.0, 0.0]), "another benchmark"),
        ("reward-bench-2", item("safety-refuse", 1, &[1.0, 0.0]), "another benchmark"),
        ("rm-bench", item("chat", 1, &[1.0, 0.0]), "three chosen and three rejected"),
        ("rm-bench", item("Factuality", 1, &[1.0, 0.0]), "no subset"),
        ("judge-bench", item("Factuality", 1, &[1.0, 0.0]), "no subset"),
        ("rmb", item("S1", 1, &[1.0, 0.0]), "paths such as"),
        ("m-reward-bench", item("alpacaeval-easy", 1, &[1.0, 0.0]), "LANGUAGE/SUBSET"),
        ("ppe", item("math", 2, &[1.0, 0.0]), "at least one correct and one incorrect"),
        ("process-bench", item("gsm8k", 3, &[1.0, 0.0]), "at most 2 steps before the first wrong one"),
        ("preferences", item("x", 0, &[1.0, 0.0]), "at least one correct and one incorrect"),
    ] {
        let message = marked(name, None, &[item]).unwrap_err().to_string();
        assert!(message.contains(said) && message.contains('7'), "{name}: {message}");
    }
    assert!(benchmark("reward-bench-3").err().unwrap().to_string().contains("rm-bench"));
    assert_eq!(BENCHMARKS.len(), 9);
}

#[test]
fn the_published_rows_agree_with_themselves() {
    let rows = published(reward_bench_2::NAME);
    assert_eq!(rows.len(), 197, "one row a model");
    // For models that are also in the paper, the board's figures with four digits are kept.
    assert!(rows.iter().all(|row| row.source.starts_with("evaleval")));
    let mut largest: f64 = 0.0;
    for row in rows {
        assert_eq!(row.parts.len(), 6, "{}", row.model);
        let overall = reward_bench_2::overall(row.parts.iter().map(|(name, mark)| (name.as_str(), *mark))).unwrap();
        largest = largest.max((overall - row.overall).abs());
    }
    println!("197 rows: the overall mark differs from the mean of six by at most {largest:.2e}");
    // Both sides are rounded to four digits, so each may be off by half a unit of the last digit.
    assert!(largest <= 1.0001e-4, "{largest}");
    assert!(rows.windows(2).all(|pair| pair[0].overall >= pair[1].overall));

    assert_eq!(published("reward-bench").len(), 187);
    assert!(published("ppe").is_empty());
    let best = rows[0].overall;
    let all = reward_bench_2::ITEMS;
    assert_eq!(place(reward_bench_2::NAME, all, best + 0.1).unwrap().place, 1);
    assert_eq!(place(reward_bench_2::NAME, all, -1.0).unwrap().place, 198);
    // RewardBench's published overall marks include the prior sets where a model has them. A run has only the four
    // sections, so it is placed among the rows by the mean of the four.
    let row = published("reward-bench").iter().find(|row| row.model == "allenai/tulu-2-dpo-7b").unwrap();
    let sections = row.parts.iter().filter(|(name, _)| name != reward_bench::PRIOR_SETS);
    let mean = sections.map(|(_, mark)| mark).sum::<f64>() / 4.0;
    assert!(mean - row.overall > 0.03 && row.parts.len() == 5);
    let placed = place("reward-bench", reward_bench::ITEMS, mean).unwrap();
    let better = published("reward-bench")
        .iter()
        .filter(|row| row.parts.iter().take(4).map(|(_, mark)| mark).sum::<f64>() / 4.0 > mean)
        .count();
    assert_eq!(placed.place, better + 1);
    // A run over fewer than all items has no place.
    assert_eq!(place(reward_bench_2::NAME, all - 1, best), None);

    assert_eq!(downstream().len(), 17);
    let all = downstream_correlation(None).unwrap();
    println!("17 models: PPO {:.3}, best-of-N {:.3}", all.ppo, all.best_of_n);
    assert_eq!(all.models, 17);
    // Expected values are from numpy.corrcoef on the same columns.
    close(all.ppo, PPO, "PPO");
    close(all.best_of_n, BEST_OF_N, "best-of-N");
}

/// Whether the board's name of a model contradicts what the paper says of a model's training: its base model, and the
/// learning rate and epochs if the name has them.
fn speaks_against(name: &str, row: &Downstream) -> bool {
    let base = match name {
        // The released models have their base in their names.
        name if name.ends_with("-RM-RB2") => match name.trim_end_matches("-RM-RB2") {
            "allenai/Llama-3.1-Tulu-3-8B-RL" => "Tulu 8B RL",
            "allenai/Llama-3.1-Tulu-3-8B-SFT" => "Tulu 8B SFT",
            "allenai/Llama-3.1-8B-Instruct" => "Llama 8B Instruct",
            other => other,
        },
        name if ["_qwen", "_llamabase", "_llama70b", "_tulu3_70b", "_dpo"].iter().any(|of| name.contains(of)) => {
            "another"
        }
        name if name.contains("_llama_") => "Llama 8B Instruct",
        name if name.contains("_rl") => "Tulu 8B RL",
        name if name.contains("-rm_") => "Tulu 8B SFT",
        // Another run of the paper's authors may have any base. Models of other people cannot be the paper's.
        name if name.starts_with("allenai/open_instruct_dev-reward_modeling_") => row.base_model.as_str(),
        _ => "another",
    };
    let recipe: Vec<&str> = name.split_once("-rm_").map_or(Vec::new(), |(_, rest)| rest.split('_').collect());
    let rate = recipe.iter().position(|word| word.contains("e-"));
    let said = rate.map(|at| (recipe[at], recipe[at + 1]));
    base != row.base_model || said.is_some_and(|(rate, epochs)| row.lr_epochs != format!("{rate}, {epochs}"))
}

#[test]
fn the_papers_models_are_found_on_the_board_by_their_marks_and_names() {
    let board = published(reward_bench_2::NAME);
    for row in downstream() {
        // The paper gives percent with one digit after the point.
        let alike = |overall: f64| (100.0 * overall - row.reward_bench_2).abs() <= 0.05 + 1e-9;
        let found: Vec<&str> = board
            .iter()
            .filter(|of| alike(of.overall) && !speaks_against(&of.model, row))
            .map(|of| of.model.as_str())
            .collect();
        let only = match found.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        assert_eq!(row.board_row.as_deref().filter(|name| !name.is_empty()), only, "model {}: {found:?}", row.id);
        assert_eq!(row.published().is_some(), only.is_some());
    }
    let by_subset = downstream_correlations_by_subset();
    // Expected values are from Python's statistics.correlation on the same columns.
    let expected = [
        ("Factuality", 0.8159575237230177, 0.9647515830925911),
        ("Precise IF", 0.7129603223737385, 0.9264961900210805),
        ("Math", 0.8494962876689558, 0.9610713733902583),
        ("Safety", 0.7574271708185858, 0.9085798666572996),
        ("Focus", 0.5980901249489124, 0.806131122019447),
        ("Ties", 0.5206096528497474, 0.8155795773675503),
        ("overall", 0.7191287909560597, 0.9176108213370239),
    ];
    assert_eq!(by_subset.len(), expected.len());
    for ((name, found), (expected_name, ppo, best_of_n)) in by_subset.iter().zip(expected) {
        println!("{name}: PPO {:.3}, best-of-N {:.3} over {} models", found.ppo, found.best_of_n, found.models);
        assert_eq!((name.as_str(), found.models), (expected_name, 14));
        close(found.ppo, ppo, name);
        close(found.best_of_n, best_of_n, name);
    }
}

#[test]
fn a_run_is_placed_with_a_warning_of_what_may_be_different() {
    let all = reward_bench_2::ITEMS;
    let under =
        MadeUnder { dtype: Some("q8".to_owned()), length_limit: Some(4096), template: Some("tokenizer".to_owned()) };
    let found = placement(reward_bench_2::NAME, all, 0.7, &under).unwrap();
    assert_eq!(Some(found.place), place(reward_bench_2::NAME, all, 0.7));
    let said = |words: &[&str]| found.warnings.iter().any(|warning| words.iter().all(|word| warning.contains(word)));
    assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
    assert!(said(&["dtype", "197 of the 197", "q8"]) && said(&["length limit", "4096 tokens"]));
    assert!(said(&["template", "tokenizer", "unknown"]));
    // A run whose settings are unknown gets warnings, too.
    let silent = placement(reward_bench_2::NAME, all, 0.7, &MadeUnder::default()).unwrap();
    assert!(silent.warnings.iter().all(|warning| warning.starts_with("This run's")) && silent.warnings.len() == 3);
    assert_eq!(placement(reward_bench_2::NAME, all - 1, 0.7, &under), None);
}

const PPO: f64 = 0.7168435914962965;
const BEST_OF_N: f64 = 0.9154611836443033;
