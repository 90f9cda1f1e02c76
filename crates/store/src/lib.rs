//! Reads bytes by name and range. Everything that is read (weights, datasets, tokenizers) is a
//! [`Source`]; a checkpoint of several files is a [`Folder`] of sources.
//!
//! Files that lie elsewhere come through a [`Store`]. It lists a Hub repository, or a site's files in
//! parts, as a [`Repository`]. It fetches files by range with several requests in flight, keeps them
//! in the cache (the browser's private files; natively the cache that the Hub's tools share), and
//! checks them against their hashes. A fetched file is then a source like any other. A large file of
//! which little is read can be a source that fetches only the ranges that are asked for. A [`Log`]
//! keeps lines that must survive.
//!
//! Reading is asynchronous because a browser's is; native reads finish at once. Nothing here needs
//! a whole file in memory.
//!
//! ```
//! use rewardscope_store::Folder;
//!
//! let path = std::env::temp_dir().join(format!("rewardscope-example-{}", std::process::id()));
//! std::fs::create_dir_all(&path)?;
//! std::fs::write(path.join("config.json"), "{}")?;
//! let folder = Folder::open(&path)?;
//! let config = folder.get("config.json")?;
//! assert_eq!(pollster::block_on(config.read_all())?, b"{}");
//! let missing = folder.get("tokenizer.json").expect_err("not there").to_string();
//! assert!(missing.ends_with("tokenizer.json was expected, but the folder has config.json"));
//! # std::fs::remove_dir_all(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_family = "wasm")]
mod browser;
mod derived;
mod digest;
mod download;
mod http;
mod hub;
mod log;
#[cfg(not(target_family = "wasm"))]
mod native;
mod records;
mod remote;
mod remote_source;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_family = "wasm")]
use browser as platform;
#[cfg(not(target_family = "wasm"))]
use native as platform;

pub use derived::{Derived, Recipe};
pub use digest::{Digest, Hasher};
pub use download::{FetchProgress, FetchStage};
pub use http::Token;
pub use hub::{HUB, Hub, Store, is_address};
pub use log::Log;
#[cfg(not(target_family = "wasm"))]
pub use platform::PartsWriter;
pub use platform::{LogPlace, Shelf, now_ms, sleep};
#[cfg(target_family = "wasm")]
pub use platform::{StorageReport, StoredFile};
pub use records::Records;
pub use remote::{
    About, Manifest, ManifestFile, ManifestPart, PARTS_FILE, RemoteFile, Repository, RepositoryId, RepositoryKind,
};
pub use stream::ByteStream;

/// Why bytes could not be read, fetched or stored. Every message names the source.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The operating system, the browser or the server refused.
    #[error("reading {name}: {reason}")]
    Read {
        /// The source's name.
        name: String,
        /// What was found.
        reason: String,
    },
    /// A range past the end was asked for: the file is shorter than its own contents promise.
    #[error(
        "reading {name}: bytes {start} to {end} were expected, but the file ends at {bytes}; it is truncated or damaged"
    )]
    PastEnd {
        /// The source's name.
        name: String,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// The source's size.
        bytes: u64,
    },
    /// A folder lacks a file.
    #[error("opening {folder}: {file} was expected, but the folder has {found}")]
    Missing {
        /// The folder's name.
        folder: String,
        /// The file looked for.
        file: String,
        /// What is there instead.
        found: String,
    },
    /// A document or file has another form than it should have.
    #[error("reading {name}: {expected} was expected, {found} was found")]
    Format {
        /// The document's name.
        name: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file does not have the hash that it should have, even after it was fetched again.
    #[error(
        "fetching {name}: it should hash to {expected}, it has {found}; it is not used. Try again later, or tell whoever serves it"
    )]
    Mismatch {
        /// The file's name.
        name: String,
        /// The hash that it should have.
        expected: String,
        /// The hash that was found, or what came instead.
        found: String,
    },
    /// There is no room to store it.
    #[error("storing {name}: {found}; {advice}")]
    OutOfSpace {
        /// What was to be stored.
        name: String,
        /// How much room was needed and found.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The work was cancelled; what was fetched before stays in the cache.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The work was stopped because the caller asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// A flag that stops long work at its next step. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Refuses to go on once stopping was asked for.
    ///
    /// # Errors
    /// [`Cancelled`] once stopping was asked for.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// Bytes that are hashed as one piece. Files of a repository are fetched in pieces of this size, so
/// that the hashes found then serve [`Source::content_hash`] later.
const HASHED_BYTES: u64 = 8 << 20;

/// A named, immutable run of bytes that can be read by range. Clones share the bytes.
///
/// ```
/// use rewardscope_store::Source;
///
/// let parts = ["Hello, ", "world"].map(|text| Source::memory("part", text.as_bytes()));
/// let whole = Source::joined("greeting.txt", parts);
/// assert_eq!(whole.bytes(), 12);
/// assert_eq!(pollster::block_on(whole.read(5, 4))?, b", wo");
/// assert!(pollster::block_on(whole.read(5, 40)).is_err(), "past the end");
/// # Ok::<(), rewardscope_store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct Source {
    name: Arc<str>,
    bytes: u64,
    inner: Inner,
    /// The sha256 of each piece of [`HASHED_BYTES`], where they are known.
    hashes: Option<Arc<[[u8; 32]]>>,
    /// As [`Self::origin`].
    origin: Option<Arc<str>>,
}

