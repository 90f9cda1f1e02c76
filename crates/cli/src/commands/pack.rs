//! `rewardscope pack` packs a model into a folder that any static host can serve and the page can load.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use rewardscope_engine::{Cancel, Dtype, ModelFiles};
use rewardscope_store::{
    About, Folder, PARTS_FILE, PartsWriter, RemoteFile, RepositoryId, RepositoryKind, Source, Store,
};

use crate::model;
use crate::model::Named;
use crate::output::say;
use crate::progress::bytes_style;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope pack ./model --dtype q8 --out packed
  rewardscope pack model.gguf --dtype q4 --out packed --licence Apache-2.0")]
pub struct Arguments {
    /// Model to pack: a .gguf file, a folder (of a checkpoint or an adapter) or a Hub id
    model: String,
    /// Base model of an adapter [default: the one that the adapter names]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Weight type to store the large matrices in
    ///
    /// A GGUF file may be packed without it, and is then stored unchanged. Other models need it.
    #[arg(long, value_parser = packed(), value_name = "DTYPE")]
    dtype: Option<Dtype>,
    /// Name of the licence [default: the one that the model card names]
    #[arg(long, value_name = "NAME")]
    licence: Option<String>,
    /// Folder to write to; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Weight types that a model can be packed as.
const PACKED: [Dtype; 3] = [Dtype::F16, Dtype::Q8, Dtype::Q4];

/// Reads the name of one of [`PACKED`].
fn packed() -> impl TypedValueParser<Value = Dtype> {
    let values = PossibleValuesParser::new(PACKED.iter().filter_map(ValueEnum::to_possible_value));
    values.map(|name| PACKED.into_iter().find(|dtype| dtype.name() == name).unwrap_or_default())
}

/// What some licences ask of those who distribute a model: `(beginning of the licence's name, text to show)`. Sources:
/// the licences' own texts, as Meta and Google publish them.
const ASKED: [(&str, &str); 2] = [
    (
        "llama",
        "Built with Llama. The Llama Community License asks that this is shown, that a model made of it is named with \
         \"Llama\" first, and that the licence, its notice file and the acceptable use policy go with it.",
    ),
    (
        "gemma",
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. They ask \
         that their use restrictions are passed on, that a copy goes with it, and that changed files say so.",
    ),
];

/// Whether a file is a licence, a notice or a use policy, which must accompany the model.
fn is_legal(name: &str) -> bool {
    let name = name.to_lowercase();
    !name.contains('/')
        && ["licen", "notice", "use_policy", "use-policy", "copying"].iter().any(|part| name.starts_with(part))
}

/// The model card, whose front matter names the licence.
const CARD: &str = "README.md";

/// The value of a key in a model card's front matter. The front matter is YAML; only values on one line are read.
fn front_matter<'a>(card: &'a str, key: &str) -> Option<&'a str> {
    let head = card.strip_prefix("---")?.split("\n---").next()?;
    let value = head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}

/// The documents beside a model: its card, and the names and contents of its legal files.
struct Papers {
    card: String,
    legal: Vec<(String, Vec<u8>)>,
}

impl Papers {
    async fn of(name: &str) -> anyhow::Result<Self> {
        let sources: Vec<Source> = match model::named(name)? {
            Named::Folder(path) => Folder::open(&path)?.sources().cloned().collect(),
            Named::File(path) => {
                let folder = path.parent().filter(|folder| folder.is_dir()).unwrap_or(Path::new("."));
                Folder::open(folder)?.sources().cloned().collect()
            }
            Named::Hub(id) => Self::of_hub(&id).await?,
        };
        let mut papers = Self { card: String::new(), legal: Vec::new() };
        for source in sources {
            let file = source.name().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
            if file == CARD {
                papers.card = String::from_utf8_lossy(&source.read_all().await?).into_owned();
            } else if is_legal(&file) {
                papers.legal.push((file, source.read_all().await?));
            }
        }
        Ok(papers)
    }

    async fn of_hub(id: &RepositoryId) -> anyhow::Result<Vec<Source>> {
        let (store, cancel) = (Store::from_environment()?, Cancel::default());
        let repository = store.repository(RepositoryKind::Model, id, &cancel, &mut |_| {}).await?;
        let wanted = |file: &&RemoteFile| file.name == CARD || is_legal(&file.name);
        let names: Vec<String> = repository.files.iter().filter(wanted).map(|file| file.name.clone()).collect();
        Ok(store.fetch(&repository, &names, &cancel, &mut |_| {}).await?)
    }

