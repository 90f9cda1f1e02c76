//! `rewardscope score`: rows in, rows out, in the same order, each written as it is done.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rewardscope_engine::{Cancel, Detail, EngineError, Message, Score, Scorer, TokenSequence};
use serde::{Deserialize, Serialize};

use crate::model;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// JSON Lines: `id`, and `messages` or `prompt` with `completion` or `completions`; `-` reads standard input.
    #[arg(long)]
    input: PathBuf,
    /// JSON Lines: `id`, `score` or `scores`, `tokens`, `truncated`; `-` writes standard output.
    #[arg(long)]
    output: PathBuf,
    /// Also write `input_ids` and `token_scores`.
    #[arg(long)]
    per_token: bool,
}

#[derive(Deserialize)]
struct RowIn {
    id: serde_json::Value,
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
    completion: Option<String>,
    completions: Option<Vec<String>>,
    /// Ids to score as they are, with where the completion begins; for checks against other programs.
    input_ids: Option<Vec<u32>>,
    first_completion_token: Option<usize>,
}

/// One number for one completion, a list for several.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Serialize)]
struct RowOut {
    id: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<OneOrMany<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<OneOrMany<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ids: Option<OneOrMany<Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_scores: Option<OneOrMany<Vec<f32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let input: Box<dyn BufRead> = if arguments.input == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        let file = File::open(&arguments.input).with_context(|| format!("opening {}", arguments.input.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut output: Box<dyn Write> = if arguments.output == Path::new("-") {
        Box::new(stdout().lock())
    } else {
        let file =
            File::create(&arguments.output).with_context(|| format!("creating {}", arguments.output.display()))?;
        Box::new(BufWriter::new(file))
    };
    let scorer = model::load(&arguments.model).await?.scorer;
    let mut failed = false;
    for (position, line) in input.lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", arguments.input.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let out = row(&scorer, &line, position + 1, arguments.per_token).await?;
        failed |= out.error.is_some();
        serde_json::to_writer(&mut output, &out)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// The row out; a row that cannot be scored carries its sentence. A failed device ends the run.
async fn row(scorer: &Scorer, line: &str, number: usize, per_token: bool) -> anyhow::Result<RowOut> {
    let failed = |id: serde_json::Value, error: String| RowOut {
        id,
        score: None,
        scores: None,
        tokens: None,
        truncated: None,
        input_ids: None,
        token_scores: None,
        error: Some(error),
    };
    let row: RowIn = match serde_json::from_str(line) {
        Ok(row) => row,
        Err(error) => {
            return Ok(failed(serde_json::Value::Null, format!("row {number}: {error}")));
        }
    };
    let id = row.id.clone();
    let (sequences, many) = match sequences(scorer, row) {
        Ok(found) => found,
        Err(error) => return Ok(failed(id, format!("row {number}: {error:#}"))),
    };
    let detail = if per_token { Detail::EveryToken } else { Detail::Score };
    let scores = match scorer.score_tokens(&sequences, detail, &Cancel::default()).await {
        Ok(scores) => scores,
        Err(error @ EngineError::DeviceFailed { .. }) => bail!(error),
        Err(error) => return Ok(failed(id, format!("row {number}: {error}"))),
    };
    let values: Vec<f64> = scores.iter().map(|s| s.score).collect();
    Ok(RowOut {
        id,
        score: if many { None } else { values.first().copied() },
        tokens: each(&scores, many, |s| s.tokens),
        truncated: each(&scores, many, Score::truncated),
        input_ids: if per_token { each(&scores, many, |s| s.input_ids.clone()) } else { None },
        token_scores: if per_token { each(&scores, many, |s| s.token_scores.clone()) } else { None },
        scores: many.then_some(values),
        error: None,
    })
}

fn each<T>(scores: &[Score], many: bool, of: impl Fn(&Score) -> T) -> Option<OneOrMany<T>> {
    let values = scores.iter().map(of);
    if many { Some(OneOrMany::Many(values.collect())) } else { values.map(OneOrMany::One).next() }
}

/// The row's token sequences, and whether it asked for several completions.
fn sequences(scorer: &Scorer, row: RowIn) -> anyhow::Result<(Vec<TokenSequence>, bool)> {
    if let Some(input_ids) = row.input_ids {
        let first_completion_token = row.first_completion_token.unwrap_or(1);
        return Ok((vec![TokenSequence::new(input_ids, first_completion_token)], false));
    }
    let (prompt, completions, many) = match row {
        RowIn { messages: Some(messages), completions: Some(completions), .. } => (messages, completions, true),
        RowIn { messages: Some(messages), completion: Some(completion), .. } => (messages, vec![completion], false),
        RowIn { messages: Some(mut messages), .. } => match messages.pop() {
            Some(last) if last.role == "assistant" => (messages, vec![last.content], false),
            _ => bail!(
                "messages that end with the assistant's, or with completion or completions beside them, were expected"
            ),
        },
        RowIn { prompt: Some(prompt), completions: Some(completions), .. } => {
            (vec![Message::new("user", prompt)], completions, true)
        }
        RowIn { prompt: Some(prompt), completion: Some(completion), .. } => {
            (vec![Message::new("user", prompt)], vec![completion], false)
        }
        _ => bail!("messages, or prompt with completion or completions, were expected"),
    };
    Ok((scorer.tokenize(&prompt, completions.iter().map(String::as_str))?, many))
}
