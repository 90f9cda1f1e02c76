//! The licences of what a built site redistributes: crates compiled into the wasm, packages bundled
//! into the scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// Packages of npm whose code ends up in the site's scripts.
const SCRIPTS: [&str; 8] = [
    "svelte",
    "workbox-core",
    "workbox-precaching",
    "workbox-routing",
    "workbox-strategies",
    "vite",
    "esm-env",
    "clsx",
];

/// One text with every crate's and package's name, licence and the licence files that it ships.
pub fn text(target: &str) -> anyhow::Result<String> {
    let mut text = String::from(
        "Rewardscope is Apache-2.0 OR MIT. The site contains code of the projects below, under their licences.\n",
    );
    // A licence that many ship word for word is printed once.
    let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (title, folder) in crates(target)?.into_iter().chain(packages()?) {
        let files = licence_files(&folder)?;
        if files.is_empty() {
            bodies
                .entry("(no licence file is shipped with it; the licence named above applies)".to_owned())
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

type Component = (String, std::path::PathBuf);

fn crates(target: &str) -> anyhow::Result<Vec<Component>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .output()
        .context("asking cargo for the crates")?;
    if !output.status.success() {
        bail!("asking cargo for the crates: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"], "nodes")
        .into_iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), node)))
        .collect();
    let packages = list(&metadata, "packages");
    let id_of = |package: &Value| package["id"].as_str().unwrap_or_default().to_owned();
    let root =
        packages.iter().find(|package| package["name"] == "rewardscope-web").context("finding rewardscope-web")?;
    let (mut seen, mut left) = (BTreeSet::new(), vec![id_of(root)]);
    while let Some(id) = left.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for dependency in nodes.get(&id).map(|node| list(node, "deps")).unwrap_or_default() {
            // What only builds or tests is not in the site.
            let linked = list(&dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
            if let Some(id) = dependency["pkg"].as_str().filter(|_| linked) {
                left.push(id.to_owned());
            }
        }
    }
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| seen.contains(&id_of(package)) && !package["source"].is_null()) {
        let field = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let manifest = field("manifest_path");
        let folder = Path::new(&manifest).parent().context("finding a crate's folder")?.to_owned();
        let licence = if field("license").is_empty() { "see its licence file".to_owned() } else { field("license") };
        found.push((format!("{} {} (crate), {licence}", field("name"), field("version")), folder));
    }
    Ok(found)
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
