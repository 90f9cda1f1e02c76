//! Fetches a range of a file over connections that may be cut, slow or refused, or may answer with
//! something else. Bytes that came are kept, and the rest is asked for again. What cannot be mended
//! ends in one sentence.

use std::cell::RefCell;

use crate::{Cancel, StoreError, platform};

/// An access token for the Hub. It is never shown and never stored.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token of a text, without white space around it; `None` when the text is empty or cannot be a header's value.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// One request as a platform sends it.
pub(crate) struct Request<'a> {
    pub url: &'a str,
    /// The first byte and one past the last; the whole resource where `None`.
    pub range: Option<(u64, u64)>,
    pub token: Option<&'a Token>,
}

/// Attempts in a row that bring under [`WORTHWHILE_BYTES`] before a request is given up.
const ATTEMPTS: u32 = 6;

/// Bytes from which an attempt counts as a success.
const WORTHWHILE_BYTES: u64 = 64 << 10;

/// Longest wait that a server may ask for, in ms. The Hub counts requests over five minutes.
const LONGEST_WAIT_MS: f64 = 330_000.0;

/// A connection without bytes for this many ms is dead.
pub(crate) const STALL_MS: f64 = 15_000.0;

/// In every span of this many ms a connection must bring [`LEAST_BYTES`]; a slower one is opened anew.
const PACE_MS: f64 = 10_000.0;
/// Least bytes that a connection must bring in [`PACE_MS`].
const LEAST_BYTES: u64 = 8 << 10;

/// Why an attempt failed.
pub(crate) enum Fault {
    /// Another attempt may succeed, after `wait_ms` milliseconds where the server said so.
    Again { reason: String, wait_ms: Option<f64> },
    /// No further attempt can succeed.
    Final(StoreError),
}

/// A fault after which another attempt may succeed.
pub(crate) fn again(reason: impl Into<String>) -> Fault {
    Fault::Again { reason: reason.into(), wait_ms: None }
}

/// Part of a resource to ask a server for.
pub(crate) struct Wanted<'a> {
    /// The name for messages.
    pub name: &'a str,
    pub url: &'a str,
    pub token: Option<&'a Token>,
    /// First byte of the part in the resource.
    pub start: u64,
    /// Bytes of the part.
    pub bytes: u64,
    /// Bytes of the whole resource.
    pub resource_bytes: u64,
}

/// Where a part's bytes go.
pub(crate) trait Sink {
    /// Takes bytes that begin at byte `at` of the part.
    async fn take(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Fetches the bytes of a part, from byte `done` of the part on, into the sink, over as many connections as needed.
pub(crate) async fn fetch(
    wanted: &Wanted<'_>,
    mut done: u64,
    sink: &impl Sink,
    cancel: &Cancel,
    trouble: &RefCell<dyn FnMut(String) + '_>,
) -> Result<(), StoreError> {
    let mut attempt = 0;
    while done < wanted.bytes {
        let before = done;
        let fault = match attempt_once(wanted, &mut done, sink, cancel).await {
            Ok(()) => continue,
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Again { reason, wait_ms }) => (reason, wait_ms),
        };
        attempt = if done - before >= WORTHWHILE_BYTES { 1 } else { attempt + 1 };
        wait_or_give_up(wanted.name, attempt, ATTEMPTS, fault, cancel, trouble).await?;
    }
    Ok(())
}

/// Fetches a small whole resource, such as a listing, into memory.
pub(crate) async fn fetch_small(
    name: &str,
    url: &str,
    token: Option<&Token>,
    attempts: u32,
    cancel: &Cancel,
    trouble: &RefCell<dyn FnMut(String) + '_>,
) -> Result<Vec<u8>, StoreError> {
    const MOST: usize = 64 << 20;
    repeatedly(name, attempts, cancel, trouble, async || {
        let mut response = platform::send(&Request { url, range: None, token }, cancel).await?;
        refuse_status(name, &response, token)?;
        if response.status != 200 {
            return Err(again(format!("the server answered {}", response.status)));
        }
        refuse_web_page(name, &response)?;
        let announced: Option<usize> = response.header("content-length").and_then(|length| length.parse().ok());
        let mut bytes = Vec::new();
        let mut pace = Pace::new();
        while let Some(chunk) = response.chunk(cancel).await? {
            bytes.extend_from_slice(&chunk);
            pace.keep(chunk.len())?;
            if bytes.len() > MOST {
                let reason = format!("at most {MOST} bytes were expected, the server sends more");
                return Err(Fault::Final(StoreError::Read { name: name.to_owned(), reason }));
            }
        }
        // A compressed answer announces its compressed length.
        let plain = response.shows_encoding() && response.header("content-encoding").is_none();
        match announced {
            Some(announced) if plain && announced != bytes.len() => {
                Err(again(format!("the connection ended after {} of {announced} bytes", bytes.len())))
            }
            _ => Ok(bytes),
        }
    })
    .await
}

/// The size in bytes of a resource that can be fetched by range; `None` where the server sends no
/// ranges, or does not say the size.
pub(crate) async fn ranged_bytes(
    name: &str,
    url: &str,
    token: Option<&Token>,
    cancel: &Cancel,
    trouble: &RefCell<dyn FnMut(String) + '_>,
) -> Result<Option<u64>, StoreError> {
    repeatedly(name, ATTEMPTS, cancel, trouble, async || {
        let response = platform::send(&Request { url, range: Some((0, 1)), token }, cancel).await?;
        refuse_status(name, &response, token)?;
        refuse_web_page(name, &response)?;
        let range = response.header("content-range").filter(|_| response.status == 206);
        Ok(range.and_then(|range| parse_content_range(&range)?.1))
    })
    .await
}

/// Tries until an attempt succeeds, fails for good, or is the last; waits in between.
async fn repeatedly<T>(
    name: &str,
    attempts: u32,
    cancel: &Cancel,
    trouble: &RefCell<dyn FnMut(String) + '_>,
    mut once: impl AsyncFnMut() -> Result<T, Fault>,
) -> Result<T, StoreError> {
    let mut attempt = 0;
    loop {
        cancel.check()?;
        let fault = match once().await {
            Ok(done) => return Ok(done),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Again { reason, wait_ms }) => (reason, wait_ms),
        };
        attempt += 1;
        wait_or_give_up(name, attempt, attempts, fault, cancel, trouble).await?;
    }
}

