//! Files in parts behind a manifest: each part is small enough for any static host.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rewardscope_store::{About, Hasher, Manifest, ManifestFile, ManifestPart, PARTS_FILE};

use crate::stage::{fingerprint, unless_current};

/// Some hosts refuse files over 25 MB.
const PART_BYTES: usize = 20 << 20;

/// Writes files as parts with their manifest into a folder, unless they are there already.
pub fn pack(folder: &Path, files: &[(PathBuf, About)]) -> anyhow::Result<()> {
    let mut key = fingerprint(files.iter().map(|(path, _)| path.as_path()))?;
    key += &serde_json::to_string(&files.iter().map(|(_, about)| about).collect::<Vec<_>>())?;
    unless_current(&folder.with_extension("packed"), &key, &folder.join(PARTS_FILE), || {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let files = files.iter().map(|(path, about)| split(folder, path, about)).collect::<anyhow::Result<_>>()?;
        let manifest = Manifest { format: Manifest::FORMAT.to_owned(), files };
        Ok(std::fs::write(folder.join(PARTS_FILE), serde_json::to_string_pretty(&manifest)?)?)
    })
}

fn split(folder: &Path, path: &Path, about: &About) -> anyhow::Result<ManifestFile> {
    let name = path.file_name().and_then(|name| name.to_str()).with_context(|| format!("naming {}", path.display()))?;
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut whole = Hasher::sha256();
    let (mut bytes, mut parts) = (0, Vec::new());
    loop {
        let mut part = Vec::new();
        (&mut file).take(PART_BYTES as u64).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        whole.update(&part);
        bytes += part.len() as u64;
        let mut hash = Hasher::sha256();
        hash.update(&part);
        let part_name = format!("{name}.{:03}", parts.len());
        std::fs::write(folder.join(&part_name), &part)?;
        parts.push(ManifestPart { name: part_name, bytes: part.len() as u64, sha256: hash.finish().hex() });
    }
    if parts.is_empty() {
        bail!("packing {}: bytes were expected, it is empty", path.display());
    }
    Ok(ManifestFile { name: name.to_owned(), bytes, sha256: whole.finish().hex(), parts, about: about.clone() })
}
