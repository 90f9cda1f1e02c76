//! A server of a small model, and what its answers must be.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use pollster::block_on;
use rewardscope_engine::{Cancel, Detail, Message, Score, Scorer};
use rewardscope_tests::{fixture, load, model};
use serde_json::{Value, json};
use ureq::Agent;

/// A server that runs until it is dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
    pub agent: Agent,
    pub token: Option<String>,
}

impl Server {
    /// Starts a server of a model of the fixtures on a free port.
    pub fn start(name: &str, more: &[&str]) -> Self {
        Self::start_at(name, 0, more)
    }

    /// Starts it on a port.
    pub fn start_at(name: &str, port: u16, more: &[&str]) -> Self {
        let port = port.to_string();
        let folder = fixture(name).display().to_string();
        let mut command = rewardscope_tests::command();
        command.args(["api", "--device", "cpu", "--port", &port, "--served-model-name", "rm", "--model", &folder]);
        let mut child = command.args(more).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, rest)) = line.split_once("listening at http://") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        // Read on, so that the server is never held up by a full pipe.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120)));
        Self { child, address, agent: agent.build().into(), token: None }
    }

    /// Posts a text; gives the status and the answer.
    pub fn post_text(&self, path: &str, body: &str) -> (u16, Value) {
        let mut request =
            self.agent.post(format!("http://{}{path}", self.address)).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Posts a value, and expects an answer.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post_text(path, &body.to_string());
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Posts a value, and expects a refusal with this status. Gives the sentence.
    pub fn refused(&self, path: &str, body: &str, expected: u16) -> String {
        let (status, answer) = self.post_text(path, body);
        assert_eq!(status, expected, "{path}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert_eq!(answer["detail"], message.as_str());
        message
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// A count of `/metrics`.
    pub fn count(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same model, in this process.
pub fn scorer(name: &str) -> Scorer {
    load(&model(&fixture(name)), None).unwrap()
}

/// The scores of completions of a question.
pub fn scores(scorer: &Scorer, question: &str, completions: &[&str]) -> Vec<Score> {
    let prompt = [Message::new("user", question)];
    block_on(scorer.score(&prompt, completions.iter().copied(), Detail::EveryToken, &Cancel::default())).unwrap()
}

/// The score of a text that is rendered already.
pub fn text_score(scorer: &Scorer, text: &str, adds_special: bool) -> f64 {
    let sequence = scorer.tokenize_text(text, adds_special).unwrap();
    block_on(scorer.score_tokens(&[sequence], Detail::Score, &Cancel::default())).unwrap()[0].score
}

pub fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// Checks that a number is another within 1e-5, relatively.
pub fn is_close(found: &Value, expected: f64) {
    let number = found.as_f64().unwrap_or_else(|| panic!("a number was expected: {found}"));
    assert!((number - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{number} is not {expected}");
}

pub fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A file with a token, in a folder.
pub fn token_file(folder: &Path, token: &str) -> PathBuf {
    let path = folder.join("token.txt");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    path
}
