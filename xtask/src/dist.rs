//! `cargo xtask dist`: builds a folder that any static host can serve, at any address and without special headers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;
use rewardscope_benchmarks::reward_bench_2::OFFICIAL_ROWS;
use rewardscope_store::{About, Cancel, FetchProgress, RepositoryId, RepositoryKind, Store};

use crate::stage::{self, Stages, call, fingerprint, unless_current};
use crate::{licences, setup, wasm};

/// A dataset that can be bundled.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dataset {
    /// The official rows of `allenai/reward-bench-2`, 13.8 MB, ODC-BY.
    #[value(name = "reward-bench-2")]
    RewardBench2,
}

/// The file name of RewardBench 2's rows on the site.
const REWARD_BENCH_2_NAME: &str = "reward-bench-2.parquet";

/// The file with the licences of third-party code. Its presence also tells that a folder was made by this command.
const THIRD_PARTY: &str = "THIRD-PARTY-LICENCES.txt";

/// Most bytes of a file; some hosts refuse larger ones.
const MOST_FILE_BYTES: u64 = 25_000_000;

/// Most bytes of a wasm module as it is transferred, compressed with brotli.
const MOST_WASM_BYTES: u64 = 3_500_000;

/// Builds the page's parts and the folder, and prints the folder's sizes.
pub fn run(out: &Path, with: Option<Dataset>) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    setup::site(&mut stages)?;
    build(&mut stages, out, with)?;
    stages.summary();
    Ok(())
}

/// Builds the folder from the page's parts, which must be built already, and prints its sizes.
pub fn build(stages: &mut Stages, out: &Path, with: Option<Dataset>) -> anyhow::Result<()> {
    let optimised = stages.run("wasm-opt", optimise)?;
    stages.run("front end for any host", || front_end(out, &optimised, with))?;
    stages.run("models, data, licences", || {
        setup::model_parts(&out.join("models"))?;
        let bundled = match with {
            Some(Dataset::RewardBench2) => vec![reward_bench_2()?],
            None => Vec::new(),
        };
        setup::data_parts(&out.join("data"), &bundled)?;
        // The stamps tell later builds what was written; visitors do not need them.
        for stamp in ["models/smollm2-135m-instruct.parts", "data.parts"] {
            std::fs::remove_file(out.join(stamp)).with_context(|| format!("removing {stamp}"))?;
        }
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            std::fs::copy(licence, out.join(licence))?;
        }
        Ok(std::fs::write(out.join(THIRD_PARTY), licences::text(setup::TARGET)?)?)
    })?;
    stages.run("sizes", || sizes(out))
}

/// Optimises the wasm module with binaryen's wasm-opt, an npm package, and makes the module with relaxed SIMD from it.
/// Gives the folder of both.
fn optimise() -> anyhow::Result<PathBuf> {
    let input = Path::new(setup::WASM_OUT).join(setup::PLAIN_WASM);
    let folder = PathBuf::from("target/xtask/optimised");
    let [plain, relaxed] = [setup::PLAIN_WASM, setup::RELAXED_WASM].map(|name| folder.join(name));
    let sources = [input.as_path(), Path::new("package-lock.json"), Path::new("xtask/src/wasm.rs")];
    let key = fingerprint(sources)? + &WASM_OPT.join(" ");
    unless_current(Path::new("target/xtask/wasm-opt"), &key, &relaxed, || {
        std::fs::create_dir_all(&folder)?;
        let paths = [input.display().to_string(), "-o".to_owned(), plain.display().to_string()];
        call("node_modules/.bin/wasm-opt", WASM_OPT.map(str::to_owned).into_iter().chain(paths))?;
        wasm::fuse(&plain, &relaxed)
    })?;
    Ok(folder)
}

/// Options of wasm-opt: the optimisation level and the wasm features that rustc uses. -O2 would take two minutes
/// longer, and its result compresses less well.
const WASM_OPT: [&str; 9] = [
    "-O1",
    // Keeps the few function names, by which `wasm::fuse` finds its functions.
    "-g",
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
];

