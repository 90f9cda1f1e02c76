//! A Hub on localhost that serves our own files, with the real Hub's listings, redirects, ranges and CORS headers. On
//! demand it produces every fault that a download must survive.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rewardscope_store::{Digest, Hasher};
use serde_json::{Value, json};

use crate::{fixture, root};

/// The commit of every repository.
pub const COMMIT: &str = "00112233445566778899aabbccddeeff00112233";

/// The access token for the gated repository.
pub const TOKEN: &str = "hf_test_token";

/// A fault of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends in the middle of the body.
    Cut,
    /// The body and its announced length are half of what was asked for.
    Short,
    /// Other bytes than those asked for, and a `Content-Range` that says so.
    WrongRange,
    /// 429 with `Retry-After: 1`.
    TooMany,
    /// 503 with `Retry-After: 1`.
    Unavailable,
    /// 500 with an empty body.
    ServerError,
    /// 503 with `Retry-After: 3600`.
    LongWait,
    /// One byte at a time, with pauses.
    Drip,
    /// Other content under the same address.
    Changed,
    /// A web page with status 200.
    WebPage,
    /// No CORS headers.
    NoCors,
}

impl Fault {
    /// Every fault with its name in requests to `/faults`.
    pub const ALL: [(&'static str, Self); 11] = [
        ("cut", Self::Cut),
        ("short", Self::Short),
        ("wrong-range", Self::WrongRange),
        ("429", Self::TooMany),
        ("503", Self::Unavailable),
        ("500", Self::ServerError),
        ("long-wait", Self::LongWait),
        ("drip", Self::Drip),
        ("changed", Self::Changed),
        ("web-page", Self::WebPage),
        ("no-cors", Self::NoCors),
    ];
}

/// A file of a repository.
#[derive(Clone)]
enum Content {
    /// A file on disk.
    File(PathBuf),
    /// A beginning, then bytes of [`MADE`] by their place.
    Made {
        head: Arc<[u8]>,
        /// Size of the whole.
        bytes: u64,
    },
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Self::File(path) => std::fs::metadata(path).map_or(0, |found| found.len()),
            Self::Made { bytes, .. } => *bytes,
        }
    }

    fn read(&self, start: u64, len: usize) -> Vec<u8> {
        match self {
            Self::File(path) => {
                let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let mut bytes = vec![0; len];
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start)).unwrap_or_else(|e| panic!("{e}"));
                file.read_exact(&mut bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                bytes
            }
            Self::Made { head, .. } => {
                let mut bytes = Vec::with_capacity(len);
                bytes.extend(head.iter().skip(start as usize).take(len));
                let made = MADE.get_or_init(|| (0..MADE_BYTES).map(made).collect());
                while bytes.len() < len {
                    // In slices, because this is compiled without optimisation.
                    let from = ((start + bytes.len() as u64) % MADE_BYTES as u64) as usize;
                    let to = MADE_BYTES.min(from + len - bytes.len());
                    bytes.extend_from_slice(&made[from..to]);
                }
                bytes
            }
        }
    }
}

/// Made-up values, which come again and again.
static MADE: OnceLock<Vec<u8>> = OnceLock::new();
/// Bytes of [`MADE`].
const MADE_BYTES: usize = 1 << 20;

/// The byte at a place of made-up bf16 values, which are from 2^-7 to 2^-5 with both signs.
fn made(place: usize) -> u8 {
    let place = place as u64;
    let mixed = (place >> 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if place & 1 == 1 { 0x3c | ((mixed >> 3) as u8 & 0x80) } else { mixed as u8 }
}

struct Repository {
    files: BTreeMap<String, Content>,
    gated: bool,
    /// Made at the first request, because hashing takes a while.
    listing: Option<String>,
}

/// A request that the server got.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Path with its query.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether it had an access token.
    pub authorized: bool,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// The current fault, how many responses it still affects, and what their paths must contain.
    fault: Option<(Fault, usize, String)>,
    seen: Vec<Seen>,
}

