//! What the server does not take, and how it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rewardscope_tests::{fixture, scratch};
use serde_json::{Value, json};

use crate::server::{Server, is_close, scorer, scores, token_file, turn};

const MODEL: &str = "parity/llama_plain";

fn asked(question: &str, completions: &[&str]) -> Value {
    json!({"items": [{"messages": [turn("user", question)], "completions": completions}]})
}

#[test]
fn n_requests_of_a_prompt_compute_it_once() {
    let (server, scorer) = (Server::start(MODEL, &[]), scorer(MODEL));
    let question = "Which of these is a colour of the rainbow, and which is not?";
    let answers: Vec<String> =
        (0..8).map(|n| format!("{} Answer {n}.", ["Red", "Blue", "Monday", "Green"][n % 4])).collect();
    let all: Vec<&str> = answers.iter().map(String::as_str).collect();
    let expected = scores(&scorer, question, &all);
    let prompt = expected[0].tokens - expected[0].completion_tokens;
    for (answer, expected) in all.iter().zip(&expected) {
        let found = server.ask("/v1/rewards", &asked(question, &[answer]));
        is_close(&found["items"][0]["rewards"][0]["reward"], expected.score);
    }
    let own: usize = expected.iter().map(|score| score.completion_tokens).sum();
    assert_eq!(server.count("rewardscope_computed_tokens_total") as usize, prompt + own);
    assert_eq!(server.count("rewardscope_tokens_total") as usize, 8 * prompt + own);
    assert_eq!(server.count("rewardscope_waiting_texts") as usize, 0);
}

