//! Readers, and models of steps, compared with the values that transformers' models and the publishers' formulas give,
//! on the CPU and on the GPU (lavapipe where there is no other).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pollster::block_on;
use rewardscope_engine::{
    Cancel, Clock, Detail, DeviceChoice, EngineError, Format, LoadOptions, Message, ModelFiles, READERS, Reader,
    ReaderChoice, ReaderSpec, Score, Scorer, StepAggregate, TokenSequence, device,
};
use rewardscope_store::{Folder, Source};
use rewardscope_tests::{fixture, json_fixture, number, root};
use serde_json::Value;

/// Largest absolute error of a score or a logit.
const TOLERANCE: f64 = 1e-4;
/// Largest absolute error of a probability.
const TOLERANCE_OF_PROBABILITIES: f64 = 1e-5;

/// The cases whose reader stands in their file.
const FILES: [&str; 5] = ["reader_difference", "reader_expected", "reader_each", "reader_before", "reader_logit"];
/// Those whose reader is known for the model's class.
const KNOWN: [(&str, &str); 3] =
    [("prm_token_classification", "trl-prm"), ("prm_two_layer", "qwen-prm"), ("value_head", "skywork-prm")];

fn files(case: &str) -> ModelFiles {
    let folder = Folder::open(&fixture(&format!("kinds/{case}"))).unwrap();
    ModelFiles::from_sources(case, folder.sources().cloned().collect()).unwrap()
}

fn expected(case: &str) -> Value {
    json_fixture(&format!("kinds/{case}/expected.json"))
}

/// The reader in a case's file.
fn of_file(case: &str) -> ReaderChoice {
    let json = expected(case)["reader"].to_string();
    let spec = ReaderSpec::from_json(case, &json).unwrap();
    ReaderChoice::Given(Box::new(Reader { name: case.to_owned(), spec }))
}

fn named(name: &str) -> ReaderChoice {
    ReaderChoice::Given(Box::new(Reader::named(name).unwrap()))
}

fn load(
    case: &str,
    choice: DeviceChoice,
    reader: ReaderChoice,
    change: impl FnOnce(&mut LoadOptions),
) -> Result<Scorer, EngineError> {
    let mut options = LoadOptions { reader, ..LoadOptions::new(Clock::from_local_seconds(0)) };
    change(&mut options);
    let device = block_on(device::open(choice))?;
    block_on(Scorer::load(&files(case), None, device, options, &Cancel::default(), &mut |_| {}))
}

/// The prompt of a row, with its system message if it has one.
fn prompt(input: &Value) -> Vec<Message> {
    let of = |role: &str, key: &str| input[key].as_str().map(|text| Message::new(role, text));
    of("system", "system").into_iter().chain(of("user", "prompt")).collect()
}

/// The tokens of a row.
fn tokens(scorer: &Scorer, input: &Value) -> Result<TokenSequence, EngineError> {
    if let Some(steps) = input.get("steps") {
        let steps: Vec<String> = serde_json::from_value(steps.clone()).unwrap();
        return Ok(scorer.tokenize_steps(&prompt(input), &[steps])?.remove(0));
    }
    if let Some(messages) = input.get("messages") {
        let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
        let (last, before) = messages.split_last().unwrap();
        return Ok(scorer.tokenize(before, [last.content.as_str()])?.remove(0));
    }
    Ok(scorer.tokenize(&prompt(input), [input["completion"].as_str().unwrap()])?.remove(0))
}

fn scored(scorer: &Scorer, sequence: &TokenSequence, detail: Detail) -> Score {
    let sequences = std::slice::from_ref(sequence);
    block_on(scorer.score_tokens(sequences, detail, &Cancel::default())).unwrap().remove(0)
}

/// The largest errors that were found.
#[derive(Default)]
struct Worst {
    score: f64,
    probability: f64,
}

