//! Collects the licences of the code that a built site redistributes: crates compiled into the wasm, and npm packages
//! bundled into the scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// npm packages whose code is in the site's scripts.
const SCRIPTS: [&str; 46] = [
    "svelte",
    "workbox-core",
    "workbox-precaching",
    "workbox-routing",
    "workbox-strategies",
    "vite",
    "esm-env",
    "clsx",
    "@observablehq/plot",
    "binary-search-bounds",
    "d3",
    "d3-array",
    "d3-axis",
    "d3-brush",
    "d3-chord",
    "d3-color",
    "d3-contour",
    "d3-delaunay",
    "d3-dispatch",
    "d3-drag",
    "d3-dsv",
    "d3-ease",
    "d3-fetch",
    "d3-force",
    "d3-format",
    "d3-geo",
    "d3-hierarchy",
    "d3-interpolate",
    "d3-path",
    "d3-polygon",
    "d3-quadtree",
    "d3-random",
    "d3-scale",
    "d3-scale-chromatic",
    "d3-selection",
    "d3-shape",
    "d3-time",
    "d3-time-format",
    "d3-timer",
    "d3-transition",
    "d3-zoom",
    "delaunator",
    "internmap",
    "interval-tree-1d",
    "isoformat",
    "robust-predicates",
];

/// One text with the name and licence of every crate and package, and the licence files that it ships. `target` is the
/// target triple of the wasm.
pub fn text(target: &str) -> anyhow::Result<String> {
    let mut text = String::from(
        "Rewardscope is Apache-2.0 OR MIT. The site contains code of the projects below, under their licences.\n",
    );
    // A licence text that several packages share word for word is printed once.
    let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (title, folder) in crates(target)?.into_iter().chain(packages()?) {
        let files = licence_files(&folder)?;
        if files.is_empty() {
            bodies
                .entry("(no licence file is shipped with it; the licence named above applies, whose usual texts are in LICENSE-MIT and LICENSE-APACHE)".to_owned())
                .or_default()
                .push(title);
            continue;
        }
        for body in files {
            bodies.entry(body).or_default().push(title.clone());
        }
    }
    for (body, titles) in bodies {
        let rule = "-".repeat(100);
        write!(text, "\n{rule}\n{}\n{rule}\n{}\n", titles.join("\n"), body.trim_end())?;
    }
    Ok(text)
}

/// A title with name, version and licence, and the folder that may have licence files.
type Component = (String, std::path::PathBuf);

/// The crates that are compiled into the site's wasm. `cargo tree` tells which optional crates are in it, and `cargo
/// metadata` tells where their sources are.
fn crates(target: &str) -> anyhow::Result<Vec<Component>> {
    let edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let tree =
        asked(["tree", "--locked", "--package", "rewardscope-web", "--target", target].into_iter().chain(edges))?;
    // A line is "name v1.2.3 (*)".
    let compiled: BTreeSet<(String, String)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
        })
        .collect();
    let metadata: Value = serde_json::from_str(&asked(["metadata", "--format-version", "1", "--locked"])?)?;
    let packages = metadata["packages"].as_array().context("reading cargo's metadata: it has no packages")?;
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let field = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        if !compiled.contains(&(field("name"), field("version"))) {
            continue;
        }
        let manifest = field("manifest_path");
        let folder = Path::new(&manifest).parent().context("finding a crate's folder")?.to_owned();
        let licence = if field("license").is_empty() { "see its licence file".to_owned() } else { field("license") };
        let authors: Vec<&str> =
            package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let authors = if authors.is_empty() { String::new() } else { format!(", by {}", authors.join(", ")) };
        found.push((format!("{} {} (crate), {licence}{authors}", field("name"), field("version")), folder));
    }
    if found.len() < 100 {
        bail!("listing licences: some hundred crates were expected, cargo named {}", found.len());
    }
    Ok(found)
}

/// The standard output of `cargo` with these arguments.
fn asked<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let output = Command::new("cargo").args(arguments).output().context("asking cargo for the crates")?;
    if !output.status.success() {
        bail!("asking cargo for the crates: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn packages() -> anyhow::Result<Vec<Component>> {
    let mut found = Vec::new();
    for name in SCRIPTS {
        let folder = Path::new("node_modules").join(name);
        let Ok(text) = std::fs::read_to_string(folder.join("package.json")) else {
            bail!(
                "listing licences: node_modules/{name} was expected; run npm ci, or mend the list of bundled packages"
            );
        };
        let package: Value = serde_json::from_str(&text)?;
        let field = |key: &str| package[key].as_str().unwrap_or("unknown").to_owned();
        found.push((format!("{name} {} (npm), {}", field("version"), field("license")), folder));
    }
    Ok(found)
}

fn licence_files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let named = ["license", "licence", "copying", "notice", "unlicense"].iter().any(|kind| name.starts_with(kind));
        if named && entry.path().is_file() {
            files.push((name, String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned()));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, text)| text.replace("\r\n", "\n")).collect())
}
