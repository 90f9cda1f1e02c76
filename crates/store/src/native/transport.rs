use std::io::Read;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use futures_channel::{mpsc, oneshot};
use futures_util::{SinkExt, StreamExt};
use ureq::config::RedirectAuthHeaders;

use crate::Cancel;
use crate::http::{Fault, Request, STALL_MS, again};

/// Most bytes of a chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// An answer whose body comes in chunks. A thread of its own reads each connection, so that several
/// answers come at once. Dropping the answer closes its connection.
pub(crate) struct Response {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    body: mpsc::Receiver<Result<Vec<u8>, String>>,
}

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    let stall = Duration::from_secs_f64(STALL_MS / 1e3);
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(10)
        // The token is for the Hub only, not for hosts that it redirects to.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("rewardscope/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_connect(Some(stall))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .build()
        .into()
});

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(request: &Request<'_>, cancel: &Cancel) -> Result<Response, Fault> {
    cancel.check().map_err(|e| Fault::Final(e.into()))?;
    let mut call = AGENT.get(request.url);
    if let Some((start, end)) = request.range {
        call = call.header("Range", format!("bytes={start}-{}", end - 1));
    }
    if let Some(token) = request.token {
        call = call.header("Authorization", token.header());
    }
    let (head_in, head_out) = oneshot::channel();
    let (mut body_in, body_out) = mpsc::channel(2);
    std::thread::spawn(move || {
        let (parts, body) = match call.call() {
            Ok(response) => response.into_parts(),
            Err(error) => {
                let _ = head_in.send(Err(error.to_string()));
                return;
            }
        };
        if head_in.send(Ok(parts)).is_err() {
            return;
        }
        let mut reader = body.into_reader();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = reader.read(&mut chunk).map(|len| {
                chunk.truncate(len);
                chunk
            });
            let last = !read.as_ref().is_ok_and(|chunk| !chunk.is_empty());
            // The answer was dropped, or has ended: returning closes the connection.
            if pollster::block_on(body_in.send(read.map_err(|e| e.to_string()))).is_err() || last {
                return;
            }
        }
    });
    let head = head_out.await.unwrap_or_else(|_| Err("the connection's thread ended".to_owned()));
    let parts = head.map_err(|reason| again(format!("{} could not be reached ({reason})", host(request.url))))?;
    Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body: body_out })
}

fn host(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or(url)
}

impl Response {
    /// Whether the headers would show that a body is compressed.
    pub(crate) fn shows_encoding(&self) -> bool {
        true
    }

    /// The value of a header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// The next chunk of the body; `None` at the end.
    pub(crate) async fn chunk(&mut self, cancel: &Cancel) -> Result<Option<Vec<u8>>, Fault> {
        cancel.check().map_err(|e| Fault::Final(e.into()))?;
        match self.body.next().await {
            Some(Ok(chunk)) if !chunk.is_empty() => Ok(Some(chunk)),
            Some(Ok(_)) | None => Ok(None),
            Some(Err(reason)) => Err(again(format!("the connection broke ({reason})"))),
        }
    }
}

/// Waits `ms` milliseconds while other work goes on; does not wait for 0 ms.
pub async fn sleep(ms: f64) {
    if ms <= 0.0 {
        return;
    }
    let (done_in, done_out) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs_f64(ms / 1e3));
        let _ = done_in.send(());
    });
    let _ = done_out.await;
}

/// Milliseconds since the first call of this function in the process.
pub fn now_ms() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}