#[derive(Clone)]
enum Inner {
    Memory(Arc<[u8]>),
    /// Several sources one after another, each with the byte at which it begins.
    Parts(Arc<[(u64, Source)]>),
    Platform(platform::Handle),
    /// A file that lies elsewhere, fetched by range.
    Remote(Arc<remote_source::Remote>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.bytes)
    }
}

impl Source {
    fn new(name: impl Into<Arc<str>>, bytes: u64, inner: Inner) -> Self {
        Self { name: name.into(), bytes, inner, hashes: None, origin: None }
    }

    /// The source with the size in bytes and sha256 of its pieces, as found when it was fetched or checked. Pieces of
    /// other sizes than [`HASHED_BYTES`] are not used.
    fn hashed(self, pieces: &[(u64, [u8; 32])]) -> Self {
        let mut left = self.bytes;
        let is_even = pieces.iter().all(|&(bytes, _)| {
            let expected = left.min(HASHED_BYTES);
            left -= expected;
            bytes == expected
        });
        let hashes = (is_even && left == 0).then(|| pieces.iter().map(|(_, hash)| *hash).collect());
        Self { hashes, ..self }
    }

    /// A source of bytes in memory.
    pub fn memory(name: impl Into<Arc<str>>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self::new(name, bytes.len() as u64, Inner::Memory(bytes))
    }

    /// Several sources, one after another, as one.
    pub fn joined(name: impl Into<Arc<str>>, parts: impl IntoIterator<Item = Self>) -> Self {
        let mut bytes = 0;
        let placed = parts.into_iter().map(|part| {
            let start = bytes;
            bytes += part.bytes;
            (start, part)
        });
        let parts: Arc<[_]> = placed.collect();
        Self::new(name, bytes, Inner::Parts(parts))
    }

    /// The same bytes under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The source with its [`Self::origin`].
    fn come_from(self, origin: Option<String>) -> Self {
        Self { origin: origin.map(Arc::from), ..self }
    }