impl Worst {
    fn score(&mut self, found: f64, wanted: &Value) {
        self.score = self.score.max((found - number(wanted)).abs());
    }

    fn probability(&mut self, found: f64, wanted: &Value) {
        self.probability = self.probability.max((found - number(wanted)).abs());
    }
}

/// Compares a row: the ids, the positions, the score and all that comes with it.
fn compare(scorer: &Scorer, row: &Value, worst: &mut Worst) {
    let of = &row["id"];
    let sequence = tokens(scorer, &row["input"]).unwrap();
    let ids: Vec<u32> = serde_json::from_value(row["input_ids"].clone()).unwrap();
    assert_eq!(sequence.input_ids, ids, "{of}");
    let (score, every) = (scored(scorer, &sequence, Detail::Score), scored(scorer, &sequence, Detail::EveryToken));
    if let Some(positions) = row.get("step_positions") {
        let positions: Vec<usize> = serde_json::from_value(positions.clone()).unwrap();
        assert_eq!(sequence.read_at, positions, "{of}");
        let steps = score.steps.clone().unwrap();
        assert_eq!(steps.scores.len(), positions.len());
        for (at, position) in positions.iter().enumerate() {
            worst.probability(steps.scores[at], &row["step_scores"][at]);
            worst.probability(f64::from(every.token_scores[*position]), &row["step_scores"][at]);
        }
        for (found, name) in [(steps.min, "min"), (steps.product, "product"), (steps.last, "last")] {
            worst.probability(found, &row[name]);
        }
        return worst.probability(score.score, &row["score"]);
    }
    let position = row["position"].as_u64().unwrap() as usize;
    worst.score(score.score, &row["score"]);
    worst.score(f64::from(every.token_scores[position]), &row["score"]);
    if let Some(wanted) = row.get("probability") {
        worst.probability(score.probability.unwrap(), wanted);
    }
    if let Some(Value::Array(wanted)) = row.get("probabilities") {
        assert_eq!(score.probabilities.len(), wanted.len());
        score.probabilities.iter().zip(wanted).for_each(|(found, wanted)| worst.probability(*found, wanted));
    }
}

/// Compares the rows of a case that a reader reads.
fn agree(case: &str, choice: DeviceChoice, reader: &ReaderChoice, rows: &[Value]) {
    let mut worst = Worst::default();
    let mut loaded: Option<(Option<String>, Scorer)> = None;
    for row in rows {
        let instruction = row["input"]["instruction"].as_str().map(str::to_owned);
        let scorer = match loaded.take() {
            Some((own, scorer)) if own == instruction => scorer,
            _ => load(case, choice, reader.clone(), |options| options.instruction = instruction.clone()).unwrap(),
        };
        assert!(scorer.report().reader.is_some() && scorer.report().aggregate.is_none());
        compare(&scorer, row, &mut worst);
        loaded = Some((instruction, scorer));
    }
    let device = loaded.unwrap().1.report().device.name.clone();
    println!("{case} on {device}: score {:.1e}, probabilities {:.1e}", worst.score, worst.probability);
    assert!(worst.score < TOLERANCE && worst.probability < TOLERANCE_OF_PROBABILITIES, "{case}");
}

fn all(choice: DeviceChoice) {
    for case in FILES {
        let rows = expected(case)["rows"].as_array().unwrap().clone();
        assert!(rows.len() >= 5, "{case}");
        agree(case, choice, &of_file(case), &rows);
    }
    for (case, name) in KNOWN {
        let rows = expected(case)["rows"].as_array().unwrap().clone();
        let rows: Vec<Value> = rows.into_iter().filter(|row| row["input"].get("steps").is_some()).collect();
        assert!(rows.len() >= 4, "{case}");
        agree(case, choice, &ReaderChoice::Found, &rows);
        let scorer = load(case, choice, ReaderChoice::Found, |_| ()).unwrap();
        assert_eq!(scorer.report().reader.as_ref().unwrap().name, name);
        assert!(scorer.report().is_reward_model);
    }
    // The other layout in which the same model is used.
    let rows = expected("prm_token_classification")["rows"].as_array().unwrap().clone();
    let joined = |row: Value| {
        let mut other = row["joined"].clone();
        other["input"] = row["input"].clone();
        other["id"] = row["id"].clone();
        other
    };
    let rows: Vec<Value> = rows.into_iter().map(joined).collect();
    agree("prm_token_classification", choice, &named("trl-prm-joined"), &rows);
}