#[test]
fn wrong_bodies_get_a_sentence() {
    let server = Server::start(MODEL, &["--max-body", "2000", "--max-waiting", "8"]);
    for (path, body, named) in [
        ("/v1/rewards", "{", "reading the body of /v1/rewards"),
        ("/v1/rewards", "[]", "reading the body of /v1/rewards"),
        ("/v1/rewards", r#"{"items": [{"messages": [], "completions": ["a"], "typo": 1}]}"#, "typo"),
        ("/v1/rewards", r#"{"items": [{"messages": []}]}"#, "either completions or steps"),
        ("/v1/rewards", r#"{"items": [{"messages": [], "steps": ["a"]}]}"#, "steps"),
        ("/get_reward", r#"{"queries": ["a"]}"#, "query"),
        ("/get_reward", r#"{"query": [1]}"#, "reading the body of /get_reward"),
        ("/get_reward", r#"{"query": [""]}"#, "token"),
        ("/", r#"{"inputs": 3}"#, "reading the body of /"),
        ("/classify", r#"{"input": "a", "messages": []}"#, "either input or messages"),
        ("/classify", r#"{"input": [[99999999]]}"#, "99999999"),
        ("/classify", r#"{"messages": [{"role": "user", "content": "a"}]}"#, "ends with the assistant"),
        ("/rerank", r#"{"query": "a"}"#, "both or none"),
        ("/score", r#"{"queries": ["a", "b"], "documents": ["c", "d", "e"]}"#, "2 queries and 3 documents"),
        ("/predict", r#"{"inputs": ["a", "b", "c"]}"#, "a pair of texts"),
        ("/v1/chat/completions", r#"{"model": "rm", "messages": []}"#, "a conversation was expected"),
    ] {
        let message = server.refused(path, body, 422);
        assert!(message.contains(named), "{body}: {message}");
    }
    // Larger than may be.
    let long = json!({"query": ["word ".repeat(1000)]}).to_string();
    assert!(server.refused("/get_reward", &long, 413).contains("reading the body"));
    let many = json!({"query": vec!["a"; 9]}).to_string();
    assert!(server.refused("/get_reward", &many, 413).contains("at most 8 texts"));
    // Another kind of body, and none.
    let response = server.agent.post(format!("http://{}/get_reward", server.address)).send("query=a").unwrap();
    assert_eq!(response.status().as_u16(), 415);
    assert_eq!(server.get("/get_reward").0, 405);
    // One wrong text does not spoil what others asked at the same time.
    let found = server.ask("/v1/rewards", &asked("Why?", &["Because."]));
    is_close(&found["items"][0]["rewards"][0]["reward"], scores(&scorer(MODEL), "Why?", &["Because."])[0].score);
}

#[test]
fn a_token_is_needed_where_others_reach_the_address() {
    let folder = scratch("api-token");
    let path = token_file(&folder, "a-token-of-some-length").display().to_string();
    let mut server = Server::start(MODEL, &["--token-file", &path]);
    let body = asked("Why?", &["Because."]).to_string();
    assert!(server.refused("/v1/rewards", &body, 401).contains("a token was expected"));
    assert_eq!((server.get("/health").0, server.get("/metrics").0), (200, 401));
    server.token = Some("a-token-of-some-lengtH".to_owned());
    server.refused("/v1/rewards", &body, 401);
    server.token = Some("a-token-of-some-length".to_owned());
    assert_eq!(server.post_text("/v1/rewards", &body).0, 200);
    let model = fixture(MODEL).display().to_string();
    let short = token_file(&scratch("api-short"), "short").display().to_string();
    for (more, named) in [
        (&["--host", "0.0.0.0"][..], "--token-file FILE"),
        (&["--token-file", &short], "at least 16"),
        (&["--token-file", "/nowhere/token"], "reading /nowhere/token"),
    ] {
        let all = [&["api", "--device", "cpu", "--port", "0", "--model", &model], more].concat();
        let output = rewardscope_tests::run(&all);
        let said = rewardscope_tests::said(&output);
        assert!(output.status.code() == Some(2) && said.contains(named), "{said}");
        assert!(!said.contains("loading"), "it is refused before the model is loaded");
    }
    // A port that is taken.
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let output = rewardscope_tests::run(&["api", "--device", "cpu", "--port", &port, "--model", &model]);
    let said = rewardscope_tests::said(&output);
    assert!(output.status.code() == Some(2) && said.contains("listening at 127.0.0.1"), "{said}");
}

#[test]
fn a_full_queue_refuses_and_what_was_asked_before_the_end_is_answered() {
    let server = Server::start(MODEL, &["--max-waiting", "64", "--batch-wait", "400"]);
    let question = "Why? ".repeat(20);
    let many: Vec<String> = (0..60).map(|n| format!("Because {n}.")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let body = asked(&question, &many).to_string();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.post_text("/v1/rewards", &body));
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.count("rewardscope_waiting_texts") < 60.0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The first request waits for more texts; there is no room for five.
        let mut response = server.agent.post(format!("http://{}/v1/rewards", server.address));
        response = response.header("Content-Type", "application/json");
        let mut response = response.send(asked("a", &["b"; 5]).to_string()).unwrap();
        assert_eq!(response.status().as_u16(), 429, "{}", response.body_mut().read_to_string().unwrap());
        assert_eq!(response.headers()["retry-after"], "1");
        server.signal("-TERM");
        let (status, answer) = first.join().unwrap();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["items"][0]["rewards"].as_array().unwrap().len(), 60);
    });
    assert!(server.end().success());
}

#[test]
fn work_of_a_client_that_went_away_is_dropped() {
    let server = Server::start(MODEL, &["--batch-wait", "600"]);
    let body = asked("Why?", &["Because."; 50]).to_string();
    let mut gone = TcpStream::connect(&server.address).unwrap();
    write!(
        gone,
        "POST /v1/rewards HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    gone.flush().unwrap();
    // The first batch waits; the second is asked while the first is, and its client leaves.
    std::thread::sleep(Duration::from_millis(100));
    let second = TcpStream::connect(&server.address).unwrap();
    write!(
        &second,
        "POST /v1/rewards HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    drop(second);
    let mut start = [0; 12];
    gone.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.count("rewardscope_waiting_texts") > 0.0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (texts, dropped) = (server.count("rewardscope_texts_total"), server.count("rewardscope_dropped_texts_total"));
    assert_eq!((texts, dropped), (50.0, 50.0));
}

/// Nothing of a text is printed.
#[test]
fn texts_are_not_logged() {
    let folder = fixture(MODEL).display().to_string();
    let mut command = rewardscope_tests::command();
    command.args(["api", "--device", "cpu", "--port", "0", "--model", &folder, "--log-requests"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening at http://") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0);
    }
    let address = line.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let body = asked("A secret question?", &["A secret answer."]).to_string();
    let url = format!("http://{address}/v1/rewards");
    let response = ureq::post(&url).header("Content-Type", "application/json").send(body.as_str()).unwrap();
    assert_eq!(response.status().as_u16(), 200);
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    assert!(rest.contains("/v1/rewards") && rest.contains("200") && !rest.contains("secret"), "{rest}");
}
