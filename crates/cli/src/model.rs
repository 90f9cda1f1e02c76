//! Opening the model that a command names, with progress on standard error.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use rewardscope_engine::{
    Aggregate, Bos, Cancel, Clock, DeviceChoice, Format, LoadOptions, LoadStage, ModelFiles, PooledToken, Protocol,
    RewardHead, Scorer, TruncationSide,
};
use rewardscope_store::{FetchProgress, Folder, RepositoryId, Source, Store};

use crate::driver;
use crate::progress::{bytes_bar, bytes_style, style};

#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    /// A .gguf file, a folder with config.json, safetensors and tokenizer.json, or a Hub id:
    /// OWNER/NAME[@REVISION][:FILE], fetched into the Hub's usual cache.
    #[arg(long)]
    pub model: String,
    /// The model that an adapter goes over, where it is not the one that the adapter names.
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// A reward head that `fit` wrote, for the backbone that the model is.
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
    /// What computes; auto takes a hardware GPU, else the CPU.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: Device,
    /// How a language model's log-probabilities become a score.
    #[arg(long, value_enum, default_value = "avg")]
    pub logprob: Logprob,
    /// What weights are held as on the device; auto is as stored where the device has the same, with the scores of f32.
    #[arg(long, value_enum, default_value = "auto")]
    pub dtype: Dtype,
    /// Tokens in a batch; as suits the device without it.
    #[arg(long, value_name = "TOKENS")]
    pub batch_tokens: Option<std::num::NonZeroUsize>,
    /// Settings by name: reference is RewardBench's (at most 2048 tokens, cut on the right, the tokenizer's BOS kept
    /// beside the template's and masked).
    #[arg(long, value_enum, default_value = "default")]
    pub protocol: ProtocolName,
    /// Who begins a conversation: the template alone, one BOS as Skywork's evaluation has it, or both with the first
    /// masked as RewardBench has it; the protocol's without it.
    #[arg(long, value_enum)]
    pub bos: Option<BosName>,
    /// Which end is cut where a text is too long; the tokenizer's own choice without it.
    #[arg(long, value_enum)]
    pub truncation_side: Option<Side>,
    /// Read the score before the first pad token, as transformers did before 4.51.
    #[arg(long)]
    pub legacy_pooling: bool,
    /// One of RewardBench's conversation formats, in place of the model's chat template.
    #[arg(long, value_name = "NAME")]
    pub format: Option<String>,
    /// Cut conversations at so many tokens; never beyond the model's context.
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<std::num::NonZeroUsize>,
    /// The date that chat templates are told, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss of local time; now without it. Some
    /// templates (Llama 3's) write it into the prompt, and scores change with it.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub date: Option<Clock>,
    /// Which logit of a classifier with several labels is the score, counted from 0.
    #[arg(long, value_name = "N")]
    pub label: Option<usize>,
}

