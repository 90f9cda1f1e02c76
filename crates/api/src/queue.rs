//! What waits to be scored, and the loop that scores it. Texts of all requests go through the model in common batches:
//! a batch begins a moment after its first text came, or as soon as it is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rewardscope_engine::{Cancel, Detail, EngineError, Message, PrefixTree, Score, Scorer, TokenSequence};
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
    detail: Detail,
    reply: oneshot::Sender<Result<Scores, Refusal>>,
    /// Whether the client went away.
    gone: Arc<AtomicBool>,
    /// Given back when the work is done.
    _permit: OwnedSemaphorePermit,
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
    room: Arc<Semaphore>,
    most: usize,
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
    /// A queue of at most `most` texts.
    pub fn new(most: usize, metrics: Arc<Metrics>) -> (Self, Waiting) {
        let (jobs, waiting) = channel();
        (Self { jobs, room: Arc::new(Semaphore::new(most)), most, metrics }, Waiting(waiting))
    }

    /// Scores work when its turn comes. Where this is dropped before, the work is not done.
    ///
    /// # Errors
    /// When too much waits, the server ends, or the work cannot be scored.
    pub async fn score(&self, work: Vec<Work>, detail: Detail) -> Result<Scores, Refusal> {
        let count: usize = work.iter().map(Work::count).sum();
        if count == 0 {
            return Ok(vec![Vec::new(); work.len()]);
        }
        let too_many = || {
            Refusal::too_large(format!(
                "scoring: at most {} texts at once were expected, {count} were found",
                self.most
            ))
        };
        let permits = u32::try_from(count).ok().filter(|_| count <= self.most).ok_or_else(too_many)?;
        let room = self.room.clone();
        let permit = room.try_acquire_many_owned(permits).map_err(|_| Refusal::full(self.most))?;
        let (reply, answer) = oneshot::channel();
        let gone = Gone(Arc::default());
        self.metrics.waiting.inc_by(count as i64);
        let job = Job { work, detail, reply, gone: gone.0.clone(), _permit: permit };
        match self.jobs.send(job) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(Refusal::ending())),
            Err(_) => Err(Refusal::ending()),
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

/// Scores what waits until every [`Queue`] is gone. `wait` is how long a batch that is not full waits for more.
///
/// # Errors
/// When the device failed: nothing can be scored any more.
pub fn work(
    scorer: &Scorer,
    waiting: &Waiting,
    metrics: &Metrics,
    (wait, batch_tokens): (Duration, usize),
    tree: &mut PrefixTree,
) -> Result<(), EngineError> {
    while let Ok(first) = waiting.0.recv() {
        let (mut batch, mut tokens): (Vec<Ready>, usize) = (Vec::new(), 0);
        let until = Instant::now() + wait;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if let Some(ready) = prepared(scorer, job, metrics) {
                tokens += ready.sequences.iter().map(|sequence| sequence.input_ids.len()).sum::<usize>();
                batch.push(ready);
            }
            if tokens >= batch_tokens {
                break;
            }
            next = waiting.0.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        // Clients may have gone away while the batch waited.
        let (gone, mut batch): (Vec<Ready>, Vec<Ready>) = batch.into_iter().partition(|ready| ready.job.is_gone());
        gone.into_iter().for_each(|ready| dropped(metrics, ready.job));
        for detail in [Detail::Score, Detail::EveryToken] {
            let (few, rest) = batch.into_iter().partition(|ready: &Ready| ready.job.detail == detail);
            batch = rest;
            score(scorer, few, detail, metrics, tree)?;
        }
        metrics.kept_tokens.set(tree.tokens() as i64);
        metrics.kept_bytes.set(tree.bytes() as i64);
    }
    Ok(())
}

/// Tokenizes a job's texts; `None` where the client went away, or got its refusal.
fn prepared(scorer: &Scorer, job: Job, metrics: &Metrics) -> Option<Ready> {
    if job.is_gone() {
        dropped(metrics, job);
        return None;
    }
    let found: Result<Vec<_>, EngineError> = job.work.iter().map(|work| work.sequences(scorer)).collect();
    match found {
        Ok(found) => {
            let counts = found.iter().map(Vec::len).collect();
            Some(Ready { job, counts, sequences: found.into_iter().flatten().collect() })
        }
        Err(error) => {
            done(metrics, job, Err(Refusal::engine(&error)));
            None
        }
    }
}

/// Scores a batch and answers.
fn score(
    scorer: &Scorer,
    batch: Vec<Ready>,
    detail: Detail,
    metrics: &Metrics,
    tree: &mut PrefixTree,
) -> Result<(), EngineError> {
    if batch.is_empty() {
        return Ok(());
    }
    let cancel = Cancel::default();
    let all: Vec<TokenSequence> = batch.iter().flat_map(|ready| ready.sequences.iter().cloned()).collect();
    metrics.batch.observe(all.len() as f64);
    let together = match scorer.compares() {
        // Completions are compared with those of their own prompt.
        true => None,
        false => match pollster::block_on(scorer.score_shared(&all, detail, tree, &cancel)) {
            Ok(scores) => Some(scores),
            Err(error @ EngineError::DeviceFailed { .. }) => return failed(batch, metrics, error),
            Err(_) => None,
        },
    };
    let mut together = together.map(Vec::into_iter);
    let mut left = batch.into_iter();
    while let Some(ready) = left.next() {
        let scores = match &mut together {
            Some(scores) => Ok(ready.counts.iter().map(|&count| scores.by_ref().take(count).collect()).collect()),
            // One by one, so that each request has its own error.
            None => alone(scorer, &ready, detail, tree, &cancel),
        };
        match scores {
            Err(error @ EngineError::DeviceFailed { .. }) => {
                return failed(std::iter::once(ready).chain(left).collect(), metrics, error);
            }
            scores => done(metrics, ready.job, scores.map_err(|error| Refusal::engine(&error))),
        }
    }
    Ok(())
}

fn alone(
    scorer: &Scorer,
    ready: &Ready,
    detail: Detail,
    tree: &mut PrefixTree,
    cancel: &Cancel,
) -> Result<Scores, EngineError> {
    let (mut scores, mut first) = (Vec::new(), 0);
    for count in &ready.counts {
        let own = &ready.sequences[first..first + count];
        first += count;
        scores.push(pollster::block_on(scorer.score_shared(own, detail, tree, cancel))?);
    }
    Ok(scores)
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
    if let Ok(scores) = &scores {
        let all = || scores.iter().flatten();
        metrics.texts.inc_by(all().count() as u64);
        metrics.tokens.inc_by(all().map(|score| score.tokens as u64).sum());
        metrics.computed.inc_by(all().map(|score| score.computed_tokens as u64).sum());
    }
    // Nobody may wait for it any more.
    let _ = job.reply.send(scores);
}
