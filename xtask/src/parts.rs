//! Writes files as parts with a manifest. Each part is small enough for any static host.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rewardscope_store::{About, PARTS_FILE, PartsWriter};

use crate::stage::{fingerprint, unless_current};

/// Writes files as parts with their manifest into a folder, unless they are there already.
pub fn write_parts(folder: &Path, files: &[(PathBuf, About)]) -> anyhow::Result<()> {
    let mut key = fingerprint(files.iter().map(|(path, _)| path.as_path()))?;
    key += &serde_json::to_string(&files.iter().map(|(_, about)| about).collect::<Vec<_>>())?;
    unless_current(&folder.with_extension("parts"), &key, &folder.join(PARTS_FILE), || {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        let mut parts = PartsWriter::new(folder)?;
        for (path, about) in files {
            let name = path.file_name().and_then(|name| name.to_str());
            parts.begin(name.with_context(|| format!("naming {}", path.display()))?, about.clone());
            let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            let mut piece = vec![0; 1 << 20];
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    read => parts.write(&piece[..read])?,
                }
            }
        }
        parts.finish().map(drop).with_context(|| format!("writing parts into {}", folder.display()))
    })
}
