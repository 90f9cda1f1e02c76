//! Downloads with every kind of fault. Each ends with the right bytes, and so the right scores, or with one clear
//! sentence. The server is a real one on localhost, and the command is the real command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use pollster::block_on;
use rewardscope_data::{Row, to_parquet};
use rewardscope_engine::{Cancel, Detail, Message, ModelFiles, TokenSequence};
use rewardscope_store::{Hub, RepositoryKind, Shelf, Store, StoreError, Token};
use rewardscope_tests::hub::{COMMIT, Fault, TOKEN, TestHub};
use rewardscope_tests::{json_fixture, load, root};
use serde_json::Value;

/// An empty cache folder for one test.
fn cache(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("rewardscope-hub-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn store(hub: &TestHub, cache: &Path, token: Option<&str>) -> Store {
    Store::new(Hub::new(&hub.endpoint(), token.and_then(Token::new)).unwrap(), Shelf::new(cache))
}

fn fetch(store: &Store, id: &str) -> Result<ModelFiles, String> {
    let cancel = Cancel::default();
    let tell = &mut |_| {};
    let id = id.parse().unwrap();
    let repository =
        block_on(store.repository(RepositoryKind::Model, &id, &cancel, tell)).map_err(|e| e.to_string())?;
    block_on(ModelFiles::fetch(store, &repository, id.file.as_deref(), &cancel, tell)).map_err(|e| e.to_string())
}

/// Asserts that the model gives the fixture's first expected score.
fn fixture_scores_right(files: &ModelFiles) {
    let expected = json_fixture("parity/llama_plain/expected.json");
    let conversation = &expected["conversations"][0];
    let input_ids: Vec<u32> = serde_json::from_value(conversation["input_ids"].clone()).unwrap();
    let sequence = TokenSequence::new(input_ids, 1);
    let scores =
        block_on(load(files, None).unwrap().score_tokens(&[sequence], Detail::EveryToken, &Cancel::default())).unwrap();
    let want = conversation["score"].as_f64().unwrap();
    assert!((scores[0].score - want).abs() < 1e-4, "{} is not {want}", scores[0].score);
}

/// Asserts that the model gives the expected score of the shortest of SmolLM2's texts.
fn smollm2_scores_right(files: &ModelFiles) {
    let cases = json_fixture("smollm2_logprobs.json")["cases"].as_array().unwrap().clone();
    let case = cases.iter().min_by_key(|case| case["input_ids"].as_array().unwrap().len()).unwrap();
    let text = |key: &str| case[key].as_str().unwrap();
    let prompt = [Message::new("user", text("prompt"))];
    let scores = block_on(load(files, None).unwrap().score(
        &prompt,
        [text("completion")],
        Detail::EveryToken,
        &Cancel::default(),
    ))
    .unwrap();
    let want = case["completion_mean"].as_f64().unwrap();
    assert!((scores[0].score - want).abs() < 2e-3, "{} is not {want}", scores[0].score);
}

/// Faults that end after a few responses.
const PASSING: [Fault; 8] = [
    Fault::Cut,
    Fault::Short,
    Fault::WrongRange,
    Fault::TooMany,
    Fault::Unavailable,
    Fault::ServerError,
    Fault::Changed,
    Fault::Drip,
];

#[test]
fn the_fixture_survives_every_passing_fault() {
    let hub = TestHub::start(0);
    for fault in PASSING {
        let cache = cache(&format!("fixture-{fault:?}"));
        // Changed content is noticed only by its hash, and is fetched again only once.
        let times = if matches!(fault, Fault::Changed | Fault::Drip) { 1 } else { 3 };
        hub.misbehave(fault, times, "/cdn/models/test/llama_plain/model.safetensors");
        let started = Instant::now();
        let files = fetch(&store(&hub, &cache, None), "test/llama_plain").unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(hub.behave(), 0, "{fault:?} did not happen");
        println!("{fault:?}: fetched in {:.1} s", started.elapsed().as_secs_f64());
        fixture_scores_right(&files);
    }
}

#[test]
fn smollm2_survives_every_passing_fault_whole_and_in_parts() {
    assert!(root().join(".cache/models").exists(), "cargo xtask test fetches SmolLM2");
    let hub = TestHub::start(0);
    for (id, file) in [("test/smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), ("test/smollm2-parts", ".gguf.00")] {
        for fault in PASSING {
            let cache = cache(&format!("smollm2-{fault:?}"));
            let times = if matches!(fault, Fault::Changed | Fault::Drip) { 1 } else { 3 };
            hub.misbehave(fault, times, file);
            let files = fetch(&store(&hub, &cache, None), id).unwrap_or_else(|e| panic!("{id}, {fault:?}: {e}"));
            assert_eq!(hub.behave(), 0, "{fault:?} did not happen");
            smollm2_scores_right(&files);
            std::fs::remove_dir_all(&cache).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_mended_is_one_sentence() {
    let hub = TestHub::start(0);
    let forever = usize::MAX;
    let cases = [
        (Fault::WebPage, "a web page"),
        (Fault::LongWait, "asks to come back in 3600 s"),
        (Fault::Changed, "should hash to"),
        (Fault::WrongRange, "tried 6 times in a row"),
    ];
    for (fault, named) in cases {
        let cache = cache(&format!("final-{fault:?}"));
        hub.misbehave(fault, forever, "/cdn/models/test/smollm2/");
        let store = store(&hub, &cache, None);
        let message = fetch(&store, "test/smollm2").expect_err("refused");
        hub.behave();
        assert!(message.contains(named) && message.contains("SmolLM2-135M"), "{fault:?}: {message}");
        assert!(!message.contains('\n'), "{message}");
        let blobs = std::fs::read_dir(cache.join("models--test--smollm2/blobs")).unwrap();
        let whole = blobs.flatten().filter(|entry| entry.path().extension().is_none());
        assert_eq!(whole.count(), 0, "{fault:?}: nothing half stored passes for whole");
        // The next download succeeds.
        smollm2_scores_right(&fetch(&store, "test/smollm2").unwrap());
    }
    hub.misbehave(Fault::WebPage, forever, "/api/");
    let message = fetch(&store(&hub, &cache("listing"), None), "test/llama_plain").expect_err("refused");
    assert!(message.contains("a web page"), "{message}");
    hub.misbehave(Fault::Cut, 2, "/api/");
    fixture_scores_right(&fetch(&store(&hub, &cache("listing"), None), "test/llama_plain").unwrap());
}

/// Bytes of files that were requested by range since the last call.
fn asked(hub: &TestHub) -> u64 {
    let bytes = |range: String| {
        let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        end.parse::<u64>().unwrap() + 1 - start.parse::<u64>().unwrap()
    };
    let files = hub.seen().into_iter().filter(|seen| seen.path.starts_with("/cdn/"));
    files.map(|seen| seen.range.map_or(u64::MAX / 1024, bytes)).sum()
}

/// As many rows as RewardBench 2 has, of random text that compresses little: about 14 MB.
fn large_rows() -> Vec<Row> {
    let mut state = 1u64;
    let mut text = |characters: usize| -> String {
        (0..characters)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b' ' + (state >> 33) as u8 % 95)
            })
            .collect()
    };
    let row = |id: usize| Row {
        id: id.to_string(),
        prompt: text(300),
        chosen: vec![text(1850)],
        rejected: (0..3).map(|_| text(1850)).collect(),
        num_correct: 1,
        num_incorrect: 3,
        total_completions: 4,
        models: Vec::new(),
        subset: "Focus".to_owned(),
        additional_metadata: None,
    };
    (1..=1865).map(row).collect()
}

#[test]
fn one_item_of_a_large_file_costs_a_part_of_it() {
    let hub = TestHub::start(0);
    let rows = large_rows();
    let bytes = to_parquet(&rows).unwrap();
    let whole = bytes.len() as u64;
    let address = hub.add_dataset("test/large", "rows.parquet", bytes);
    let lines: Vec<u8> =
        rows.iter().flat_map(|row| (serde_json::to_string(row).unwrap() + "\n").into_bytes()).collect();
    let lines_address = hub.add_dataset("test/lines", "rows.jsonl", lines);
    let items = |data: &str, rows: &str| -> Vec<Value> {
        let output = command(&hub, &cache("items"), &["items", "--json", "--data", data, "--rows", rows]);
        assert!(output.status.success(), "{data}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    };
    asked(&hub);
    // A row costs its page and its column's dictionary; writers make these one or two megabytes each.
    for (data, most) in [("test/large", whole / 2), (&address, whole / 2), (&lines_address, 3 << 20)] {
        let first = if data.ends_with("jsonl") { "3" } else { "1200" };
        let found = items(data, first);
        let place: usize = first.parse().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["id"], first);
        assert_eq!(found[0]["messages"][0]["content"], rows[place - 1].prompt);
        assert_eq!(found[0]["completions"][1], rows[place - 1].rejected[0]);
        let cost = asked(&hub);
        println!("{data}: row {first} took {:.2} of {:.2} MB", cost as f64 / 1e6, whole as f64 / 1e6);
        assert!(cost < most, "{cost} bytes were asked for");
        // A broken connection changes nothing.
        hub.misbehave(Fault::Cut, 1, "/cdn/datasets/");
        assert_eq!(items(data, first), found);
        assert_eq!(hub.behave(), 0);
        asked(&hub);
    }
    assert_eq!(items("test/large", "1864-1900").len(), 2);
    for (data, rows, named) in [
        ("test/large", "5000", "rows 5000 to 5000"),
        ("http://localhost:9/none", "1", "could not be reached"),
        (&address.replace("rows.parquet", "nothing"), "1", "there is no such file"),
    ] {
        let output = command(&hub, &cache("items"), &["items", "--data", data, "--rows", rows]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(named), "{data}: {said}");
    }
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let hub = TestHub::start(0);
    let cache = cache("resumed");
    let store = store(&hub, &cache, None);
    let cancel = Cancel::default();
    let id = "test/smollm2".parse().unwrap();
    let repository = block_on(store.repository(RepositoryKind::Model, &id, &cancel, &mut |_| {})).unwrap();
    let stop = cancel.clone();
    let halfway = block_on(ModelFiles::fetch(&store, &repository, None, &cancel, &mut |now| {
        if now.bytes_done > now.bytes_total / 2 {
            stop.cancel();
        }
    }));
    assert!(halfway.unwrap_err().to_string().contains("cancelled"));
    asked(&hub);
    let files = fetch(&store, "test/smollm2").unwrap();
    let again = asked(&hub);
    println!("after half of 98.4 MB came, {:.1} MB were asked for again", again as f64 / 1e6);
    assert!(again < 60_000_000, "{again} bytes were asked for again");
    smollm2_scores_right(&files);
    // A damaged cache entry is noticed and fetched again.
    let blobs: Vec<_> = std::fs::read_dir(cache.join("models--test--smollm2/blobs")).unwrap().flatten().collect();
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    let path = blobs[0].path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    fetch(&store, "test/smollm2").unwrap();
    assert!(asked(&hub) > 98_000_000);
    bytes[middle] ^= 1;
    assert!(std::fs::read(&path).unwrap() == bytes);
    // An undamaged cache entry is not requested again.
    fetch(&store, "test/smollm2").unwrap();
    assert_eq!(asked(&hub), 0);
}

#[test]
fn the_cache_is_the_hubs_own_and_serves_without_a_network() {
    let hub = TestHub::start(0);
    let cache = cache("layout");
    fetch(&store(&hub, &cache, None), "test/llama_plain").unwrap();
    let folder = cache.join("models--test--llama_plain");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let snapshot = folder.join("snapshots").join(COMMIT);
    let link = std::fs::read_link(snapshot.join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs/"), "{}", link.display());
    assert_eq!(
        std::fs::read(snapshot.join("config.json")).unwrap(),
        std::fs::read(root().join("tests/fixtures/parity/llama_plain/config.json")).unwrap()
    );
    // No server listens at this address.
    let gone = Store::new(Hub::new("http://localhost:9", None).unwrap(), Shelf::new(&cache));
    fixture_scores_right(&fetch(&gone, "test/llama_plain").unwrap());
    let message = fetch(&gone, "test/other").expect_err("unknown").to_string();
    assert!(message.contains("could not be reached"), "{message}");
}

#[test]
fn gated_and_missing_repositories_have_their_sentences() {
    let hub = TestHub::start(0);
    let cache = cache("gated");
    let message = fetch(&store(&hub, &cache, None), "test/gated").expect_err("gated");
    assert!(message.contains("gated") && message.contains("access token"), "{message}");
    let message = fetch(&store(&hub, &cache, Some("hf_wrong")), "test/gated").expect_err("gated");
    assert!(message.contains("has not been let in") && !message.contains("hf_wrong"), "{message}");
    hub.seen();
    fixture_scores_right(&fetch(&store(&hub, &cache, Some(TOKEN)), "test/gated").unwrap());
    // The address that the Hub redirects to refuses a request with a token.
    let (content, hub_itself): (Vec<_>, Vec<_>) =
        hub.seen().into_iter().partition(|seen| seen.path.starts_with("/cdn/"));
    assert!(!content.is_empty() && content.iter().all(|seen| !seen.authorized));
    assert!(hub_itself.iter().all(|seen| seen.authorized));
    let message = fetch(&store(&hub, &cache, None), "test/nothing").expect_err("missing");
    assert!(message.contains("no such repository, or it is private"), "{message}");
    let id = "test/llama_plain".parse().unwrap();
    let store = store(&hub, &cache, None);
    let repository = block_on(store.repository(RepositoryKind::Model, &id, &Cancel::default(), &mut |_| {})).unwrap();
    let missing = block_on(store.fetch(&repository, &["nothing.bin".to_owned()], &Cancel::default(), &mut |_| {}));
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
}

fn command(hub: &TestHub, cache: &Path, arguments: &[&str]) -> Output {
    command_as(None, hub, cache, arguments)
}

fn command_as(token: Option<&str>, hub: &TestHub, cache: &Path, arguments: &[&str]) -> Output {
    let mut command = rewardscope_tests::command();
    command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", cache).env_remove("HF_TOKEN").args(arguments);
    command.envs(token.map(|token| ("HF_TOKEN", token))).output().unwrap()
}

#[test]
fn the_command_takes_models_and_rows_by_id() {
    let hub = TestHub::start(0);
    let cache = cache("command");
    let out = cache.join("out").display().to_string();
    let expected: Value = json_fixture("parity/llama_plain/expected.json");
    let rows = cache.join("rows.jsonl").display().to_string();
    std::fs::write(&rows, format!("{{\"id\":1,\"input_ids\":{}}}\n", expected["conversations"][0]["input_ids"]))
        .unwrap();
    let score = |token: Option<&str>, model: &str| {
        let arguments = ["score", "--model", model, "--device", "cpu", "--input", &rows, "--output", "-"];
        command_as(token, &hub, &cache, &arguments)
    };
    let gated = score(None, "test/gated");
    assert_eq!(gated.status.code(), Some(2));
    let said = String::from_utf8_lossy(&gated.stderr).into_owned();
    assert!(said.contains("gated") && said.contains("token"), "{said}");
    for (token, model) in [(None, "test/llama_plain@main"), (Some(TOKEN), "test/gated")] {
        let scored = score(token, model);
        assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
        let row: Value = serde_json::from_slice(&scored.stdout).unwrap();
        let want = expected["conversations"][0]["score"].as_f64().unwrap();
        assert!((row["score"].as_f64().unwrap() - want).abs() < 1e-4);
    }
    assert!(cache.join("hub/models--test--llama_plain/refs/main").exists());

    let arguments = ["eval", "--model", "test/llama_plain", "--device", "cpu", "--limit", "2", "--out", &out, "--data"];
    let run = |data: &str| command(&hub, &cache, &[&arguments[..], &[data]].concat());
    let several = String::from_utf8_lossy(&run("test/sample").stderr).into_owned();
    let names: BTreeSet<&str> =
        several.split([' ', ',', ';']).filter(|word| word.ends_with(".jsonl") && word.len() > 6).collect();
    assert_eq!(names.len(), 6, "{several}");
    let one = run("test/sample:sample.parquet");
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert!(String::from_utf8_lossy(&one.stdout).contains("Ties"));
    // The run file names model and dataset by owner, name and commit, so that the same bytes can be fetched again.
    let read = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let file: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(file["protocol"]["model"], format!("test/llama_plain@{COMMIT}"));
    assert_eq!(file["protocol"]["dataset"], format!("test/sample@{COMMIT}:sample.parquet"));
    assert_eq!(file["protocol"]["template"], "tokenizer");
    let summary: Value = serde_json::from_str(&read("reference/eval-set.json")).unwrap();
    assert_eq!((&summary["model"], &summary["chat_template"]), (&"test/llama_plain".into(), &"tokenizer".into()));
    let row = std::fs::read_dir(Path::new(&out).join("board")).unwrap();
    let names: Vec<String> = row.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("reward-bench-2-llama-plain-")), "{names:?}");
    let refused = command(&hub, &cache, &["eval", "--model", "no such thing", "--out", &out]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no such file or folder, and it is no Hub id"));
}