async fn wait_or_give_up(
    name: &str,
    attempt: u32,
    attempts: u32,
    (reason, asked_ms): (String, Option<f64>),
    cancel: &Cancel,
    trouble: &RefCell<dyn FnMut(String) + '_>,
) -> Result<(), StoreError> {
    cancel.check()?;
    let failed = |reason: String| StoreError::Read { name: name.to_owned(), reason };
    if attempt >= attempts {
        let times = if attempts == 1 { String::new() } else { format!("; it was tried {attempt} times in a row") };
        return Err(failed(format!("{reason}{times}")));
    }
    if let Some(ms) = asked_ms.filter(|&ms| ms > LONGEST_WAIT_MS) {
        return Err(failed(format!("{reason}, and asks to come back in {:.0} s; try again then", ms / 1e3)));
    }
    // Half a second, doubled each time, and up to a fifth more by chance, so that many clients do not come at once.
    let own_ms = 500.0 * f64::from(1 << (attempt - 1).min(4)) * (1.0 + 0.2 * (platform::now_ms() % 1.0));
    let mut left_ms = asked_ms.unwrap_or(own_ms);
    trouble.borrow_mut()(format!("{name}: {reason}; trying again in {:.1} s", left_ms / 1e3));
    while left_ms > 0.0 {
        let step = left_ms.min(200.0);
        platform::sleep(step).await;
        cancel.check()?;
        left_ms -= step;
    }
    Ok(())
}

async fn attempt_once(wanted: &Wanted<'_>, done: &mut u64, sink: &impl Sink, cancel: &Cancel) -> Result<(), Fault> {
    cancel.check().map_err(|e| Fault::Final(e.into()))?;
    let name = wanted.name;
    let (first, end) = (wanted.start + *done, wanted.start + wanted.bytes);
    // A whole resource is asked for without a range: some static hosts know no ranges.
    let whole = *done == 0 && wanted.bytes == wanted.resource_bytes;
    let request = Request { url: wanted.url, range: (!whole).then_some((first, end)), token: wanted.token };
    let mut response = platform::send(&request, cancel).await?;
    refuse_status(name, &response, wanted.token)?;
    let changed = |found: u64| {
        again(format!(
            "the file should have {} bytes, the server's has {found}; it changed meanwhile",
            wanted.resource_bytes
        ))
    };
    let mut skip = match response.status {
        206 => {
            if let Some(range) = response.header("content-range") {
                let Some((from, total)) = parse_content_range(&range) else {
                    return Err(again(format!("the server's Content-Range {range:?} cannot be read")));
                };
                if let Some(total) = total.filter(|&total| total != wanted.resource_bytes) {
                    return Err(changed(total));
                }
                if from != first {
                    return Err(again(format!("bytes from {first} were asked for, the server sent those from {from}")));
                }
            }
            0
        }
        200 => {
            refuse_web_page(name, &response)?;
            let plain = response.shows_encoding() && response.header("content-encoding").is_none();
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            if let Some(length) = length.filter(|&length| plain && length != wanted.resource_bytes) {
                return Err(changed(length));
            }
            // The server knows no ranges: the bytes before the missing ones are read and dropped.
            first
        }
        416 => return Err(changed_range(&response)),
        status => return Err(again(format!("part of a file was asked for, the server answered {status}"))),
    };
    let mut pace = Pace::new();
    while *done < wanted.bytes {
        let Some(chunk) = response.chunk(cancel).await? else {
            return Err(again(format!("the connection ended after {} of {} bytes", *done, wanted.bytes)));
        };
        let came = chunk.len();
        let mut chunk = chunk.as_slice();
        let passed = skip.min(chunk.len() as u64);
        skip -= passed;
        chunk = &chunk[passed as usize..];
        // A server may send more than was asked for; the rest is dropped.
        let kept = (wanted.bytes - *done).min(chunk.len() as u64) as usize;
        if kept > 0 {
            sink.take(*done, &chunk[..kept]).await.map_err(Fault::Final)?;
            *done += kept as u64;
        }
        if *done < wanted.bytes {
            pace.keep(came)?;
        }
    }
    Ok(())
}

