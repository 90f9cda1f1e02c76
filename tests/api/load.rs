//! Many clients at once, of all sizes, some of which go away, send too much or read slowly, while the server is killed
//! and started again. Every answer is compared with `score`. Two seconds; `--all` a minute with 200 clients.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rewardscope_tests::median;
use serde_json::{Value, json};

use crate::server::{Server, is_close, scorer, scores, turn};

const MODEL: &str = "parity/llama_plain";

/// Numbers that look arbitrary and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

fn question(n: usize) -> String {
    format!("Question {n}: {}?", "why ".repeat(n % 23 + 1))
}

fn answer(n: usize) -> String {
    format!("{} {}", ["Red", "Blue", "Because", "No"][n % 4], "so ".repeat(n % 17))
}

/// What each question and answer scores.
fn expected(questions: usize, answers: usize) -> HashMap<(usize, usize), f64> {
    let scorer = scorer(MODEL);
    let mut all = HashMap::new();
    for q in 0..questions {
        let texts: Vec<String> = (0..answers).map(answer).collect();
        let found = scores(&scorer, &question(q), &texts.iter().map(String::as_str).collect::<Vec<_>>());
        all.extend(found.iter().enumerate().map(|(a, score)| ((q, a), score.score)));
    }
    all
}

#[test]
fn no_answer_is_wrong_or_lost() {
    let is_all = std::env::var("REWARDSCOPE_ALL").is_ok_and(|all| all == "1");
    let (clients, seconds) = if is_all { (200, 60) } else { (24, 2) };
    let (questions, answers) = (30, 12);
    let expected = expected(questions, answers);
    let port = free_port();
    let start =
        || Server::start_at(MODEL, port, &["--max-waiting", "512", "--max-body", "60000", "--prefix-cache", "4"]);
    let server = Mutex::new(Some(start()));
    let (right, busy, lost, cut) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let times = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (expected, right, busy, lost, cut, times) = (&expected, &right, &busy, &lost, &cut, &times);
            scope.spawn(move || {
                let mut numbers = Numbers(client as u64 * 977 + 5);
                while Instant::now() < until {
                    let (q, first, count) =
                        (numbers.below(questions), numbers.below(answers - 3), [1, 1, 1, 3][numbers.below(4)]);
                    let texts: Vec<String> = (first..first + count).map(answer).collect();
                    let item = json!({"messages": [turn("user", &question(q))], "completions": texts});
                    let body = json!({"items": [item]}).to_string();
                    let kind = numbers.below(40);
                    let began = Instant::now();
                    match kind {
                        // Too large.
                        0 => match asked(port, &" ".repeat(70_000), Duration::ZERO) {
                            Some((status, _)) => assert_eq!(status, 413),
                            None => _ = cut.fetch_add(1, Ordering::Relaxed),
                        },
                        // Goes away.
                        1 => {
                            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                                let _ = stream.write_all(request(&body).as_bytes());
                            }
                        }
                        _ => {
                            // Some read slowly.
                            let pause = if kind == 2 { Duration::from_millis(30) } else { Duration::ZERO };
                            let Some((status, text)) = asked(port, &body, pause) else {
                                // The server was killed: the client knows, and asks again.
                                lost.fetch_add(1, Ordering::Relaxed);
                                std::thread::sleep(Duration::from_millis(50));
                                continue;
                            };
                            if status == 429 {
                                busy.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            assert_eq!(status, 200, "{text}");
                            let found: Value = serde_json::from_str(&text).unwrap();
                            let rewards = found["items"][0]["rewards"].as_array().unwrap();
                            assert_eq!(rewards.len(), count);
                            for (reward, a) in rewards.iter().zip(first..) {
                                is_close(&reward["reward"], expected[&(q, a)]);
                            }
                            right.fetch_add(1, Ordering::Relaxed);
                            times.lock().unwrap().push(began.elapsed().as_secs_f64() * 1000.0);
                        }
                    }
                }
            });
        }
        // Killed in the middle, and started again.
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        drop(server.lock().unwrap().take());
        *server.lock().unwrap() = Some(start());
    });
    let server = server.into_inner().unwrap().unwrap();
    let memory = server.peak_bytes();
    let mut times = times.into_inner().unwrap();
    times.sort_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    println!(
        "{clients} clients, {seconds} s: {} right answers, {} refused as busy, {} cut off by the kill, p50 {:.0} ms, p99 {p99:.0} ms, peak {} MB",
        right.load(Ordering::Relaxed),
        busy.load(Ordering::Relaxed),
        lost.load(Ordering::Relaxed) + cut.load(Ordering::Relaxed),
        median(times.clone()),
        memory >> 20
    );
    assert!(right.load(Ordering::Relaxed) > 20);
    assert!(memory < 1 << 30, "{memory} bytes");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn request(body: &str) -> String {
    format!(
        "POST /v1/rewards HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks on a connection of its own; `None` where it was cut off. A slow reader pauses between pieces.
fn asked(port: u16, body: &str, pause: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    // A body that is too large is refused before it was read.
    let _ = stream.write_all(request(body).as_bytes());
    let (mut answer, mut piece) = (Vec::new(), [0; 512]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend(&piece[..count]),
            Err(_) if answer.is_empty() => return None,
            Err(_) => break,
        }
        std::thread::sleep(pause);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length =
        head.to_ascii_lowercase().split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    (body.len() == length).then(|| (status, body.to_owned()))
}

impl Server {
    fn peak_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}
