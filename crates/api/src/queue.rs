//! What waits to be scored, and the loop that scores it. Texts of all requests go through the model in common batches:
//! a batch begins a moment after its first text came, or as soon as it is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rewardscope_engine::{Cancel, Clock, Detail, EngineError, Message, PrefixTree, Score, Scorer, TokenSequence};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::refusal::Refusal;

/// What is scored.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A prompt with completions.
    Conversation { prompt: Vec<Message>, completions: Vec<String> },
    /// A prompt with a solution in steps.
    Steps { prompt: Vec<Message>, steps: Vec<String> },
    /// A text that is rendered already: its special tokens are parsed. With `adds_special`, the tokenizer also puts its
    /// own around it, as it does where a text has none.
    Text { text: String, adds_special: bool },
    /// Token ids.
    Tokens(Vec<u32>),
}

impl Work {
    /// Bytes of the texts that it becomes: a prompt stands before each of its completions.
    fn bytes(&self) -> usize {
        let before = |prompt: &[Message]| prompt.iter().map(|turn| turn.content.len()).sum::<usize>();
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        match self {
            Self::Conversation { prompt, completions } => before(prompt) * completions.len() + texts(completions),
            Self::Steps { prompt, steps } => before(prompt) + texts(steps),
            Self::Text { text, .. } => text.len(),
            Self::Tokens(ids) => 4 * ids.len(),
        }
    }

    /// The number of scores that it gives.
    pub fn count(&self) -> usize {
        match self {
            Self::Conversation { completions, .. } => completions.len(),
            Self::Steps { .. } | Self::Text { .. } | Self::Tokens(_) => 1,
        }
    }

    fn sequences(&self, scorer: &Scorer) -> Result<Vec<TokenSequence>, EngineError> {
        match self {
            Self::Conversation { prompt, completions } => {
                scorer.tokenize(prompt, completions.iter().map(String::as_str))
            }
            Self::Steps { prompt, steps } => scorer.tokenize_steps(prompt, std::slice::from_ref(steps)),
            Self::Text { text, adds_special } => Ok(vec![scorer.tokenize_text(text, *adds_special)?]),
            Self::Tokens(ids) => Ok(vec![scorer.whole(ids.clone())]),
        }
    }
}

/// The scores of each [`Work`], in their order.
pub type Scores = Vec<Vec<Score>>;

/// A request's work.
struct Job {
    work: Vec<Work>,
    /// How much detail its scores have; none where only the tokens are wanted.
    detail: Option<Detail>,
    reply: oneshot::Sender<Result<Scores, Refusal>>,
    /// Whether the client went away.
    gone: Arc<AtomicBool>,
    /// Given back when the work is done.
    _permits: [OwnedSemaphorePermit; 2],
}

impl Job {
    /// The number of scores that it gives.
    fn count(&self) -> usize {
        self.work.iter().map(Work::count).sum()
    }

    /// Whether nobody waits for them any more.
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// Where requests leave their work.
#[derive(Debug, Clone)]
pub struct Queue {
    jobs: Sender<Job>,
    /// Texts, and kibibytes of them.
    room: [Arc<Semaphore>; 2],
    most: [usize; 2],
    /// How long a request may take.
    limit: Duration,
    metrics: Arc<Metrics>,
}

/// Where the work is taken from.
#[derive(Debug)]
pub struct Waiting(Receiver<Job>);

/// Notes that a client went away when it is dropped before its answer came.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queue {
    /// A queue of at most so many texts and bytes of texts, in which a request may take `limit`.
    pub fn new(texts: usize, bytes: usize, limit: Duration, metrics: Arc<Metrics>) -> (Self, Waiting) {
        let (jobs, waiting) = channel();
        let most = [texts, bytes.div_ceil(1024)];
        let room = most.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        (Self { jobs, room, most, limit, metrics }, Waiting(waiting))
    }

    /// Room for texts and kibibytes of them.
    fn take(&self, wanted: [usize; 2]) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
        let [texts, kibibytes] = self.most;
        if wanted[0] > texts || wanted[1] > kibibytes {
            return Err(Refusal::too_large(format!(
                "scoring: at most {texts} texts of {kibibytes} KiB at once were expected, {} of {} KiB were found",
                wanted[0], wanted[1]
            )));
        }
        let take = |at: usize| {
            let count = u32::try_from(wanted[at]).ok()?;
            self.room[at].clone().try_acquire_many_owned(count).ok()
        };
        take(0).zip(take(1)).map(|(one, other)| [one, other]).ok_or_else(Refusal::full)
    }

    /// Scores work when its turn comes. Where this is dropped before, the work is not done.
    ///
    /// # Errors
    /// When too much waits, the server ends, or the work cannot be scored.
    pub async fn score(&self, work: Vec<Work>, detail: Detail) -> Result<Scores, Refusal> {
        self.ask(work, Some(detail)).await
    }

    /// The ids of the tokens that the model would see of work.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub async fn tokenize(&self, work: Work) -> Result<Vec<u32>, Refusal> {
        let scores = self.ask(vec![work], None).await?;
        Ok(scores.into_iter().flatten().next().map(|score| score.input_ids).unwrap_or_default())
    }

    async fn ask(&self, work: Vec<Work>, detail: Option<Detail>) -> Result<Scores, Refusal> {
        let count: usize = work.iter().map(Work::count).sum();
        if count == 0 {
            return Ok(vec![Vec::new(); work.len()]);
        }
        let bytes: usize = work.iter().map(Work::bytes).sum();
        let permits = self.take([count, bytes.div_ceil(1024)])?;
        let (reply, answer) = oneshot::channel();
        let gone = Gone(Arc::default());
        self.metrics.waiting.inc_by(count as i64);
        let job = Job { work, detail, reply, gone: gone.0.clone(), _permits: permits };
        match self.jobs.send(job) {
            Ok(()) => match tokio::time::timeout(self.limit, answer).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(Refusal::ending())),
                Err(_) => Err(Refusal::late(self.limit)),
            },
            Err(_) => {
                self.metrics.waiting.dec_by(count as i64);
                Err(Refusal::ending())
            }
        }
    }
}