    /// The name for messages: a file name, a path or an address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of a file of the Hub that holds on any machine, `owner/name@commit:file`; `None` for other sources.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the `len` bytes from byte `start` on.
    ///
    /// # Errors
    /// [`StoreError::PastEnd`] when the range leaves the source, before anything is allocated; another error when the
    /// bytes cannot be read.
    pub async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let end = start.checked_add(len as u64).filter(|&end| end <= self.bytes);
        let Some(end) = end else {
            return Err(StoreError::PastEnd {
                name: self.name.to_string(),
                start,
                end: start.saturating_add(len as u64),
                bytes: self.bytes,
            });
        };
        if len == 0 {
            return Ok(Vec::new());
        }
        match &self.inner {
            Inner::Memory(bytes) => Ok(bytes[start as usize..end as usize].to_vec()),
            Inner::Parts(parts) => {
                let mut found = Vec::with_capacity(len);
                for (first, part) in parts.iter() {
                    let (from, to) = (start.max(*first), end.min(first + part.bytes));
                    if from < to {
                        found.extend(Box::pin(part.read(from - first, (to - from) as usize)).await?);
                    }
                }
                Ok(found)
            }
            Inner::Platform(handle) => {
                let found = handle.read(start, len).await.map_err(|reason| self.failed(reason))?;
                if found.len() != len {
                    return Err(self.failed(format!("{len} bytes from {start} were expected, {} came", found.len())));
                }
                Ok(found)
            }
            Inner::Remote(remote) => remote.read(&self.name, start, len).await,
        }
    }

    /// Reads the whole source. Only for files that are small by nature, such as a tokenizer or a configuration.
    ///
    /// # Errors
    /// As [`Self::read`], and when the source has over 256 MiB.
    pub async fn read_all(&self) -> Result<Vec<u8>, StoreError> {
        const MOST: u64 = 256 << 20;
        if self.bytes > MOST {
            return Err(self.failed(format!("at most {MOST} bytes were expected, it has {}", self.bytes)));
        }
        self.read(0, self.bytes as usize).await
    }

    /// A hash of every byte: sha256 over the sha256 of each 8 MiB. The same bytes give the same hash,
    /// wherever they lie. It is not the file's own sha256.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn content_hash(&self) -> Result<[u8; 32], StoreError> {
        let mut hash = Hasher::sha256();
        let mut at = 0;
        while at < self.bytes {
            let len = HASHED_BYTES.min(self.bytes - at);
            let known = self.hashes.as_ref().and_then(|hashes| hashes.get((at / HASHED_BYTES) as usize).copied());
            hash.update(&match known {
                Some(known) => known,
                None => platform::sha256_of(self, at, len as usize).await?,
            });
            at += len;
        }
        match hash.finish() {
            Digest::Sha256(hash) => Ok(hash),
            Digest::GitBlob(_) => unreachable!("a sha256 hasher gives a sha256"),
        }
    }

    fn failed(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Read { name: self.name.to_string(), reason: reason.into() }
    }
}

/// Several sources by file name, such as the files of a checkpoint.
#[derive(Debug, Clone)]
pub struct Folder {
    name: String,
    files: BTreeMap<String, Source>,
}

impl Folder {
    /// A folder of the given sources; each is found by the last part of its name. Sources in
    /// folders below are left out: they belong to something else, such as an earlier checkpoint.
    pub fn new(name: impl Into<String>, sources: impl IntoIterator<Item = Source>) -> Self {
        let sources: Vec<Source> = sources.into_iter().collect();
        let depth = |source: &Source| source.name().split(['/', '\\']).count();
        let top = sources.iter().map(depth).min().unwrap_or_default();
        let files = sources
            .into_iter()
            .filter(|source| depth(source) == top)
            .map(|source| {
                let file = source.name().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
                (file, source)
            })
            .collect();
        Self { name: name.into(), files }
    }

    /// The folder with its files in parts joined, where it has a manifest ([`PARTS_FILE`]). Every part
    /// and every file is checked against its hash.
    ///
    /// # Errors
    /// When the manifest is not valid, or a part is missing or damaged.
    pub async fn assembled(self, cancel: &Cancel) -> Result<Self, StoreError> {
        let Some(source) = self.find(PARTS_FILE) else {
            return Ok(self);
        };
        let manifest = Manifest::parse(source.name(), &source.read_all().await?)?;
        let mut files = self.files.clone();
        files.remove(PARTS_FILE);
        for file in &manifest.files {
            let mut parts = Vec::with_capacity(file.parts.len());
            let mut whole = Hasher::sha256();
            for part in &file.parts {
                cancel.check()?;
                let source = self.get(&part.name)?.clone();
                let mut hash = Hasher::sha256();
                let mut at = 0;
                while at < source.bytes {
                    let bytes = source.read(at, (source.bytes - at).min(1 << 20) as usize).await?;
                    at += bytes.len() as u64;
                    hash.update(&bytes);
                    whole.update(&bytes);
                }
                let found = hash.finish().hex();
                if source.bytes != part.bytes || found != part.sha256 {
                    let name = source.name().to_owned();
                    return Err(StoreError::Mismatch { name, expected: part.sha256.clone(), found });
                }
                files.remove(&part.name);
                parts.push(source);
            }
            let found = whole.finish().hex();
            if found != file.sha256 {
                let name = format!("{}/{}", self.name, file.name);
                return Err(StoreError::Mismatch { name, expected: file.sha256.clone(), found });
            }
            files.insert(file.name.clone(), Source::joined(format!("{}/{}", self.name, file.name), parts));
        }
        Ok(Self { name: self.name, files })
    }

    /// The folder's name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source of this file name, if there is one.
    pub fn find(&self, file: &str) -> Option<&Source> {
        self.files.get(file)
    }