/// A running Hub.
pub struct TestHub {
    /// Its port on localhost.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl TestHub {
    /// Starts a Hub on `port`, or on a free port if it is 0. It serves fixture checkpoints and model folders, SmolLM2
    /// whole and in parts, the sample's rows, and a large checkpoint that is made on the fly.
    ///
    /// # Panics
    /// When no port can be opened.
    pub fn start(port: u16) -> Self {
        let mut state = State::default();
        let mut add = |id: &str, folder: &Path, skip: &[&str], gated: bool| {
            let mut files = BTreeMap::new();
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_file() && !skip.contains(&name.as_str()) {
                    files.insert(name, Content::File(entry.path()));
                }
            }
            state.repositories.insert(id.to_owned(), Repository { files, gated, listing: None });
        };
        let skip = ["expected.json", "config.as_saved_by_v5.json"];
        add("models/test/llama_plain", &fixture("parity/llama_plain"), &skip, false);
        add("models/test/gated", &fixture("parity/llama_plain"), &skip, true);
        add("models/test/causal", &fixture("parity/causal_gpt_neox"), &skip, false);
        for name in ["policy", "reference"] {
            add(&format!("models/test/dpo-{name}"), &fixture(&format!("parity/dpo_llama/{name}")), &skip, false);
        }
        add("models/test/smollm2", &root().join(".cache/models"), &[], false);
        add("models/test/smollm2-parts", &root().join(".cache/site/models/smollm2-135m-instruct"), &[], false);
        add("datasets/test/sample", &root().join("sample"), &["README.md"], false);
        for folder in std::fs::read_dir(fixture("model_files")).into_iter().flatten().flatten() {
            if folder.path().is_dir() {
                add(&format!("models/test/{}", folder.file_name().to_string_lossy()), &folder.path(), &[], false);
            }
        }
        for repository in state.repositories.values_mut() {
            name_base(repository);
        }
        let large = Repository { files: large_checkpoint(), gated: false, listing: None };
        state.repositories.insert("models/test/qwen3-0.6b-sized".to_owned(), large);

        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| panic!("opening a port: {e}"));
        let port = listener.local_addr().map_or(port, |address| address.port());
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                // Errors are ignored: tests make clients that disconnect early.
                std::thread::spawn(move || answer(stream, port, &state).ok());
            }
        });
        Self { port, state }
    }

    /// Adds a dataset with these bytes as its only file. Gives the file's address.
    pub fn add_dataset(&self, id: &str, file: &str, bytes: Vec<u8>) -> String {
        let content = Content::Made { bytes: bytes.len() as u64, head: bytes.into() };
        let files = [(file.to_owned(), content)].into();
        let key = format!("datasets/{id}");
        lock(&self.state).repositories.insert(key.clone(), Repository { files, gated: false, listing: None });
        format!("{}/cdn/{key}/{file}", self.endpoint())
    }

    /// The address for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Applies a fault to the next `times` responses whose paths contain `path`.
    pub fn misbehave(&self, fault: Fault, times: usize, path: &str) {
        lock(&self.state).fault = Some((fault, times, path.to_owned()));
    }

    /// Ends the fault. Gives the number of responses that it would still have affected.
    pub fn behave(&self) -> usize {
        lock(&self.state).fault.take().map_or(0, |(_, left, _)| left)
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes the base that an adapter names: on disk a folder beside it, here a repository of the same name.
fn name_base(repository: &mut Repository) {
    let Some(config) = repository.files.get_mut("adapter_config.json") else { return };
    let text = String::from_utf8_lossy(&config.read(0, config.bytes() as usize)).into_owned();
    let head: Arc<[u8]> = text.replace("\"../", "\"test/").into_bytes().into();
    let bytes = head.len() as u64;
    *config = Content::Made { head, bytes };
}

/// A bf16 checkpoint with the tensor sizes of Qwen3-0.6B under Llama's names: 1.19 GB.
fn large_checkpoint() -> BTreeMap<String, Content> {
    const LAYERS: usize = 28;
    let [hidden, heads, key_values, feed_forward, vocabulary] = [1024usize, 2048, 1024, 3072, 151_936];
    let mut tensors: Vec<(String, Vec<usize>)> =
        vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden])];
    for layer in 0..LAYERS {
        let parts: [(&str, Vec<usize>); 9] = [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![heads, hidden]),
            ("self_attn.k_proj", vec![key_values, hidden]),
            ("self_attn.v_proj", vec![key_values, hidden]),
            ("self_attn.o_proj", vec![hidden, heads]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![feed_forward, hidden]),
            ("mlp.up_proj", vec![feed_forward, hidden]),
            ("mlp.down_proj", vec![hidden, feed_forward]),
        ];
        tensors.extend(parts.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>() as u64;
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Padded so that values begin at an even place, as `made` assumes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let head: Vec<u8> = (header.len() as u64).to_le_bytes().into_iter().chain(header).collect();
    let bytes = head.len() as u64 + at;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "head_dim": 128,
        "num_attention_heads": 16, "num_key_value_heads": 8, "num_hidden_layers": LAYERS,
        "intermediate_size": feed_forward, "vocab_size": vocabulary, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "hidden_act": "silu", "tie_word_embeddings": true,
        "attention_bias": false, "mlp_bias": false,
    });
    let config: Arc<[u8]> = config.to_string().into_bytes().into();
    let mut files = BTreeMap::new();
    files.insert("config.json".to_owned(), Content::Made { bytes: config.len() as u64, head: config });
    files.insert("model.safetensors".to_owned(), Content::Made { head: head.into(), bytes });
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let path = fixture("parity/llama_plain").join(file);
        if path.exists() {
            files.insert(file.to_owned(), Content::File(path));
        }
    }
    files
}

