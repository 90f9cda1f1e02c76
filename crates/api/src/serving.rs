//! Opens the port, answers, and ends when it is told to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use rewardscope_engine::{Clock, EngineError, PrefixTree, Scorer};
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use crate::guard::{self, Token};
use crate::metrics::{Answered, Metrics};
use crate::model::Model;
use crate::queue::{self, Queue};
use crate::state::Api;
use crate::{dialects, docs};

/// How much the server takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub body_bytes: usize,
    /// Most texts that wait or are being scored, of all requests.
    pub texts: usize,
    /// Most bytes of those texts, each with its prompt.
    pub text_bytes: usize,
    /// Most tokens of a batch.
    pub batch_tokens: usize,
    /// How long a batch that is not full waits for more texts.
    pub wait: Duration,
    /// Most bytes of the keys and values of beginnings that are kept.
    pub kept_bytes: u64,
    /// How long a request may take.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            texts: 65_536,
            text_bytes: 512 << 20,
            batch_tokens: 16_384,
            wait: Duration::from_millis(2),
            kept_bytes: 1 << 30,
            request: Duration::from_secs(300),
        }
    }
}

/// How much longer than its scores a request may take, to be read and answered.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How the server is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen at.
    pub host: IpAddr,
    /// The port; 0 for any free one.
    pub port: u16,
    /// The model's name in requests and answers.
    pub name: String,
    /// What requests must carry, if anything.
    pub token: Option<Token>,
    /// The time that chat templates are told, for each batch anew; none where it stays that of the load.
    pub clock: Option<fn() -> Clock>,
    /// How much it takes.
    pub limits: Limits,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The port could not be opened.
    #[error("listening at {address}: {error}")]
    Port {
        /// The address with the port.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The server could not be started, or ended early.
    #[error("serving: {0}")]
    Ended(String),
    /// The device failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Serves a model until the process is told to end (SIGTERM, Ctrl-C); what was asked before is answered then. `opened`
/// gets the address once it is open. The calling thread computes.
///
/// # Errors
/// When the port cannot be opened, or the device fails.
pub fn serve(scorer: &Scorer, settings: Settings, opened: impl FnOnce(SocketAddr)) -> Result<(), ApiError> {
    let Settings { host, port, name, token, clock, limits } = settings;
    let address = SocketAddr::new(host, port);
    let listener = std::net::TcpListener::bind(address);
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = listener.map_err(|error| ApiError::Port { address, error })?;
    let metrics = Arc::new(Metrics::default());
    let (queue, waiting) = Queue::new(limits.texts, limits.text_bytes, limits.request, metrics.clone());
    let api = Api { model: Arc::new(Model::new(name, scorer.report())), queue, metrics: metrics.clone() };
    let router = router(api, token, limits);
    let server = std::thread::Builder::new().name("rewardscope-api".to_owned());
    let server = server
        .spawn(move || answer(listener, router, limits.request + BODY_TIME))
        .map_err(|e| ApiError::Ended(e.to_string()))?;
    opened(address);
    let mut tree = PrefixTree::new(limits.kept_bytes);
    // Ends when the server's thread has dropped its queue.
    queue::work(scorer, &waiting, &metrics, (limits.wait, limits.batch_tokens), &mut tree, clock)?;
    match server.join() {
        Ok(answered) => answered.map_err(|e| ApiError::Ended(e.to_string())),
        Err(_) => Err(ApiError::Ended("the server's thread ended".to_owned())),
    }
}

/// All routes.
pub(crate) fn router(api: Api, token: Option<Token>, limits: Limits) -> Router {
    let counted = middleware::from_fn_with_state(api.metrics.clone(), count);
    dialects::routes()
        .merge(docs::routes())
        .with_state(api)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.request + BODY_TIME))
        .layer(middleware::from_fn_with_state(token, guard::check))
        .layer(counted)
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request| {
                    // The path alone: a query may hold a text.
                    tracing::info_span!("request", method = %request.method(), path = request.uri().path())
                })
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
}

/// The status of the answer to a body, as far as it can be told without a model: 503 where it would be scored. For tests
/// of bodies that are wrong.
pub fn status_of_body(path: &str, body: &[u8]) -> u16 {
    let metrics = Arc::new(Metrics::default());
    let limits = Limits::default();
    // Nobody takes what is asked.
    let (queue, _) = Queue::new(limits.texts, limits.text_bytes, limits.request, metrics.clone());
    let api = Api { model: Arc::default(), queue, metrics };
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
    let Ok(request) = request else {
        return StatusCode::BAD_REQUEST.as_u16();
    };
    let router = dialects::routes().with_state(api);
    pollster::block_on(router.oneshot(request)).map_or(0, |response| response.status().as_u16())
}

/// Counts a request and its answer.
async fn count(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    metrics.seconds.observe(began.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&Answered { route, status: response.status().as_u16() }).inc();
    response
}

/// Answers until the process is told to end, and then for at most `most` what was asked before: a client that sends or
/// reads nothing more does not hold up the end.
fn answer(listener: std::net::TcpListener, router: Router, most: Duration) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let told = Arc::new(tokio::sync::Notify::new());
        let ended = told.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            told_to_end().await;
            ended.notify_one();
        });
        let late = async {
            told.notified().await;
            tokio::time::sleep(most).await;
        };
        tokio::select! {
            answered = serving.into_future() => answered,
            () = late => Ok(()),
        }
    });
    runtime.shutdown_background();
    answered
}

/// Waits for SIGTERM or Ctrl-C.
async fn told_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminated = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => _ = signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupted => {}
            () = terminated => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = interrupted.await;
    }
}
