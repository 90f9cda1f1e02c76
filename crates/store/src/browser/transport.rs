use js_sys::{Array, Boolean, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, RequestMode, WorkerGlobalScope,
};

use super::{said, scope};
use crate::http::{Fault, Request, STALL_MS, again};
use crate::{Cancel, Cancelled};

/// An answer whose body comes in chunks. Dropping it closes its connection.
pub(crate) struct Response {
    pub status: u16,
    headers: Headers,
    /// Whether the answer comes from this site itself.
    is_own: bool,
    reader: Option<ReadableStreamDefaultReader>,
    abort: AbortController,
}

impl Drop for Response {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Milliseconds between two looks for a cancellation.
const STEP_MS: f64 = 250.0;

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(request: &Request<'_>, cancel: &Cancel) -> Result<Response, Fault> {
    cancel.check().map_err(|e| Fault::Final(e.into()))?;
    let scope = scope().map_err(again)?;
    let prepared = || -> Result<_, JsValue> {
        let headers = Headers::new()?;
        if let Some((start, end)) = request.range {
            headers.set("Range", &format!("bytes={start}-{}", end - 1))?;
        }
        if let Some(token) = request.token {
            headers.set("Authorization", &token.header())?;
        }
        let abort = AbortController::new()?;
        let init = RequestInit::new();
        init.set_headers(&headers);
        init.set_signal(Some(&abort.signal()));
        // Our cache keeps the files; the browser's own would keep them a second time.
        init.set_cache(RequestCache::NoStore);
        Ok((web_sys::Request::new_with_str_and_init(request.url, &init)?, abort))
    };
    let (prepared, abort) = prepared().map_err(|e| again(said(e)))?;
    let fetched = scope.fetch_with_request(&prepared);
    let started = now_ms();
    let response = loop {
        match within(STEP_MS, fetched.clone()).await {
            Ok(Some(response)) => break response,
            Ok(None) if cancel.is_cancelled() => {
                abort.abort();
                return Err(Fault::Final(Cancelled.into()));
            }
            Ok(None) if now_ms() - started > STALL_MS => {
                abort.abort();
                return Err(again(format!("{} did not answer within {:.0} s", host(request.url), STALL_MS / 1e3)));
            }
            Ok(None) => {}
            Err(error) => return Err(again(unreachable(&scope, request.url, &said(error)).await)),
        }
    };
    let response: web_sys::Response = response.dyn_into().map_err(|e| again(said(e)))?;
    let reader = response.body().map(|body| body.get_reader().unchecked_into());
    let kind = Reflect::get(&response, &"type".into()).ok().and_then(|kind| kind.as_string());
    let is_own = kind.as_deref() == Some("basic");
    Ok(Response { status: response.status(), headers: response.headers(), is_own, reader, abort })
}

/// Why a server could not be reached. Browsers report the same error for a server that is down and for
/// one that does not allow this site, so this asks whether it answers at all.
async fn unreachable(scope: &WorkerGlobalScope, url: &str, reason: &str) -> String {
    let host = host(url);
    if !scope.navigator().on_line() {
        return format!("{host} could not be reached: this computer is offline");
    }
    if url.starts_with(&scope.origin()) {
        return format!("{host} could not be reached ({reason})");
    }
    let init = RequestInit::new();
    init.set_method("HEAD");
    init.set_mode(RequestMode::NoCors);
    init.set_cache(RequestCache::NoStore);
    match within(5_000.0, scope.fetch_with_str_and_init(url, &init)).await {
        Ok(Some(_)) => format!(
            "{host} answers, but not to this page: it sends no CORS headers that allow {}, or the connection broke",
            scope.origin()
        ),
        _ => format!("{host} could not be reached ({reason})"),
    }
}

fn host(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or(url)
}

impl Response {
    /// Whether the headers would show that a body is compressed. Other sites show a body's length, but
    /// not whether it is the compressed length. Browsers themselves refuse a body that is cut.
    pub(crate) fn shows_encoding(&self) -> bool {
        self.is_own
    }

    /// The value of a header, by its name in small letters. Other sites show only the headers that they expose.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).ok().flatten()
    }

    /// The next chunk of the body; `None` at the end.
    pub(crate) async fn chunk(&mut self, cancel: &Cancel) -> Result<Option<Vec<u8>>, Fault> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        // Looked at before there is a read: dropping this answer fails a read that nobody waits for, which a worker reports
        // as an error of its own.
        cancel.check().map_err(|e| Fault::Final(e.into()))?;
        let next = reader.read();
        let started = now_ms();
        loop {
            let read = within(STEP_MS, next.clone()).await;
            match read.map_err(|e| again(format!("the connection broke ({})", said(e))))? {
                Some(read) => {
                    let field = |name: &str| Reflect::get(&read, &name.into()).unwrap_or(JsValue::UNDEFINED);
                    if field("done").is_truthy() {
                        return Ok(None);
                    }
                    return Ok(Some(Uint8Array::new(&field("value")).to_vec()));
                }
                None if now_ms() - started > STALL_MS => {
                    return Err(again(format!("nothing came for {:.0} s", STALL_MS / 1e3)));
                }
                None => cancel.check().map_err(|e| Fault::Final(e.into()))?,
            }
        }
    }
}

/// The value of a promise; `None` when it takes longer than `ms` milliseconds.
async fn within(ms: f64, promise: Promise) -> Result<Option<JsValue>, JsValue> {
    // A fetch or a read never gives `false`.
    let (late, timer) = timer(ms, &Boolean::from(false));
    let first = JsFuture::from(Promise::race(&Array::of2(&promise, &late))).await;
    if let (Some(timer), Ok(scope)) = (timer, scope()) {
        scope.clear_timeout_with_handle(timer);
    }
    let first = first?;
    Ok((first != JsValue::FALSE).then_some(first))
}

/// A promise of a value after `ms` milliseconds, and the handle that cancels the timer.
fn timer(ms: f64, value: &JsValue) -> (Promise, Option<i32>) {
    let mut timer = None;
    let promise = Promise::new(&mut |resolve: Function, _| {
        let resolve: Function = resolve.bind1(&JsValue::NULL, value).unchecked_into();
        let set = scope().map(|scope| scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms as i32));
        match set {
            Ok(Ok(handle)) => timer = Some(handle),
            _ => drop(resolve.call0(&JsValue::NULL)),
        }
    });
    (promise, timer)
}

/// Waits `ms` milliseconds. The worker receives messages meanwhile, even for 0 ms.
pub async fn sleep(ms: f64) {
    let _ = JsFuture::from(timer(ms, &JsValue::UNDEFINED).0).await;
}

/// Milliseconds on the worker's clock.
pub fn now_ms() -> f64 {
    scope().ok().and_then(|scope| scope.performance()).map(|performance| performance.now()).unwrap_or_default()
}
