//! Opens the model that a command names, with progress on standard error.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use rewardscope_engine::{
    Aggregate, Bos, Cancel, Clock, DeviceChoice, Dtype, Format, KeptReference, LoadOptions, LoadProgress, LoadStage,
    LogRatios, ModelFiles, ModelReport, PairAggregate, PooledToken, Protocol, Reader, ReaderChoice, ReaderSpec,
    Reference, RewardHead, Scorer, StepAggregate, TruncationSide,
};
use rewardscope_store::{FetchProgress, Folder, RepositoryId, Source, Store};

use crate::driver;
use crate::progress::{bytes_bar, bytes_style, style};

#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    /// Model to load: a .gguf file, a folder or a Hub id
    ///
    /// A folder holds a checkpoint (config.json, safetensors files and tokenizer.json) or an adapter. A Hub id is
    /// `OWNER/NAME[@REVISION][:FILE]`; its files are fetched into the Hub's usual cache.
    #[arg(long)]
    pub model: String,
    /// Base model of an adapter [default: the one that the adapter names]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// Reward head to put on the model
    ///
    /// This is the head.safetensors that `fit` wrote for the same model.
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
    /// Device to run on
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceChoice,
    /// How to turn a language model's log-probabilities into a score
    #[arg(long, value_enum, default_value = "avg")]
    pub logprob: Aggregate,
    /// Weight type on the device
    #[arg(long, value_enum, default_value = "auto")]
    pub dtype: Dtype,
    /// Tokens per batch [default: chosen for the device]
    #[arg(long, value_name = "TOKENS")]
    pub batch_tokens: Option<std::num::NonZeroUsize>,
    /// Scoring settings to start from; other options override them
    #[arg(long, value_enum, default_value = "default")]
    pub protocol: ProtocolName,
    /// Source of the BOS token at the start of a conversation [default: the protocol's]
    #[arg(long, value_enum)]
    pub bos: Option<Bos>,
    /// End to cut off when a conversation is too long [default: the tokenizer's choice]
    #[arg(long, value_enum)]
    pub truncation_side: Option<TruncationSide>,
    /// Read the score at the token before the first pad token, as transformers did before 4.51
    #[arg(long)]
    pub legacy_pooling: bool,
    /// Conversation format to use instead of the model's chat template
    ///
    /// One of RewardBench's formats, such as tulu, or raw for the texts alone. An unknown name prints the list.
    #[arg(long, value_name = "NAME")]
    pub format: Option<String>,
    /// Cut conversations to this many tokens [default: the protocol's limit, or the model's context]
    ///
    /// A conversation is never longer than the model's context.
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<std::num::NonZeroUsize>,
    /// Date for chat templates that write one, as YYYY-MM-DD or YYYY-MM-DDThh:mm:ss [default: now]
    ///
    /// The date is in local time. Some templates (Llama 3's) write it into the prompt, so scores change with it.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub date: Option<Clock>,
    /// Label whose logit is the score, for a classifier with several labels; counted from 0
    #[arg(long, value_name = "N")]
    pub label: Option<usize>,
    /// How to turn outcomes against the other completions into a score, for a model that compares them
    #[arg(long, value_enum, default_value = "win-rate", value_name = "HOW")]
    pub pair_aggregate: PairAggregate,
    #[command(flatten)]
    pub reader: ReaderArguments,
    #[command(flatten)]
    pub reference: ReferenceArguments,
}

/// The options of implicit rewards.
#[derive(Args)]
#[group(skip)]
pub struct ReferenceArguments {
    /// Score by implicit rewards: how much likelier the model finds a completion than this one does
    ///
    /// Named like --model; `base` is the base of an adapter. Both models are in memory at once where they fit; else
    /// `score` and `eval` read the reference first.
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,
    /// What to multiply an implicit reward by, as in the training of the model
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "reference", value_parser = beta)]
    pub beta: f64,
    /// Take the mean over a completion's tokens, not their sum
    #[arg(long, requires = "reference")]
    pub normalise_length: bool,
}

fn beta(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|beta: &f64| beta.is_finite() && *beta > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}

