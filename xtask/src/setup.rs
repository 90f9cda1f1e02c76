//! Builds the site from a fresh clone: wasm target, wasm, front end, default model.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rewardscope_serve::Site;
use rewardscope_store::About;
use wasm_bindgen_cli_support::Bindgen;

use crate::packages::SMOLLM2;
use crate::parts::write_parts;
use crate::stage::{self, Stages, call, fingerprint, has, unless_current};
use crate::wasm;

/// The target triple of the page's wasm.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Folder of the stamps that record what a step was done for.
const STAMPS: &str = "target/xtask";

/// Folder where wasm-bindgen writes the modules that the page imports.
pub const WASM_OUT: &str = "www/src/wasm";

/// The wasm module for every browser.
pub const PLAIN_WASM: &str = "rewardscope_bg.wasm";
/// The wasm module for browsers with relaxed SIMD.
pub const RELAXED_WASM: &str = "rewardscope_relaxed.wasm";

/// Folder of the Vite build.
pub const SITE: &str = "www/dist";

/// The site's models and data, as parts with manifests.
const MODEL_PARTS: &str = ".cache/site/models";
const DATA_PARTS: &str = ".cache/site/data";

/// The default model's folder below the site's models.
const DEFAULT_MODEL_FOLDER: &str = "smollm2-135m-instruct";

/// The site as served on localhost, with its models and data.
pub fn served() -> Site {
    served_with([], [])
}

/// The same as [`served`], with more folders as `(address prefix, folder)` and with headers on every response.
pub fn served_with<const F: usize, const H: usize>(
    others: [(&str, &str); F],
    headers: [(&'static str, &'static str); H],
) -> Site {
    let own = [("/models/", MODEL_PARTS), ("/data/", DATA_PARTS), ("/", SITE)];
    let mounts = others.into_iter().chain(own).map(|(prefix, folder)| (prefix.to_owned(), folder.into()));
    Site::new(mounts).with_headers(headers)
}

/// Builds everything that the page needs.
pub fn site(stages: &mut Stages) -> anyhow::Result<()> {
    prerequisites()?;
    stages.run("wasm target", wasm_target)?;
    stages.run("wasm build", wasm_build)?;
    stages.run("wasm-bindgen", wasm_bindgen)?;
    stages.run("npm ci", npm)?;
    stages.run("front end build", front_end)?;
    data(stages)
}

/// Serves the page with hot reload. A change below `www/` shows at once; a change in Rust needs a restart.
pub fn develop(stages: &mut Stages) -> anyhow::Result<()> {
    prerequisites()?;
    stages.run("wasm target", wasm_target)?;
    stages.run("wasm build", wasm_build)?;
    stages.run("wasm-bindgen", wasm_bindgen)?;
    stages.run("npm ci", npm)?;
    data(stages)?;
    stages.summary();
    let serving = served().serve(0)?;
    let mut vite = Command::new("npm");
    vite.args(["run", "--silent", "dev", "--workspace", "www"]);
    stage::run(vite.env("REWARDSCOPE_SERVED", format!("http://localhost:{}", serving.port)))
}

/// Makes the models and rows that the site serves beside the page.
pub fn data(stages: &mut Stages) -> anyhow::Result<()> {
    stages.run("default model", || SMOLLM2.fetch())?;
    stages.run("models and data in parts", || {
        model_parts(Path::new(MODEL_PARTS))?;
        data_parts(Path::new(DATA_PARTS), &[])
    })
}

/// Writes the default model in parts below `models`.
pub fn model_parts(models: &Path) -> anyhow::Result<()> {
    let about = About {
        licence: "Apache-2.0".to_owned(),
        attribution: format!(
            "SmolLM2-135M-Instruct by Hugging Face, quantised to Q4_1, as shipped in the Python package {}; the file \
             was cut into parts and is otherwise unchanged",
            SMOLLM2.requirements.join(", ")
        ),
        warning: String::new(),
    };
    write_parts(&models.join(DEFAULT_MODEL_FOLDER), &[(SMOLLM2.path(), about)])
}

/// Writes the sample's rows and `others` in parts.
pub fn data_parts(folder: &Path, others: &[(PathBuf, About)]) -> anyhow::Result<()> {
    let about = About {
        licence: "Apache-2.0 OR MIT".to_owned(),
        attribution: "A small sample written for Rewardscope; it is not RewardBench 2".to_owned(),
        warning: String::new(),
    };
    let files: Vec<_> = [(PathBuf::from("sample/sample.parquet"), about)].into_iter().chain(others.to_vec()).collect();
    write_parts(folder, &files)
}

/// Checks that rustup, Node, npm and Python with pip are installed.
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

/// Cargo's target folder.
pub fn target_folder() -> String {
    std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned())
}

fn wasm_bindgen() -> anyhow::Result<()> {
    let input = format!("{}/{TARGET}/wasm/rewardscope_web.wasm", target_folder());
    let [made, relaxed] = [PLAIN_WASM, RELAXED_WASM].map(|name| Path::new(WASM_OUT).join(name));
    let key = fingerprint(["xtask/src/wasm.rs", &input].map(Path::new))?;
    unless_current(Path::new(&format!("{STAMPS}/wasm-bindgen")), &key, &made, || {
        Bindgen::new()
            .input_module("rewardscope", wasm::trimmed(Path::new(&input))?)
            .web(true)?
            .typescript(true)
            .out_name("rewardscope")
            .generate(WASM_OUT)?;
        wasm::fuse(&made, &relaxed)
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

/// Checks the front end: types, format, lint and unit tests.
pub fn front_end_checks() -> anyhow::Result<()> {
    ["check", "lint", "test"].into_iter().try_for_each(|script| call("npm", ["run", "--silent", script]))
}