/// Watches that enough bytes come: [`LEAST_BYTES`] in every [`PACE_MS`].
struct Pace {
    since_ms: f64,
    bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self { since_ms: platform::now_ms(), bytes: 0 }
    }

    fn keep(&mut self, came: usize) -> Result<(), Fault> {
        self.bytes += came as u64;
        let passed_ms = platform::now_ms() - self.since_ms;
        if passed_ms <= PACE_MS {
            return Ok(());
        }
        if self.bytes < LEAST_BYTES {
            return Err(again(format!("the server sent {} bytes in {:.0} s", self.bytes, passed_ms / 1e3)));
        }
        *self = Self::new();
        Ok(())
    }
}

fn changed_range(response: &platform::Response) -> Fault {
    let found = response.header("content-range").unwrap_or_else(|| "a shorter file".to_owned());
    again(format!("the server says that the part asked for is not there ({found}); the file changed meanwhile"))
}

/// The first byte, and the whole size in bytes where it is given, of `bytes FIRST-LAST/TOTAL`.
fn parse_content_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = span.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

/// Turns an error status into a sentence, or into a fault after which another attempt may succeed.
fn refuse_status(name: &str, response: &platform::Response, token: Option<&Token>) -> Result<(), Fault> {
    let refused = |reason: String| Err(Fault::Final(StoreError::Read { name: name.to_owned(), reason }));
    let code = response.header("x-error-code").unwrap_or_default();
    let status = response.status;
    match (status, code.as_str()) {
        (401 | 403, "GatedRepo") if token.is_none() => refused(
            "the repository is gated: accept its conditions on the Hub, then give an access token of that account"
                .to_owned(),
        ),
        (401 | 403, "GatedRepo") => refused(
            "the repository is gated, and the token's account has not been let in; accept its conditions on the Hub"
                .to_owned(),
        ),
        (404, "RevisionNotFound") => {
            refused("the repository has no such revision; check what follows the @".to_owned())
        }
        (404, "RepoNotFound") => refused("there is no such repository, or the token may not read it; check both".to_owned()),
        (401, _) if token.is_none() => refused(
            "the server answered 401: there is no such repository, or it is private; check the name, or give an access token that may read it".to_owned(),
        ),
        (401 | 403, _) if token.is_some() => {
            refused(format!("the server answered {status}: the access token may not read this; check the token"))
        }
        (403, _) => refused("the server answered 403: it does not give this out, or it is not there; check the name".to_owned()),
        (404 | 410, _) => refused(format!("the server answered {status}: there is no such file; check the name")),
        (408 | 425 | 429 | 500..=599, _) => Err(Fault::Again {
            reason: format!("the server answered {status}"),
            wait_ms: response
                .header("retry-after")
                .and_then(|value| retry_after_ms(&value))
                .or_else(|| rate_limit_ms(&response.header("ratelimit")?)),
        }),
        (400..=499, _) if status != 416 => refused(format!("the server answered {status}")),
        _ => Ok(()),
    }
}

/// A `Retry-After` header in milliseconds. `None` for a date: then our own waiting times apply.
fn retry_after_ms(value: &str) -> Option<f64> {
    let seconds: f64 = value.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds * 1e3)
}

/// The milliseconds until a limit is lifted: the seconds `t=` of a `RateLimit` header, such as
/// `"resolvers";r=0;t=57`.
fn rate_limit_ms(value: &str) -> Option<f64> {
    retry_after_ms(value.split(';').find_map(|part| part.trim().strip_prefix("t="))?)
}

/// Refuses a web page: error pages and sign-in pages of networks come with status 200.
fn refuse_web_page(name: &str, response: &platform::Response) -> Result<(), Fault> {
    if response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
        let reason = "a file was expected, the server sent a web page; check the address, and whether this network wants a sign-in".to_owned();
        return Err(Fault::Final(StoreError::Read { name: name.to_owned(), reason }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 5-9/20"), Some((5, Some(20))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "bytes", "bytes */20", "items 5-9/20", "bytes 5-9/x"] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn waiting_times_are_read() {
        assert_eq!(retry_after_ms(" 2 "), Some(2000.0));
        assert_eq!(retry_after_ms("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after_ms("-3"), None);
        assert_eq!(rate_limit_ms("\"resolvers\";r=0;t=57"), Some(57_000.0));
        assert_eq!(rate_limit_ms("\"resolvers\";r=0"), None);
    }

    #[test]
    fn tokens_are_not_shown() {
        let token = Token::new(" hf_secret\n").expect("a token");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.header(), "Bearer hf_secret");
        assert!(Token::new(" ").is_none() && Token::new("two words").is_none());
    }
}
