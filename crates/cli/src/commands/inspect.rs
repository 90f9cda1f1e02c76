//! `rewardscope inspect` shows what a model is, what memory it needs, and whether it fits on a device here.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rewardscope_engine::{
    Cancel, Detail, DeviceChoice, Dtype, Format, Inspection, LoadOptions, Message, ModelFiles, OpenDevice, RewardHead,
    Scorer,
};
use rewardscope_store::Source;

use crate::output::say;
use crate::{driver, model};

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope inspect ./model
  rewardscope inspect Skywork/Skywork-Reward-V2-Qwen3-0.6B --json
  rewardscope inspect ./model --try")]
pub struct Arguments {
    /// Model to inspect: a .gguf file, a folder (of a checkpoint or an adapter) or a Hub id
    model: String,
    /// Base model of an adapter [default: the one that the adapter names]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Reward head to put on the model
    ///
    /// This is the head.safetensors that `fit` wrote for the same model.
    #[arg(long, value_name = "FILE")]
    head: Option<std::path::PathBuf>,
    /// Weight type on the device, to check the memory for
    #[arg(long, value_enum, default_value = "auto")]
    dtype: Dtype,
    /// Device to check
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
    /// Also load the model and score a short text
    ///
    /// This finds what `score` would refuse.
    #[arg(long = "try")]
    is_tried: bool,
    /// With --try: label whose logit is the score, counted from 0
    #[arg(long, value_name = "LABEL", requires = "is_tried")]
    label: Option<usize>,
    /// With --try: one of RewardBench's conversation formats, to use instead of the model's chat template
    #[arg(long, value_name = "NAME", requires = "is_tried")]
    format: Option<String>,
    #[command(flatten)]
    reader: model::ReaderArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = model::files(&arguments.model, arguments.base.as_deref()).await?;
    let head = match &arguments.head {
        Some(path) => Some(RewardHead::read(&Source::file(path)?).await?),
        None => None,
    };
    let mut options = LoadOptions::new(model::now());
    arguments.reader.adjust(&mut options)?;
    (options.dtype, options.label) = (arguments.dtype, arguments.label);
    options.protocol.format = arguments.format.as_deref().map(Format::named).transpose()?;
    let found = files.files.inspect(head.as_ref(), &options).await?;
    let device = driver::open(arguments.device).await?;
    let dtype = arguments.dtype;
    let fits = device.fits(&found.name, &found.needs, dtype);
    if arguments.json {
        let mut all = serde_json::to_value(&found)?;
        all["device"] = serde_json::to_value(&device.report)?;
        all["does_not_fit"] = fits.err().map(|error| error.to_string()).into();
        if arguments.is_tried {
            all["tried"] = tried(&files.files, head.as_ref(), device, options).await?.into();
        }
        say!("{all:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    table(&found)?;
    match fits {
        Ok(()) => say!("fits          {}, {}", device.report.name, dtype.phrase())?,
        Err(error) => say!("does not fit  {error}")?,
    }
    if arguments.is_tried {
        let score = tried(&files.files, head.as_ref(), device, options).await?;
        say!("tried         {score:.6} for {PROMPT:?} and {COMPLETION:?}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The prompt that `--try` scores.
const PROMPT: &str = "What is 2 + 2?";
/// The completion that `--try` scores.
const COMPLETION: &str = "2 + 2 is 4.";

/// Loads the model and scores the short text of `--try`.
async fn tried(
    files: &ModelFiles,
    head: Option<&RewardHead>,
    device: OpenDevice,
    options: LoadOptions,
) -> anyhow::Result<f64> {
    let cancel = Cancel::default();
    let scorer = Scorer::load(files, head, device, options, &cancel, &mut |_| {}).await?;
    let prompt = [Message::new("user", PROMPT)];
    let scores = scorer.score(&prompt, [COMPLETION], Detail::Score, &cancel).await?;
    scores.first().map(|score| score.score).context("scoring a short text: no score came back")
}

fn table(found: &Inspection) -> anyhow::Result<()> {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let by_type = |all: &std::collections::BTreeMap<String, u64>| {
        all.iter().map(|(dtype, &bytes)| format!("{dtype} {}", megabytes(bytes))).collect::<Vec<_>>().join(", ")
    };
    let labels = if found.labels == 1 { String::new() } else { format!(", {} labels", found.labels) };
    say!("model         {}", found.name)?;
    say!("architecture  {}", found.architecture)?;
    say!("output        {}{labels}", found.head)?;
    say!("read at       {}", found.pooling)?;
    if let Some(reader) = &found.reader {
        say!("reader        {}: {}", reader.name, reader.spec.described())?;
    }
    say!("parameters    {}", found.parameters)?;
    say!("layers        {}, {} wide, {} tokens in the vocabulary", found.layers, found.hidden_size, found.vocab_size)?;
    say!("context       {} tokens", found.context_tokens)?;
    say!("template      {}", if found.has_chat_template { "its own" } else { "none; name one with --format" })?;
    say!("stored        {}", by_type(&found.stored_bytes))?;
    let most = 12;
    for (place, name) in found.unread.iter().take(most).enumerate() {
        say!("{}  {name}", if place == 0 { "unused      " } else { "            " })?;
    }
    if found.unread.len() > most {
        say!("              and {} more", found.unread.len() - most)?;
    }
    for note in &found.notes {
        say!("note          {note}")?;
    }
    let needs = found.needs.iter().map(|need| format!("{} {}", need.dtype.name(), megabytes(need.weight_bytes)));
    say!("memory        {}", needs.collect::<Vec<_>>().join(", "))
}