    /// The licence's name. Model cards give it as `license`, or as `license_name` where `license` is `other`.
    fn licence(&self) -> Option<String> {
        let named = front_matter(&self.card, "license")?;
        let own = if named == "other" { front_matter(&self.card, "license_name") } else { None };
        Some(own.unwrap_or(named).to_owned())
    }
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let out = &arguments.out;
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("packing into {}: an empty folder was expected, it has files; name another", out.display());
    }
    let named = model::files(&arguments.model, arguments.base.as_deref()).await?;
    let mut papers = Papers::of(&arguments.model).await?;
    if let Some(base) = &arguments.base {
        // The base is merged into the packed weights, so its licence files must come along too.
        let base = Papers::of(base).await?;
        papers.legal.extend(base.legal.into_iter().map(|(name, bytes)| (format!("base-{name}"), bytes)));
        if papers.licence().is_none() {
            papers.card = base.card;
        }
    }
    let licence = arguments.licence.clone().or_else(|| papers.licence());
    let about = about(&named.files, &arguments.model, licence.as_deref(), arguments.dtype);
    let mut parts = PartsWriter::new(out).with_context(|| format!("making {}", out.display()))?;
    let bar = ProgressBar::new(0).with_style(bytes_style()?);
    match (&named.files, arguments.dtype) {
        (ModelFiles::Gguf(source), None) => {
            parts.begin(source.name().rsplit(['/', '\\']).next().unwrap_or("model.gguf"), about.clone());
            bar.set_length(source.bytes());
            let mut at = 0;
            while at < source.bytes() {
                let piece = source.read(at, (source.bytes() - at).min(1 << 20) as usize).await?;
                parts.write(&piece).with_context(|| format!("writing into {}", out.display()))?;
                at += piece.len() as u64;
                bar.set_position(at);
            }
        }
        (_, None) => bail!("packing {}: choose a weight type with --dtype f16, q8 or q4", arguments.model),
        (files, Some(dtype)) => {
            let mut current = String::new();
            let mut write = |file: &str, bytes: &[u8]| {
                if file != current {
                    parts.begin(file, about.clone());
                    current = file.to_owned();
                }
                parts.write(bytes)
            };
            let mut tell = |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            };
            files.write_packed(dtype, &Cancel::default(), &mut tell, &mut write).await?;
        }
    }
    bar.finish_and_clear();
    for (name, bytes) in &papers.legal {
        std::fs::write(out.join(name), bytes).with_context(|| format!("writing {name} into {}", out.display()))?;
    }
    let manifest = parts.finish().with_context(|| format!("writing {}", out.join(PARTS_FILE).display()))?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let count: usize = manifest.files.iter().map(|file| file.parts.len()).sum();
    say!("{}: {count} parts, {:.1} MB", out.display(), bytes as f64 / 1e6)?;
    match &licence {
        Some(licence) => say!("licence: {licence}; {} licence and notice files", papers.legal.len())?,
        None => say!("licence: unknown; find out before you share {}, and name it with --licence", out.display())?,
    }
    if !about.warning.is_empty() {
        say!("{}", about.warning)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The manifest's entry about the files: licence, attribution and warning.
fn about(files: &ModelFiles, model: &str, licence: Option<&str>, dtype: Option<Dtype>) -> About {
    let changed = match dtype {
        Some(dtype) => format!("its large matrices were made {} by Rewardscope", dtype.name()),
        None => "unchanged".to_owned(),
    };
    let asks = |(beginning, text): &(&str, &'static str)| {
        licence.is_some_and(|licence| licence.to_lowercase().starts_with(beginning)).then_some(*text)
    };
    // A Hub id names the source in full; for a path on disk, the file's or folder's name is used.
    let from = if Path::new(model).exists() { files.name() } else { model };
    About {
        licence: licence.unwrap_or_default().to_owned(),
        attribution: format!("{from}, {changed}"),
        warning: ASKED.iter().find_map(asks).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_say_their_licence() {
        let card =
            "---\nlibrary_name: transformers\nlicense: other\nlicense_name: gemma\n---\n# A model\nlicense: mit\n";
        let papers = |card: &str| Papers { card: card.to_owned(), legal: Vec::new() };
        assert_eq!(papers(card).licence().as_deref(), Some("gemma"));
        assert_eq!(papers("---\nlicense: \"llama3.1\"\n---\n").licence().as_deref(), Some("llama3.1"));
        assert_eq!(papers("# No front matter\nlicense: mit").licence(), None);
        for (name, is) in [
            ("LICENSE", true),
            ("LICENCE.txt", true),
            ("Notice", true),
            ("USE_POLICY.md", true),
            ("README.md", false),
            ("a/LICENSE", false),
        ] {
            assert_eq!(is_legal(name), is, "{name}");
        }
    }
}
