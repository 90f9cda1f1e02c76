//! `rewardscope api` serves a model's rewards.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rewardscope_api::{Limits, Settings, Token};
use rewardscope_engine::Clock;
use tracing_subscriber::filter::LevelFilter;

use crate::model;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope api --model Skywork/Skywork-Reward-V2-Qwen3-0.6B
  rewardscope api --model ./reranker --host 0.0.0.0 --token-file token.txt --port 8080")]
pub struct Arguments {
    #[command(flatten)]
    model: model::Arguments,
    /// Address to listen at
    ///
    /// On another than this machine's own, a token is needed (--token-file), or --without-token.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen at, 0 for any free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// File with the token that requests must carry as `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let everybody ask who reaches the address
    #[arg(long, conflicts_with = "token_file")]
    without_token: bool,
    /// Name of the model in requests and answers [default: as it is named by --model]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Most texts that may wait; more are refused with status 429
    #[arg(long, value_name = "TEXTS", default_value_t = Limits::default().texts)]
    max_waiting: usize,
    /// Most seconds that the scores of a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().request.as_secs())]
    request_timeout: u64,
    /// Most bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes)]
    max_body: usize,
    /// Milliseconds that a batch waits for more texts
    #[arg(long, value_name = "MS", default_value_t = 2)]
    batch_wait: u64,
    /// Megabytes of memory for prompts that were computed
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    prefix_cache: u64,
    /// Print each request's route, status and time on standard error; nothing of texts
    #[arg(long)]
    log_requests: bool,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.log_requests {
        tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    }
    let token = match &arguments.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            Some(Token::new(&text).with_context(|| format!("reading {}", path.display()))?)
        }
        None => None,
    };
    if token.is_none() && !arguments.host.is_loopback() && !arguments.without_token {
        bail!(
            "listening at {}: a token was expected, because others reach that address (--token-file FILE); to let everybody ask, give --without-token",
            arguments.host
        );
    }
    let model::Loaded { scorer, .. } = model::load(&arguments.model).await?;
    let name = arguments.served_model_name.clone().unwrap_or_else(|| arguments.model.model.clone());
    let limits = Limits {
        body_bytes: arguments.max_body,
        texts: arguments.max_waiting,
        request: Duration::from_secs(arguments.request_timeout),
        wait: Duration::from_millis(arguments.batch_wait),
        kept_bytes: arguments.prefix_cache << 20,
        ..Limits::default()
    };
    // A server outlives the day on which it was started.
    let clock = arguments.model.date.is_none().then_some(model::now as fn() -> Clock);
    let settings = Settings { host: arguments.host, port: arguments.port, name, token, clock, limits };
    rewardscope_api::serve(&scorer, settings, |address| {
        eprintln!("listening at http://{address}, described at http://{address}/docs; Ctrl-C ends");
    })?;
    eprintln!("all requests are answered; ended");
    Ok(ExitCode::SUCCESS)
}