    /// The source of this file name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; it says what the folder has instead.
    pub fn get(&self, file: &str) -> Result<&Source, StoreError> {
        self.find(file).ok_or_else(|| StoreError::Missing {
            folder: self.name.clone(),
            file: file.to_owned(),
            found: match self.files.len() {
                0 => "no files".to_owned(),
                n if n > 8 => format!("{n} others"),
                _ => self.files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            },
        })
    }

    /// Every source, ordered by file name.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = &Source> {
        self.files.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn a_range_past_the_end_is_refused_before_allocating() {
        let source = Source::memory("four.bin", vec![1, 2, 3, 4]);
        assert_eq!(block_on(source.read(1, 2)).expect("inside"), vec![2, 3]);
        let message = block_on(source.read(2, usize::MAX)).expect_err("outside").to_string();
        assert!(message.contains("four.bin") && message.contains("ends at 4"), "{message}");
    }

    #[test]
    fn joined_sources_read_as_one() {
        let part = |bytes: &[u8]| Source::memory("part", bytes.to_vec());
        let whole = Source::joined("whole", [part(b"abc"), part(b"d"), part(b"efgh")]);
        assert_eq!(whole.bytes(), 8);
        assert_eq!(block_on(whole.read(1, 5)).expect("inside"), b"bcdef");
        assert_eq!(block_on(whole.read(4, 4)).expect("inside"), b"efgh");
        assert!(block_on(whole.read(4, 5)).is_err());
    }

    #[test]
    fn parts_are_put_together_and_checked() {
        let hash = |bytes: &[u8]| {
            let mut hash = Hasher::sha256();
            hash.update(bytes);
            hash.finish().hex()
        };
        let part = |name: &str, bytes: &[u8]| ManifestPart {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: hash(bytes),
        };
        let file = ManifestFile {
            name: "a.gguf".to_owned(),
            bytes: 5,
            sha256: hash(b"hello"),
            parts: vec![part("a.gguf.0", b"hel"), part("a.gguf.1", b"lo")],
            about: About::default(),
        };
        let manifest = Manifest { format: Manifest::FORMAT.to_owned(), files: vec![file] };
        let manifest = serde_json::to_vec(&manifest).expect("JSON");
        let folder = |second: &[u8]| {
            let sources =
                [(PARTS_FILE, manifest.as_slice()), ("a.gguf.0", b"hel"), ("a.gguf.1", second), ("note", b"")];
            Folder::new("model", sources.map(|(name, bytes)| Source::memory(name, bytes.to_vec())))
        };
        let whole = block_on(folder(b"lo").assembled(&Cancel::default())).expect("whole");
        let names: Vec<&str> = whole.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a.gguf", "note"]);
        assert_eq!(block_on(whole.get("a.gguf").expect("there").read_all()).expect("read"), b"hello");
        let message = block_on(folder(b"lO").assembled(&Cancel::default())).expect_err("damaged").to_string();
        assert!(message.contains("a.gguf.1") && message.contains("hash"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named_with_what_is_there() {
        let folder = Folder::new("model", [Source::memory("model/config.json", vec![])]);
        assert!(folder.find("config.json").is_some());
        let message = folder.get("tokenizer.json").expect_err("missing").to_string();
        assert!(message.contains("tokenizer.json") && message.contains("config.json"), "{message}");
    }

    #[test]
    fn folders_below_are_left_out() {
        let source = |name: &str, byte: u8| Source::memory(name, vec![byte]);
        let folder =
            Folder::new("run", [source("run/model.safetensors", 1), source("run/checkpoint-5/model.safetensors", 2)]);
        let found = block_on(folder.get("model.safetensors").expect("there").read_all()).expect("read");
        assert_eq!(found, [1]);
    }

    #[test]
    fn files_are_read_by_range() {
        let path = std::env::temp_dir().join(format!("rewardscope-store-{}.bin", std::process::id()));
        std::fs::write(&path, b"0123456789").expect("temporary file");
        let source = Source::file(&path).expect("open");
        assert_eq!(block_on(source.read(3, 4)).expect("read"), b"3456");
        assert_eq!(source.bytes(), 10);
        std::fs::remove_file(&path).expect("remove");
        let message = Source::file(&path).expect_err("gone").to_string();
        assert!(message.contains("rewardscope-store-"), "{message}");
    }
}