/// The options of what reads a score.
#[derive(Args)]
#[group(skip)]
pub struct ReaderArguments {
    /// What reads the score: a known reader, a JSON file, or none [default: the one that is known for the model]
    ///
    /// A reader reads a verdict, such as yes against no, from a few outputs. An unknown name prints the list.
    #[arg(long, value_name = "NAME|FILE")]
    pub reader: Option<String>,
    /// What the reader asks: a criterion, or the task of a reranker [default: the reader's own]
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// How to turn the values of a solution's steps into a score
    #[arg(long, value_enum, default_value = "min")]
    pub aggregate: StepAggregate,
}

impl ReaderArguments {
    /// Sets the options of a load.
    ///
    /// # Errors
    /// When there is no such reader, or its file is none.
    pub fn adjust(&self, options: &mut LoadOptions) -> anyhow::Result<()> {
        options.reader = match self.reader.as_deref() {
            None => ReaderChoice::Found,
            Some(name) if name != "none" && Path::new(name).is_file() => {
                let json = std::fs::read_to_string(name).with_context(|| format!("reading the reader {name}"))?;
                let file = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy());
                let spec = ReaderSpec::from_json(name, &json)?;
                ReaderChoice::Given(Box::new(Reader { name: file.into_owned(), spec }))
            }
            Some(name) => ReaderChoice::named(name)?,
        };
        options.instruction.clone_from(&self.instruction);
        options.step_aggregate = self.aggregate;
        Ok(())
    }
}

fn date(text: &str) -> Result<Clock, String> {
    Clock::parse(text).ok_or_else(|| "expected YYYY-MM-DD or YYYY-MM-DDThh:mm:ss".to_owned())
}

/// A value of `--protocol`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// The model's own context and the chat template's BOS
    Default,
    /// RewardBench's: at most 2048 tokens, the tokenizer's BOS kept beside the template's and the first one masked
    Reference,
    /// RewardBench's for a language model and its reference: a BOS before the template's, an EOS after it, a long prompt cut to 128 tokens
    RewardbenchDpo,
}

impl Arguments {
    /// Applies the options that override parts of a protocol.
    ///
    /// # Errors
    /// When `--format` names no known format.
    fn adjust(&self, protocol: &mut Protocol) -> anyhow::Result<()> {
        if let Some(bos) = self.bos {
            protocol.bos = bos;
        }
        protocol.truncation = self.truncation_side;
        if self.legacy_pooling {
            protocol.pooled = PooledToken::BeforeFirstPad;
        }
        if let Some(name) = &self.format {
            protocol.format = Some(Format::named(name)?);
        }
        Ok(())
    }
}

/// What a name on the command line stands for. A path on disk is preferred to a Hub id.
pub enum Named {
    /// A folder on disk.
    Folder(PathBuf),
    /// A file or a pipe on disk.
    File(PathBuf),
    /// A repository on the Hub.
    Hub(RepositoryId),
}

/// Endings of files of rows and of models.
const FILES: [&str; 14] = [
    "arrow",
    "bz2",
    "csv",
    "feather",
    "gguf",
    "gz",
    "json",
    "jsonl",
    "ndjson",
    "parquet",
    "safetensors",
    "tsv",
    "zst",
    "zstd",
];

/// Finds out what a name stands for.
///
/// # Errors
/// When nothing on disk has this name and it does not read as a Hub id.
pub fn named(name: &str) -> anyhow::Result<Named> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(Named::Folder(path.to_owned()));
    }
    // `exists`, not `is_file`: a pipe is not a regular file, but is read like one.
    if path.exists() {
        return Ok(Named::File(path.to_owned()));
    }
    // The name of a file that is missing is no reason to ask the Hub for `rows/missing`.
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if FILES.contains(&ending.as_str()) && !name.contains(':') {
        bail!("opening {name}: there is no such file or folder");
    }
    match name.parse() {
        Ok(id) => Ok(Named::Hub(id)),
        Err(_) => bail!("opening {name}: there is no such file or folder, and it is no Hub id (owner/name) either"),
    }
}