#[test]
fn readers_agree_on_the_cpu() {
    all(DeviceChoice::Cpu);
}

#[test]
fn readers_agree_on_the_gpu() {
    all(DeviceChoice::Gpu);
}

/// Tokens that texts begin with are computed once, for verdicts and for steps.
#[test]
fn prompts_are_shared() {
    let once = |scorer: &Scorer, sequences: &[TokenSequence]| {
        let scores = block_on(scorer.score_tokens(sequences, Detail::Score, &Cancel::default())).unwrap();
        let all: usize = sequences.iter().map(|sequence| sequence.input_ids.len()).sum();
        let computed: usize = scores.iter().map(|score| score.computed_tokens).sum();
        let first = sequences.iter().map(|sequence| sequence.first_completion_token).min().unwrap();
        assert!(first > 8, "{first}");
        assert!(computed <= all - 2 * first, "{computed} of {all}, {first} of them shared");
        for (sequence, score) in sequences.iter().zip(&scores) {
            assert!((scored(scorer, sequence, Detail::Score).score - score.score).abs() < 1e-5);
        }
    };
    let asked = [Message::new("user", "Name a colour of the rainbow, and say where it stands.")];
    for case in ["reader_difference", "reader_expected", "reader_logit"] {
        let of = |options: &mut LoadOptions| {
            options.instruction = (case != "reader_logit").then(|| "Is the response polite?".to_owned());
        };
        let scorer = load(case, DeviceChoice::Cpu, of_file(case), of).unwrap();
        once(&scorer, &scorer.tokenize(&asked, ["Red.", "Violet, I think.", "Brown."]).unwrap());
    }
    let solutions = [["Step 1: red.", "Step 2: blue."], ["Step 1: none.", "So none."], ["All.", "All of them."]]
        .map(|steps| steps.map(str::to_owned).to_vec());
    for (case, reader) in [("reader_each", of_file("reader_each")), ("reader_before", of_file("reader_before"))]
        .into_iter()
        .chain(KNOWN.map(|(case, _)| (case, ReaderChoice::Found)))
    {
        let scorer = load(case, DeviceChoice::Cpu, reader, |_| ()).unwrap();
        once(&scorer, &scorer.tokenize_steps(&asked, &solutions).unwrap());
    }
}