fn date(text: &str) -> Result<Clock, String> {
    Clock::parse(text).ok_or_else(|| "expected YYYY-MM-DD or YYYY-MM-DDThh:mm:ss".to_owned())
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Device {
    Auto,
    Gpu,
    Cpu,
}

impl Device {
    pub fn choice(self) -> DeviceChoice {
        match self {
            Self::Auto => DeviceChoice::Auto,
            Self::Gpu => DeviceChoice::Gpu,
            Self::Cpu => DeviceChoice::Cpu,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Q8,
    Q4,
}

impl Dtype {
    pub fn choice(self) -> rewardscope_engine::Dtype {
        match self {
            Self::Auto => rewardscope_engine::Dtype::Auto,
            Self::F32 => rewardscope_engine::Dtype::F32,
            Self::F16 => rewardscope_engine::Dtype::F16,
            Self::Q8 => rewardscope_engine::Dtype::Q8,
            Self::Q4 => rewardscope_engine::Dtype::Q4,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    Default,
    Reference,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum BosName {
    Template,
    Skywork,
    Rewardbench,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Side {
    Left,
    Right,
}

impl Arguments {
    /// What of a protocol is said otherwise.
    fn adjust(&self, protocol: &mut Protocol) -> anyhow::Result<()> {
        if let Some(bos) = self.bos {
            protocol.bos = match bos {
                BosName::Template => Bos::Template,
                BosName::Skywork => Bos::Skywork,
                BosName::Rewardbench => Bos::RewardBench,
            };
        }
        protocol.truncation = self.truncation_side.map(|side| match side {
            Side::Left => TruncationSide::Left,
            Side::Right => TruncationSide::Right,
        });
        if self.legacy_pooling {
            protocol.pooled = PooledToken::BeforeFirstPad;
        }
        if let Some(name) = &self.format {
            protocol.format = Some(Format::named(name)?);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Logprob {
    Avg,
    Sum,
    Norm,
}

/// What a name on the command line stands for: what is on disk goes before what is on the Hub.
pub enum Named {
    Folder(PathBuf),
    File(PathBuf),
    Hub(RepositoryId),
}

pub fn named(name: &str) -> anyhow::Result<Named> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(Named::Folder(path.to_owned()));
    }
    // A pipe is no regular file, and is one all the same.
    if path.exists() {
        return Ok(Named::File(path.to_owned()));
    }
    match name.parse() {
        Ok(id) => Ok(Named::Hub(id)),
        Err(_) => bail!("opening {name}: there is no such file or folder, and it is no Hub id (owner/name) either"),
    }
}

/// The files of a model; of an adapter with those of its base: the one that is given, or the one
/// that the adapter names, which may lie beside it.
pub async fn files(name: &str, base: Option<&str>) -> anyhow::Result<NamedFiles> {
    let model = named_files(name).await?;
    let base = match (base, model.files.missing_base().await?) {
        (Some(given), _) => given.to_owned(),
        (None, None) => return Ok(model),
        (None, Some(named)) => {
            let beside = Path::new(name).join(&named);
            if beside.is_dir() { beside.display().to_string() } else { named }
        }
    };
    let base = named_files(&base).await.with_context(|| format!("opening the base of the adapter {name}"))?;
    Ok(NamedFiles { files: model.files.over(base.files)?, id: model.id })
}

async fn named_files(name: &str) -> anyhow::Result<NamedFiles> {
    let cancel = Cancel::default();
    let local = |path: &Path, sources: Vec<Source>| {
        let files = ModelFiles::from_sources(&path.display().to_string(), sources)?;
        anyhow::Ok(NamedFiles { files, id: None })
    };
    match named(name)? {
        Named::Folder(path) => {
            let folder = Folder::open(&path)?.assembled(&cancel).await?;
            local(&path, folder.sources().cloned().collect())
        }
        Named::File(path) => local(&path, vec![Source::file(&path)?]),
        Named::Hub(id) => {
            let store = Store::from_environment()?;
            let bar = ProgressBar::new(0).with_style(bytes_style()?);
            let mut tell = |now: FetchProgress| bytes_bar(&bar, &now);
            let files = ModelFiles::from_hub(&store, &id, rewardscope_engine::Dtype::Auto, &cancel, &mut tell).await;
            bar.finish_and_clear();
            Ok(NamedFiles { files: files?, id: Some(name.to_owned()) })
        }
    }
}

/// A model that was loaded.
pub struct Loaded {
    pub scorer: Scorer,
    /// The time that its templates are told.
    pub clock: Clock,
    pub files: NamedFiles,
}

/// A model's files, and the Hub's name for them.
pub struct NamedFiles {
    pub files: ModelFiles,
    pub id: Option<String>,
}

/// Local time by the calendar, as transformers' templates read it.
pub fn now() -> Clock {
    Clock::from_local_seconds(chrono::Local::now().naive_local().and_utc().timestamp())
}

/// Opens the files, the device and the head, and loads them with progress.
pub async fn load(arguments: &Arguments) -> anyhow::Result<Loaded> {
    let aggregate = match arguments.logprob {
        Logprob::Avg => Aggregate::Avg,
        Logprob::Sum => Aggregate::Sum,
        Logprob::Norm => Aggregate::Norm,
    };
    let clock = arguments.date.unwrap_or_else(now);
    let mut options = match arguments.protocol {
        ProtocolName::Default => LoadOptions::new(clock),
        ProtocolName::Reference => LoadOptions::reference(clock),
    };
    arguments.adjust(&mut options.protocol)?;
    options.aggregate = aggregate;
    options.max_tokens = arguments.max_length.map(std::num::NonZeroUsize::get).or(options.max_tokens);
    options.label = arguments.label;
    options.dtype = arguments.dtype.choice();
    options.batch_tokens = arguments.batch_tokens.map(std::num::NonZeroUsize::get);
    let files = files(&arguments.model, arguments.base.as_deref()).await?;
    let head = match &arguments.head {
        Some(path) => Some(RewardHead::read(&Source::file(path)?).await?),
        None => None,
    };
    let device = driver::open(arguments.device.choice()).await?;
    eprintln!("{}", device.report.reason);
    let bar = ProgressBar::new(0).with_style(style("loading {bar:30} {bytes}/{total_bytes} {eta}")?);
    let scorer = Scorer::load(&files.files, head.as_ref(), device, options, &Cancel::default(), &mut |now| {
        if now.stage == LoadStage::Weights {
            bar.set_length(now.bytes_total);
            bar.set_position(now.bytes_done);
        }
    })
    .await;
    bar.finish_and_clear();
    let scorer = scorer?;
    let report = scorer.report();
    eprintln!(
        "{}: {}, {} parameters in {:.0} MB ({}), context {} tokens{}; scores are {}.",
        report.name,
        report.architecture,
        report.parameters,
        report.device_bytes as f64 / 1e6,
        report.dtype.name(),
        report.context_tokens,
        if report.protocol.is_empty() { String::new() } else { format!(", {}", report.protocol) },
        if report.is_reward_model { "rewards" } else { "log-probabilities, a likelihood baseline and no reward" }
    );
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    Ok(Loaded { scorer, clock, files })
}