/// A job whose texts are tokenized.
struct Ready {
    job: Job,
    /// The number of sequences of each [`Work`].
    counts: Vec<usize>,
    sequences: Vec<TokenSequence>,
}

/// How much longer than it waits a batch may be gathered.
const MOST_GATHERING: Duration = Duration::from_millis(50);

/// Scores what waits until every [`Queue`] is gone. `wait` is how long a batch that is not full waits for more. `clock` is
/// the time that chat templates are told, where it goes on.
///
/// # Errors
/// When the device failed: nothing can be scored any more.
pub fn work(
    scorer: &Scorer,
    waiting: &Waiting,
    metrics: &Metrics,
    (wait, batch_tokens): (Duration, usize),
    tree: &mut PrefixTree,
    clock: Option<fn() -> Clock>,
) -> Result<(), EngineError> {
    while let Ok(first) = waiting.0.recv() {
        let (mut batch, mut tokens): (Vec<Ready>, usize) = (Vec::new(), 0);
        let until = Instant::now() + wait;
        // What is refused or only tokenized fills no batch, and must not hold up those that wait for one.
        let last = until + MOST_GATHERING;
        if let Some(clock) = clock {
            scorer.set_clock(clock());
        }
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if let Some(ready) = prepared(scorer, job, metrics) {
                tokens += ready.sequences.iter().map(|sequence| sequence.input_ids.len()).sum::<usize>();
                batch.push(ready);
            }
            if tokens >= batch_tokens || Instant::now() >= last {
                break;
            }
            next = waiting.0.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        for detail in [Detail::Score, Detail::EveryToken] {
            let (few, rest) = batch.into_iter().partition(|ready: &Ready| ready.job.detail == Some(detail));
            batch = rest;
            score(scorer, few, detail, metrics, (batch_tokens, &mut *tree))?;
        }
        metrics.kept_tokens.set(tree.tokens() as i64);
        metrics.kept_bytes.set(tree.bytes() as i64);
    }
    Ok(())
}

/// Tokenizes a job's texts; `None` where the client went away, or got its refusal.
fn prepared(scorer: &Scorer, job: Job, metrics: &Metrics) -> Option<Ready> {
    match tokenized(scorer, &job) {
        Ok(found) if job.detail.is_none() => {
            let seen = |sequence: TokenSequence| Score {
                tokens: sequence.input_ids.len(),
                input_ids: sequence.input_ids,
                ..Score::default()
            };
            let all = found.into_iter().map(|sequences| sequences.into_iter().map(seen).collect()).collect();
            done(metrics, job, Ok(all));
            None
        }
        Ok(found) => {
            let counts = found.iter().map(Vec::len).collect();
            Some(Ready { job, counts, sequences: found.into_iter().flatten().collect() })
        }
        Err(EngineError::Cancelled) => {
            dropped(metrics, job);
            None
        }
        Err(error) => {
            done(metrics, job, Err(Refusal::engine(&error)));
            None
        }
    }
}

/// The sequences of each work of a job. What cannot be scored is refused here, so that it does not spoil the batch of
/// others.
///
/// # Errors
/// [`EngineError::Cancelled`] where the client went away; when a text cannot be tokenized or scored.
fn tokenized(scorer: &Scorer, job: &Job) -> Result<Vec<Vec<TokenSequence>>, EngineError> {
    let mut all = Vec::with_capacity(job.work.len());
    for work in &job.work {
        if job.is_gone() {
            return Err(EngineError::Cancelled);
        }
        let own = work.sequences(scorer)?;
        if let Some(detail) = job.detail {
            scorer.check(&own, detail)?;
        }
        all.push(own);
    }
    Ok(all)
}