/// A completion is split into steps, and a text that is too long loses of its completion alone.
#[test]
fn completions_are_split_and_cut() {
    let steps = |name: &str, aggregate: StepAggregate| {
        load("prm_two_layer", DeviceChoice::Cpu, named(name), |options| options.step_aggregate = aggregate).unwrap()
    };
    let asked = [Message::new("user", "How much is 2 + 2?")];
    let scorer = steps("qwen-prm", StepAggregate::Last);
    let whole = scorer.tokenize(&asked, ["Two and two.\n\nThat is 4."]).unwrap();
    let own = ["Two and two.", "That is 4."].map(str::to_owned).to_vec();
    assert_eq!(whole, scorer.tokenize_steps(&asked, &[own]).unwrap());
    let score = scored(&scorer, &whole[0], Detail::Score);
    let all = score.steps.unwrap();
    assert_eq!((all.scores.len(), score.score), (2, all.last));

    let ask = |most: Option<usize>| {
        load("reader_difference", DeviceChoice::Cpu, of_file("reader_difference"), |options| {
            options.instruction = Some("Is it true?".to_owned());
            options.max_tokens = most;
        })
        .unwrap()
    };
    let long = "It is blue and grey and green. ".repeat(8);
    let whole = ask(None).tokenize(&asked, [long.as_str()]).unwrap().remove(0);
    let most = whole.input_ids.len() - 20;
    let cut = ask(Some(most)).tokenize(&asked, [long.as_str()]).unwrap().remove(0);
    assert_eq!((cut.input_ids.len(), cut.cut_tokens), (most, 20));
    // What follows the completion is still there, and is read at its end.
    assert_eq!(cut.input_ids[most - 12..], whole.input_ids[whole.input_ids.len() - 12..]);
    assert_eq!(cut.read_at, [most - 1]);
    let found = ask(Some(40)).tokenize(&asked, ["Yes."]).unwrap_err().to_string();
    assert!(found.contains("shorten the prompt"), "{found}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let given = |json: &str| {
        let spec = ReaderSpec::from_json("own", json).unwrap();
        ReaderChoice::Given(Box::new(Reader { name: "own".to_owned(), spec }))
    };
    let refused = |case: &str, json: &str| load(case, DeviceChoice::Cpu, given(json), |_| ()).unwrap_err().to_string();
    for (case, json, part) in [
        ("reader_logit", r#"{"tokens": ["a long text"]}"#, "several to the tokenizer"),
        ("reader_logit", r#"{"tokens": [99999]}"#, "the vocabulary does not have"),
        ("reader_logit", r#"{"tokens": [0], "template": "{{ prompt"}"#, "the reader own"),
        ("reader_logit", r#"{"tokens": [0], "template": "{{ instruction }}"}"#, "--instruction"),
        ("reader_logit", "{}", "no tokens whose rows are the head"),
        ("regression_head", r#"{"tokens": [0]}"#, "a head of its own"),
        ("prm_two_layer", r#"{"combine": "logit"}"#, "a logit of one, of 2 outputs"),
        ("prm_two_layer", r#"{"at": {"each": "two words"}, "combine": {"softmax": 1}}"#, "several to the tokenizer"),
    ] {
        let found = refused(case, json);
        assert!(found.contains(part), "{case} {json}: {found}");
    }
    let asked = [Message::new("user", "How much is 2 + 2?")];
    // A text without its separator, and a template that fails on a text.
    let each = r#"{"at": {"each": "<extra_0>"}, "combine": {"softmax": 1}}"#;
    let scorer = load("prm_two_layer", DeviceChoice::Cpu, given(each), |_| ()).unwrap();
    let found = scorer.tokenize(&asked, ["It is 4."]).unwrap_err().to_string();
    assert!(found.contains("a text without the token"), "{found}");
    let steps = scorer.tokenize(&asked, ["It is<extra_0> 4.<extra_0>"]).unwrap().remove(0);
    assert_eq!(steps.read_at.len(), 2);
    let other = r#"{"at": {"each": "<extra_0>"}, "combine": {"softmax": 1}, "steps": {"answer": "{{ step }}!"}}"#;
    let scorer = load("prm_two_layer", DeviceChoice::Cpu, given(other), |_| ()).unwrap();
    let found = scorer.tokenize(&asked, ["It is 4."]).unwrap_err().to_string();
    assert!(found.contains("step 1"), "{found}");
    let fails = r#"{"tokens": [0], "template": "{{ raise_exception('no') }}"}"#;
    let scorer = load("reader_logit", DeviceChoice::Cpu, given(fails), |_| ()).unwrap();
    assert!(scorer.tokenize(&asked, ["It is 4."]).unwrap_err().to_string().contains("no"));
    // Steps for a reader of one verdict, or for no reader.
    for choice in [given(r#"{"tokens": [0]}"#), ReaderChoice::None] {
        let scorer = load("reader_logit", DeviceChoice::Cpu, choice, |_| ()).unwrap();
        let found = scorer.tokenize_steps(&asked, &[vec!["It is 4.".to_owned()]]).unwrap_err().to_string();
        assert!(found.contains("--reader NAME"), "{found}");
    }
}

/// A reader's separator, or its verdict, inside a step is only text.
#[test]
fn separators_in_steps_are_text() {
    let asked = [Message::new("user", "How much is 2 + 2?")];
    let read = |case: &str, steps: &[&str]| {
        let choice = if case.starts_with("reader") { of_file(case) } else { ReaderChoice::Found };
        let scorer = load(case, DeviceChoice::Cpu, choice, |_| ()).unwrap();
        let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
        scorer.tokenize_steps(&asked, &[steps]).unwrap().remove(0)
    };
    for (case, steps) in [
        ("reader_before", ["2 + 2", "+", "+ and +"]),
        ("reader_each", ["2 ки 2", "ки", "4 ки ки"]),
        ("prm_two_layer", ["2<extra_0>2", "<extra_0>", "4<extra_0>"]),
        ("value_head", ["2\n2", "\n", "4\n"]),
    ] {
        let sequence = read(case, &steps);
        assert_eq!(sequence.read_at.len(), 3, "{case}");
        assert!(sequence.read_at.is_sorted_by(|a, b| a < b), "{case}: {:?}", sequence.read_at);
        let last = *sequence.read_at.last().unwrap();
        assert!(last + 4 > sequence.input_ids.len(), "{case}: {last} of {}", sequence.input_ids.len());
    }
}

/// What real models say of a criterion is what transformers' say. Gemma, which has its own terms, only with `--all`.
#[test]
fn criteria_of_real_models_agree() {
    let rows = json_fixture("criteria.json")["rows"].as_array().unwrap().clone();
    let is_all = !std::env::var("REWARDSCOPE_ALL").unwrap_or_default().is_empty();
    for (model, path, format) in [
        ("smollm2", "models/SmolLM2-135M-Instruct.Q4_1.gguf", None),
        ("gemma3", "packages/gemma-3-270m.Q4_K_M.gguf", Some("tulu")),
    ] {
        if model == "gemma3" && !is_all {
            println!("not run: gemma3, whose weights only --all fetches");
            continue;
        }
        let source = Source::file(&root().join(".cache").join(path)).unwrap();
        let files = ModelFiles::from_sources(model, vec![source]).unwrap();
        let mut worst = 0.0f64;
        for row in rows.iter().filter(|row| row["model"] == model) {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let mut options = LoadOptions {
                reader: named(&text("reader")),
                instruction: Some(text("instruction")),
                ..LoadOptions::new(Clock::from_local_seconds(0))
            };
            options.protocol.format = format.map(|name| Format::named(name).unwrap());
            let device = block_on(device::open(DeviceChoice::Cpu)).unwrap();
            let scorer =
                block_on(Scorer::load(&files, None, device, options, &Cancel::default(), &mut |_| {})).unwrap();
            assert!(!scorer.report().is_reward_model, "a criterion's score is no reward");
            let sequence = scorer.tokenize(&prompt(row), [text("completion").as_str()]).unwrap().remove(0);
            let ids: Vec<u32> = serde_json::from_value(row["input_ids"].clone()).unwrap();
            assert_eq!(sequence.input_ids, ids, "{model}, {}", row["prompt"]);
            worst = worst.max((scored(&scorer, &sequence, Detail::Score).score - number(&row["score"])).abs());
        }
        println!("{model}, criteria on the CPU: {worst:.1e}");
        assert!(worst < 1e-3, "{model}: {worst}");
    }
}

/// Each known reader has a fixture, and reads that fixture's model where its tokens are in the vocabulary.
#[test]
fn known_readers_are_proven() {
    for reader in READERS {
        assert!(fixture(&format!("kinds/{}/expected.json", reader.proven)).is_file(), "{}", reader.name);
    }
}