/// The Hub's listing of a repository, as JSON. Large files have a sha256, small files only git's hash.
fn listing(id: &str, repository: &Repository) -> String {
    const LARGE: u64 = 100 << 10;
    let siblings = repository.files.iter().map(|(name, content)| {
        let bytes = content.bytes();
        let git = git_hash(content);
        if bytes < LARGE {
            return json!({"rfilename": name, "size": bytes, "blobId": git});
        }
        let mut hash = Hasher::sha256();
        let mut at = 0;
        while at < bytes {
            let chunk = content.read(at, (bytes - at).min(4 << 20) as usize);
            hash.update(&chunk);
            at += chunk.len() as u64;
        }
        let lfs = json!({"sha256": hash.finish().hex(), "size": bytes, "pointerSize": 135});
        json!({"rfilename": name, "size": bytes, "blobId": git, "lfs": lfs})
    });
    let siblings: Vec<Value> = siblings.collect();
    json!({"id": id, "sha": COMMIT, "gated": repository.gated, "siblings": siblings}).to_string()
}

/// git's hash of a small file. For a large file the Hub gives the hash of its LFS pointer, which is not read, so zeros
/// are given.
fn git_hash(content: &Content) -> String {
    let bytes = content.bytes();
    if bytes > 1 << 20 {
        return "0".repeat(40);
    }
    let mut hash = Hasher::git_blob(bytes);
    hash.update(&content.read(0, bytes as usize));
    match hash.finish() {
        digest @ Digest::GitBlob(_) => digest.hex(),
        Digest::Sha256(_) => unreachable!("a git hasher gives a git hash"),
    }
}

const PAGE: &[u8] = b"<!doctype html><title>Sign in to this network</title>";

/// A response without its body.
struct Head {
    status: &'static str,
    headers: Vec<String>,
}

impl Head {
    fn new(status: &'static str) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(mut self, header: String) -> Self {
        self.headers.push(header);
        self
    }

    fn send(mut self, mut stream: &TcpStream, cors: bool, length: u64, body: &[u8]) -> std::io::Result<()> {
        self.headers.push(format!("Content-Length: {length}"));
        self.headers.push("Connection: close".to_owned());
        if cors {
            self.headers.push("Access-Control-Allow-Origin: *".to_owned());
            self.headers.push(
                "Access-Control-Expose-Headers: ETag, Content-Range, Content-Length, Retry-After, X-Error-Code"
                    .to_owned(),
            );
        }
        write!(stream, "HTTP/1.1 {}\r\n{}\r\n\r\n", self.status, self.headers.join("\r\n"))?;
        stream.write_all(body)
    }
}