/// Scores a batch and answers, a piece of at most `batch_tokens` tokens at a time: between two pieces, what nobody waits
/// for any more is dropped.
fn score(
    scorer: &Scorer,
    batch: Vec<Ready>,
    detail: Detail,
    metrics: &Metrics,
    (batch_tokens, tree): (usize, &mut PrefixTree),
) -> Result<(), EngineError> {
    if scorer.compares() {
        return compare(scorer, batch, detail, metrics, tree);
    }
    let mut left: Vec<Open> = batch.into_iter().map(Open::new).collect();
    while !left.is_empty() {
        let mut waiting = Vec::with_capacity(left.len());
        for open in left {
            match (open.ready.job.is_gone(), open.is_done()) {
                (true, _) => dropped(metrics, open.ready.job),
                (false, true) => open.answer(metrics),
                (false, false) => waiting.push(open),
            }
        }
        left = waiting;
        let (mut piece, mut counts, mut tokens) = (Vec::new(), Vec::new(), 0);
        for open in &left {
            let more = open.ready.sequences[open.scores.len()..].iter().take_while(|sequence| {
                tokens += sequence.input_ids.len();
                tokens <= batch_tokens || piece.is_empty() && tokens == sequence.input_ids.len()
            });
            let more: Vec<TokenSequence> = more.cloned().collect();
            counts.push(more.len());
            piece.extend(more);
            if tokens > batch_tokens {
                break;
            }
        }
        if piece.is_empty() {
            continue;
        }
        metrics.batch.observe(piece.len() as f64);
        let scores = pollster::block_on(scorer.score_shared(&piece, detail, tree, &Cancel::default()));
        let mut scores = match scores {
            Ok(scores) => scores.into_iter(),
            Err(error @ EngineError::DeviceFailed { .. }) => {
                return failed(left.into_iter().map(|open| open.ready).collect(), metrics, error);
            }
            // Each was checked before; whatever it is, others are served on.
            Err(error) => {
                left.into_iter().for_each(|open| done(metrics, open.ready.job, Err(Refusal::engine(&error))));
                return Ok(());
            }
        };
        for (open, count) in left.iter_mut().zip(counts) {
            open.scores.extend(scores.by_ref().take(count));
        }
    }
    Ok(())
}

/// A job some of whose sequences are scored.
struct Open {
    ready: Ready,
    scores: Vec<Score>,
}

impl Open {
    fn new(ready: Ready) -> Self {
        Self { ready, scores: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.scores.len() == self.ready.sequences.len()
    }

    /// Answers with the scores of each work.
    fn answer(self, metrics: &Metrics) {
        let mut scores = self.scores.into_iter();
        let all = self.ready.counts.iter().map(|&count| scores.by_ref().take(count).collect()).collect();
        done(metrics, self.ready.job, Ok(all));
    }
}

/// Scores completions that are compared with those of their own prompt, request by request.
fn compare(
    scorer: &Scorer,
    batch: Vec<Ready>,
    detail: Detail,
    metrics: &Metrics,
    tree: &mut PrefixTree,
) -> Result<(), EngineError> {
    let mut left = batch.into_iter();
    while let Some(ready) = left.next() {
        let scores = compared(scorer, &ready, detail, tree);
        match scores {
            Err(error @ EngineError::DeviceFailed { .. }) => {
                return failed(std::iter::once(ready).chain(left).collect(), metrics, error);
            }
            Err(EngineError::Cancelled) => dropped(metrics, ready.job),
            scores => done(metrics, ready.job, scores.map_err(|error| Refusal::engine(&error))),
        }
    }
    Ok(())
}

/// The scores of each work of a request.
///
/// # Errors
/// [`EngineError::Cancelled`] where the client went away; when the device fails, or completions cannot be compared.
fn compared(scorer: &Scorer, ready: &Ready, detail: Detail, tree: &mut PrefixTree) -> Result<Scores, EngineError> {
    let (mut all, mut left) = (Vec::with_capacity(ready.counts.len()), ready.sequences.as_slice());
    for &count in &ready.counts {
        if ready.job.is_gone() {
            return Err(EngineError::Cancelled);
        }
        let (own, rest) = left.split_at(count);
        left = rest;
        all.push(pollster::block_on(scorer.score_shared(own, detail, tree, &Cancel::default()))?);
    }
    Ok(all)
}

/// Tells all clients of a batch that the device failed.
fn failed(batch: Vec<Ready>, metrics: &Metrics, error: EngineError) -> Result<(), EngineError> {
    for ready in batch {
        done(metrics, ready.job, Err(Refusal::engine(&error)));
    }
    Err(error)
}

/// Ends work whose client went away.
fn dropped(metrics: &Metrics, job: Job) {
    metrics.dropped.inc_by(job.count() as u64);
    done(metrics, job, Err(Refusal::ending()));
}

/// Gives a client its answer.
fn done(metrics: &Metrics, job: Job, scores: Result<Scores, Refusal>) {
    metrics.waiting.dec_by(job.count() as i64);
    if let (Ok(scores), Some(_)) = (&scores, job.detail) {
        let all = || scores.iter().flatten();
        metrics.texts.inc_by(all().count() as u64);
        metrics.tokens.inc_by(all().map(|score| score.tokens as u64).sum());
        metrics.computed.inc_by(all().map(|score| score.computed_tokens as u64).sum());
    }
    // Nobody may wait for it any more.
    let _ = job.reply.send(scores);
}