/// Opens the files of a model. An adapter's files are joined with those of its base: `base`, or else the model that the
/// adapter names, which may be a path relative to the adapter's folder.
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
    let of_base = named_files(&base).await.with_context(|| format!("opening the base of the adapter {name}"))?;
    Ok(NamedFiles { files: model.files.over(of_base.files)?, base: Some(base), ..model })
}

/// Opens the files of a reference for a model; `base` is the model's own base.
async fn reference_files(reference: &str, model: &NamedFiles) -> anyhow::Result<NamedFiles> {
    match (reference, &model.base) {
        ("base", Some(base)) => named_files(base).await,
        ("base", None) => bail!(
            "opening the reference: an adapter was expected, for --reference base is its base; {} is none; name the reference",
            model.files.name()
        ),
        _ => files(reference, None).await,
    }
}

async fn named_files(name: &str) -> anyhow::Result<NamedFiles> {
    let cancel = Cancel::default();
    let local = |path: &Path, sources: Vec<Source>| {
        let files = ModelFiles::from_sources(&path.display().to_string(), sources)?;
        anyhow::Ok(NamedFiles { files, id: None, base: None })
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
            let files = ModelFiles::from_hub(&store, &id, Dtype::Auto, &cancel, &mut tell).await;
            bar.finish_and_clear();
            Ok(NamedFiles { files: files?, id: Some(name.to_owned()), base: None })
        }
    }
}

/// A loaded model.
pub struct Loaded {
    /// The model on its device.
    pub scorer: Scorer,
    /// The time that its chat templates are told.
    pub clock: Clock,
    /// The files that it was loaded from.
    pub files: NamedFiles,
}

/// A model's files.
pub struct NamedFiles {
    /// The files.
    pub files: ModelFiles,
    /// The Hub id that they were named by, if any.
    pub id: Option<String>,
    /// The name of the base that they are joined with, if they are an adapter's.
    base: Option<String>,
}

/// The local wall-clock time, which transformers' chat templates read.
pub fn now() -> Clock {
    Clock::from_local_seconds(chrono::Local::now().naive_local().and_utc().timestamp())
}

/// A model that is ready to be loaded.
pub struct Prepared<'a> {
    arguments: &'a Arguments,
    files: NamedFiles,
    head: Option<RewardHead>,
    reference: Option<NamedFiles>,
    options: LoadOptions,
}

/// Opens a model's files, its head and its reference.
pub async fn prepare(arguments: &Arguments) -> anyhow::Result<Prepared<'_>> {
    let clock = arguments.date.unwrap_or_else(now);
    let mut options = match arguments.protocol {
        ProtocolName::Default => LoadOptions::new(clock),
        ProtocolName::Reference => LoadOptions::reference(clock),
        ProtocolName::RewardbenchDpo => LoadOptions::rewardbench_dpo(clock),
    };
    arguments.adjust(&mut options.protocol)?;
    options.aggregate = arguments.logprob;
    options.max_tokens = arguments.max_length.map(std::num::NonZeroUsize::get).or(options.max_tokens);
    options.label = arguments.label;
    options.pair_aggregate = arguments.pair_aggregate;
    arguments.reader.adjust(&mut options)?;
    options.dtype = arguments.dtype;
    options.batch_tokens = arguments.batch_tokens.map(std::num::NonZeroUsize::get);
    let files = files(&arguments.model, arguments.base.as_deref()).await?;
    let head = match &arguments.head {
        Some(path) => Some(RewardHead::read(&Source::file(path)?).await?),
        None => None,
    };
    let reference = match &arguments.reference.reference {
        Some(name) => Some(reference_files(name, &files).await?),
        None => None,
    };
    Ok(Prepared { arguments, files, head, reference, options })
}

/// Opens the device and loads a model and what it needs. Shows progress, and then what was loaded.
pub async fn load(arguments: &Arguments) -> anyhow::Result<Loaded> {
    prepare(arguments).await?.load(None).await
}