fn answer(stream: TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    if method == "OPTIONS" {
        let allow = "Access-Control-Allow-Headers: Authorization, Range\r\nAccess-Control-Max-Age: 0".to_owned();
        return Head::new("204 No Content").with(allow).send(&stream, true, 0, b"");
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    if path == "/faults" {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let field = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let named = Fault::ALL.iter().find(|(name, _)| Some(*name) == field("kind"));
        let times = field("times").and_then(|times| times.parse().ok()).unwrap_or(1);
        let mut state = lock(state);
        let left = state.fault.take().map_or(0, |(_, left, _)| left);
        state.fault = named.map(|&(_, fault)| (fault, times, field("path").unwrap_or_default().to_owned()));
        drop(state);
        return Head::new("200 OK").send(&stream, true, left.to_string().len() as u64, left.to_string().as_bytes());
    }
    let fault = {
        let mut state = lock(state);
        state.seen.push(Seen {
            path: target.clone(),
            range: headers.get("range").cloned(),
            authorized: headers.contains_key("authorization"),
        });
        match &mut state.fault {
            Some((fault, left, part)) if *left > 0 && method == "GET" && path.contains(part.as_str()) => {
                *left -= 1;
                Some(*fault)
            }
            // CORS headers are missing for every method, not only GET.
            Some((Fault::NoCors, left, part)) if *left > 0 && path.contains(part.as_str()) => Some(Fault::NoCors),
            _ => None,
        }
    };
    let cors = fault != Some(Fault::NoCors);
    let plain = |status, headers: &[&str]| {
        let head = headers.iter().fold(Head::new(status), |head, header| head.with((*header).to_owned()));
        head.send(&stream, cors, 0, b"")
    };
    match fault {
        Some(Fault::TooMany) => return plain("429 Too Many Requests", &["Retry-After: 1"]),
        Some(Fault::Unavailable) => return plain("503 Service Unavailable", &["Retry-After: 1"]),
        Some(Fault::LongWait) => return plain("503 Service Unavailable", &["Retry-After: 3600"]),
        Some(Fault::ServerError) => return plain("500 Internal Server Error", &[]),
        Some(Fault::WebPage) => {
            let head = Head::new("200 OK").with("Content-Type: text/html; charset=utf-8".to_owned());
            return head.send(&stream, cors, PAGE.len() as u64, PAGE);
        }
        _ => {}
    }
    let authorization = headers.get("authorization");
    if let Some(rest) = path.strip_prefix("/api/") {
        let id = rest.split_once("/revision/").map_or(rest, |(id, _)| id).to_owned();
        let known = {
            let mut state = lock(state);
            let repository = state.repositories.get_mut(&id);
            repository.map(|repository| {
                let made = repository.listing.take().unwrap_or_else(|| listing(&id, repository));
                repository.listing = Some(made.clone());
                made
            })
        };
        return match known {
            Some(json) => {
                let head = Head::new("200 OK").with("Content-Type: application/json".to_owned());
                let sent = if fault == Some(Fault::Cut) { json.len() / 2 } else { json.len() };
                head.send(&stream, cors, json.len() as u64, &json.as_bytes()[..sent])
            }
            None => plain("401 Unauthorized", &["X-Error-Code: RepoNotFound"]),
        };
    }
    if let Some((id, file)) = path.split_once(&format!("/resolve/{COMMIT}/")) {
        let id = id.trim_start_matches('/');
        let key = if id.starts_with("datasets/") { id.to_owned() } else { format!("models/{id}") };
        let gated = lock(state).repositories.get(&key).is_some_and(|repository| repository.gated);
        if gated && authorization.is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
            return plain("401 Unauthorized", &["X-Error-Code: GatedRepo"]);
        }
        // Like the real Hub, redirects to another origin, to which a client must not send its token.
        let location = format!("Location: http://127.0.0.1:{port}/cdn/{key}/{file}?signed=1");
        return plain("302 Found", &[&location]);
    }
    let found = path.strip_prefix("/cdn/").and_then(|rest| {
        let (id, file) = rest.rsplit_once('/')?;
        lock(state).repositories.get(id)?.files.get(file).cloned()
    });
    let Some(content) = found else {
        return plain("404 Not Found", &["X-Error-Code: EntryNotFound"]);
    };
    if authorization.is_some() {
        return plain("400 Bad Request", &[]);
    }
    send_file(&stream, &content, headers.get("range").map(String::as_str), fault, cors)
}

fn send_file(
    mut stream: &TcpStream,
    content: &Content,
    range: Option<&str>,
    fault: Option<Fault>,
    cors: bool,
) -> std::io::Result<()> {
    const CHUNK: u64 = 256 << 10;
    let whole = content.bytes();
    let asked = range.and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<u64>().ok()?, end.parse::<u64>().map_or(whole, |end| (end + 1).min(whole))))
    });
    let (mut start, mut end) = asked.unwrap_or((0, whole));
    match fault {
        Some(Fault::Short) => end = start + (end - start) / 2,
        Some(Fault::WrongRange) if end > start + 1 => start += 1,
        _ => {}
    }
    let head = match range {
        Some(_) => Head::new("206 Partial Content").with(format!("Content-Range: bytes {start}-{}/{whole}", end - 1)),
        None => Head::new("200 OK"),
    };
    head.with("Content-Type: application/octet-stream".to_owned()).send(stream, cors, end - start, b"")?;
    let stop = if fault == Some(Fault::Cut) { start + (end - start) / 2 } else { end };
    if fault == Some(Fault::Drip) {
        // Until the client disconnects.
        for place in start..end {
            stream.write_all(&content.read(place, 1))?;
            std::thread::sleep(Duration::from_millis(50));
        }
        return Ok(());
    }
    while start < stop {
        let mut bytes = content.read(start, CHUNK.min(stop - start) as usize);
        if fault == Some(Fault::Changed) {
            for byte in &mut bytes {
                *byte ^= 0x55;
            }
        }
        stream.write_all(&bytes)?;
        start += bytes.len() as u64;
    }
    Ok(())
}