fn front_end(out: &Path, modules: &Path, with: Option<Dataset>) -> anyhow::Result<()> {
    if out.exists() {
        // Only a folder that an earlier call made is removed.
        if !out.join(THIRD_PARTY).exists() && std::fs::read_dir(out)?.next().is_some() {
            bail!("making {}: an empty or earlier built folder was expected, something else is there", out.display());
        }
        std::fs::remove_dir_all(out)?;
    }
    // Written first, so that the next call recognises the folder even if this build fails.
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join(THIRD_PARTY), "")?;
    let absolute = |path: &Path| std::path::absolute(path).map(|path| path.display().to_string());
    let mut vite = Command::new("npm");
    vite.args(["run", "--silent", "build", "--workspace", "www", "--", "--outDir", &absolute(out)?]);
    vite.env("REWARDSCOPE_OPTIMISED_WASM", absolute(modules)?);
    if with == Some(Dataset::RewardBench2) {
        vite.env("REWARDSCOPE_BUNDLED_ROWS", REWARD_BENCH_2_NAME);
    }
    stage::run(&mut vite)
}

/// Fetches RewardBench 2's pinned rows through the Hub's usual cache and checks their hash.
fn reward_bench_2() -> anyhow::Result<(PathBuf, About)> {
    let store = Store::from_environment()?;
    let rows = OFFICIAL_ROWS;
    let id: RepositoryId = rows.id().parse()?;
    let cancel = Cancel::default();
    let mut said = String::new();
    let mut tell = |now: FetchProgress| {
        if let Some(trouble) = now.trouble.filter(|trouble| *trouble != said) {
            println!("{trouble}");
            said = trouble;
        }
    };
    let path = Path::new(".cache/data").join(REWARD_BENCH_2_NAME);
    if !std::fs::metadata(&path).is_ok_and(|found| found.len() == rows.bytes) {
        let bytes = pollster::block_on(async {
            let repository = store.repository(RepositoryKind::Dataset, &id, &cancel, &mut tell).await?;
            let sources = store.fetch(&repository, &[rows.file.to_owned()], &cancel, &mut tell).await?;
            match sources.first() {
                Some(source) => source.read_all().await,
                None => Ok(Vec::new()),
            }
        })?;
        std::fs::create_dir_all(".cache/data")?;
        std::fs::write(&path, bytes)?;
    }
    let found = stage::sha256(&path)?;
    if found != rows.sha256 {
        std::fs::remove_file(&path)?;
        bail!("{} of {} should have the sha256 {}, it has {found}", rows.file, rows.repository, rows.sha256);
    }
    let about = About {
        licence: "ODC-BY-1.0".to_owned(),
        attribution: format!(
            "RewardBench 2 by Malik et al. (Allen Institute for AI), {} at {}, unchanged; it contains completions of \
             other models, under their terms",
            rows.repository, rows.revision
        ),
        warning: "RewardBench 2 contains harmful requests and answers, so that models can be marked on refusing them."
            .to_owned(),
    };
    Ok((path, about))
}

/// Prints the sizes of the largest file and of the compressed wasm modules; refuses a file over its limit.
fn sizes(out: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    collect(out, &mut files)?;
    files.sort();
    let Some((largest_bytes, largest)) = files.last() else {
        bail!("{} is empty", out.display());
    };
    let total: u64 = files.iter().map(|(bytes, _)| bytes).sum();
    println!("{} files, {total} bytes; the largest is {} with {largest_bytes}", files.len(), largest.display());
    if *largest_bytes > MOST_FILE_BYTES {
        bail!("{} has {largest_bytes} bytes, more than the {MOST_FILE_BYTES} that every host takes", largest.display());
    }
    for (ending, most) in [("wasm.br", MOST_WASM_BYTES), ("wasm.gz", MOST_FILE_BYTES)] {
        let modules: Vec<_> = files.iter().filter(|(_, path)| path.to_string_lossy().ends_with(ending)).collect();
        if modules.len() != 2 {
            bail!(
                "{} should have two .{ending}, with relaxed SIMD and without, it has {}",
                out.display(),
                modules.len()
            );
        }
        for (bytes, path) in modules {
            println!("{} has {bytes} bytes", path.display());
            if *bytes > most {
                bail!("{} has {bytes} bytes, more than {most}", path.display());
            }
        }
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<(u64, PathBuf)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push((entry.metadata()?.len(), entry.path()));
        }
    }
    Ok(())
}
