use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::Hasher;
use crate::remote::{About, Manifest, ManifestFile, ManifestPart, PARTS_FILE};

/// Bytes of a part: some hosts refuse files over 25 MB.
const PART_BYTES: u64 = 20 << 20;

/// Writes files in parts into a folder as their bytes come, and at the end the [`Manifest`] with their
/// hashes. Any static host can serve such a folder.
pub struct PartsWriter {
    folder: PathBuf,
    done: Vec<ManifestFile>,
    file: Option<Open>,
}

struct Open {
    name: String,
    about: About,
    whole: Hasher,
    bytes: u64,
    parts: Vec<ManifestPart>,
    part: Option<(File, Hasher, ManifestPart)>,
}

impl Open {
    fn close_part(&mut self) {
        if let Some((_, hash, part)) = self.part.take() {
            self.parts.push(ManifestPart { sha256: hash.finish().hex(), ..part });
        }
    }
}

impl PartsWriter {
    /// A writer into this folder, which is made where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), done: Vec::new(), file: None })
    }

    /// Ends the file before, and begins the next one.
    pub fn begin(&mut self, name: &str, about: About) {
        self.close_file();
        let (whole, parts) = (Hasher::sha256(), Vec::new());
        self.file = Some(Open { name: name.to_owned(), about, whole, bytes: 0, parts, part: None });
    }

    /// Writes the next bytes of the file that was begun.
    ///
    /// # Errors
    /// When they cannot be written, or no file was begun.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("no file was begun"))?;
        while !bytes.is_empty() {
            if file.part.as_ref().is_some_and(|(_, _, part)| part.bytes == PART_BYTES) {
                file.close_part();
            }
            if file.part.is_none() {
                let name = format!("{}.{:03}", file.name, file.parts.len());
                let part = ManifestPart { name: name.clone(), bytes: 0, sha256: String::new() };
                file.part = Some((File::create(self.folder.join(name))?, Hasher::sha256(), part));
            }
            let Some((to, hash, part)) = &mut file.part else {
                continue;
            };
            let fitting = usize::try_from(PART_BYTES - part.bytes).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(fitting);
            to.write_all(now)?;
            hash.update(now);
            file.whole.update(now);
            part.bytes += now.len() as u64;
            file.bytes += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn close_file(&mut self) {
        if let Some(mut file) = self.file.take() {
            file.close_part();
            let Open { name, about, whole, bytes, parts, .. } = file;
            self.done.push(ManifestFile { name, bytes, sha256: whole.finish().hex(), parts, about });
        }
    }

    /// Ends the last file and writes the manifest.
    ///
    /// # Errors
    /// When a file was empty, or the manifest cannot be written.
    pub fn finish(mut self) -> io::Result<Manifest> {
        self.close_file();
        if let Some(empty) = self.done.iter().find(|file| file.parts.is_empty()) {
            return Err(io::Error::other(format!("{}: bytes were expected, it is empty", empty.name)));
        }
        let manifest = Manifest { format: Manifest::FORMAT.to_owned(), files: self.done };
        let json = serde_json::to_string_pretty(&manifest)?;
        std::fs::write(self.folder.join(PARTS_FILE), json)?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancel, Folder};
    use pollster::block_on;

    #[test]
    fn files_come_back_from_their_parts() {
        let folder = std::env::temp_dir().join(format!("rewardscope-parts-{}", std::process::id()));
        let mut writer = PartsWriter::new(&folder).expect("a folder");
        let large: Vec<u8> = (0..PART_BYTES as usize + 5).map(|i| (i * 31 + i / 7) as u8).collect();
        writer.begin("large.bin", About::default());
        for piece in large.chunks(3 << 20) {
            writer.write(piece).expect("written");
        }
        writer.begin("small.json", About { licence: "MIT".to_owned(), ..About::default() });
        writer.write(b"{}").expect("written");
        let manifest = writer.finish().expect("a manifest");
        assert_eq!(manifest.files.iter().map(|file| file.parts.len()).collect::<Vec<_>>(), [2, 1]);
        let opened = Folder::open(&folder).expect("opened");
        let opened = block_on(opened.assembled(&Cancel::default())).expect("sound");
        let read = |name: &str| block_on(async { opened.get(name)?.read_all().await }).expect("read");
        assert_eq!((read("large.bin"), read("small.json")), (large, b"{}".to_vec()));
        let mut writer = PartsWriter::new(&folder).expect("a folder");
        writer.begin("empty", About::default());
        assert!(writer.finish().expect_err("refused").to_string().contains("empty"));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