impl Prepared<'_> {
    /// The time that chat templates are told.
    pub fn clock(&self) -> Clock {
        self.options.clock
    }

    /// Sets it.
    pub fn set_clock(&mut self, clock: Clock) {
        self.options.clock = clock;
    }

    /// Whether the device has room for the model, and for its reference, but not for both at once.
    pub async fn fits_alone(&self) -> anyhow::Result<bool> {
        // A head makes a classifier of the model, which is refused when it is loaded.
        let (Some(reference), None) = (&self.reference, &self.head) else {
            return Ok(false);
        };
        let device = driver::open(self.arguments.device).await?;
        let own = self.files.files.inspect(None, &self.options).await?;
        // Its own output is read, whatever reader is known for it.
        let plain = LoadOptions { reader: ReaderChoice::None, instruction: None, ..self.options.clone() };
        let other = reference.files.inspect(None, &plain).await?;
        Ok(device.fits_in_turn([&own.needs, &other.needs], self.options.dtype))
    }

    /// Loads the reference by itself.
    pub async fn reference(&self) -> anyhow::Result<Scorer> {
        let reference = self.reference.as_ref().context("loading the reference: none was named with --reference")?;
        let device = driver::open(self.arguments.device).await?;
        eprintln!("{}", device.report.reason);
        let loading = Loading::begin()?;
        let (options, cancel) = (self.options.clone(), Cancel::default());
        let tell = &mut |now| loading.tell(&now);
        let scorer = Scorer::reference_for(&self.files.files, &reference.files, device, options, &cancel, tell).await;
        loading.bar.finish_and_clear();
        let scorer = scorer?;
        eprintln!("{} is the reference; it is read first, then the model.", scorer.report().name);
        Ok(scorer)
    }

    /// Loads the model. `kept` is what its reference said before; without it, the reference is loaded too.
    pub async fn load(self, kept: Option<KeptReference>) -> anyhow::Result<Loaded> {
        let Self { arguments, files, head, reference, options } = self;
        let clock = options.clock;
        let ReferenceArguments { beta, normalise_length, .. } = arguments.reference;
        let log_ratios = LogRatios { beta, normalise_length };
        let device = driver::open(arguments.device).await?;
        eprintln!("{}", device.report.reason);
        let loading = Loading::begin()?;
        let tell = &mut |now| loading.tell(&now);
        let cancel = Cancel::default();
        let mut scorer = Scorer::load(&files.files, head.as_ref(), device, options, &cancel, tell).await;
        if let (Ok(_), Some(reference)) = (&scorer, reference) {
            scorer = match kept {
                Some(kept) => scorer?.against_kept(kept, log_ratios),
                None => {
                    let device = driver::open(arguments.device).await?;
                    scorer?.against(&reference.files, log_ratios, device, &cancel, tell).await
                }
            };
        }
        loading.bar.finish_and_clear();
        let scorer = scorer?;
        told(scorer.report());
        Ok(Loaded { scorer, clock, files })
    }
}

/// The progress bar of loading.
struct Loading {
    bar: ProgressBar,
}

impl Loading {
    fn begin() -> anyhow::Result<Self> {
        let bar = ProgressBar::new(0).with_style(style("loading {bar:30} {bytes}/{total_bytes} {eta}")?);
        Ok(Self { bar })
    }

    fn tell(&self, now: &LoadProgress) {
        if now.stage == LoadStage::Weights {
            self.bar.set_length(now.bytes_total);
            self.bar.set_position(now.bytes_done);
        }
    }
}

/// Shows what was loaded.
fn told(report: &ModelReport) {
    eprintln!(
        "{}: {}, {} parameters in {:.0} MB ({}), context {} tokens{}; scores are {}.",
        report.name,
        report.architecture,
        report.parameters,
        report.device_bytes as f64 / 1e6,
        report.dtype.name(),
        report.context_tokens,
        if report.protocol.is_empty() { String::new() } else { format!(", {}", report.protocol) },
        report.scores()
    );
    if let Some(reader) = &report.reader {
        let asked = reader.spec.instruction.as_ref().map(|text| format!(", asking {text:?}")).unwrap_or_default();
        eprintln!("read by {}{asked}", reader.name);
    }
    if let Some(Reference { model, log_ratios, .. }) = &report.reference {
        let mean = if log_ratios.normalise_length { ", the mean over tokens" } else { "" };
        eprintln!("measured against {model}, beta {}{mean}", log_ratios.beta);
    }
    for note in &report.notes {
        eprintln!("note: {note}");
    }
}
