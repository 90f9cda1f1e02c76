use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::StorageEstimate;

use super::private_files::{Reading, below, blob, entries, folder, remove, storage, text};
use super::{RawFile, said};
use crate::download::{Cached, Note, NoteLine};
use crate::remote::{RemoteFile, Repository, RepositoryId, RepositoryKind};
use crate::{Source, StoreError};

/// The folder of cached files. Each is a folder named by its hash, with the bytes and a note of how far they are.
const FILES: &str = "files";
/// The folder of listings and manifests, by the hash of their address.
const DOCUMENTS: &str = "documents";
/// The folder of logs, by name.
pub(super) const LOGS: &str = "logs";

const DATA: &str = "data";
const NOTE: &str = "note";

/// A cache in the origin's private files. Where the browser gives none, or the visitor wants none,
/// fetched files stay in the browser's memory until the worker ends.
#[derive(Debug, Clone)]
pub struct Shelf {
    is_persistent: bool,
}

/// What this site has in the browser's storage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StorageReport {
    /// Whether the browser gives private files.
    pub is_available: bool,
    /// Whether the browser promised not to remove them on its own.
    pub is_persisted: bool,
    /// Bytes that this site uses.
    pub usage_bytes: u64,
    /// Bytes that this site may use.
    pub quota_bytes: u64,
    /// The cached files, largest first.
    pub files: Vec<StoredFile>,
    /// Each log's name and size in bytes.
    pub logs: Vec<(String, u64)>,
}

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The key that [`Shelf::remove_file`] takes.
    pub key: String,
    /// The name of the file's repository.
    pub of: String,
    /// The file's name in the repository.
    pub name: String,
    /// Size of the whole file in bytes.
    pub bytes: u64,
    /// How many of its bytes are stored.
    pub stored_bytes: u64,
    /// Whether the file is stored whole.
    pub is_complete: bool,
}

fn failed(name: &str, error: JsValue) -> StoreError {
    StoreError::Read { name: name.to_owned(), reason: said(error) }
}

impl Shelf {
    /// The cache. Without `keep` no fetched file is written to it.
    pub fn new(is_persistent: bool) -> Self {
        Self { is_persistent }
    }

    async fn file_folder(&self, file: &RemoteFile) -> Option<web_sys::FileSystemDirectoryHandle> {
        below(&folder(FILES).await?, &file.digest.hex(), false).await.ok()?
    }

    /// Whether files made from fetched ones are kept: yes, where fetched ones are.
    pub(crate) async fn keeps_derived(&self) -> bool {
        self.is_persistent && folder(FILES).await.is_some()
    }

    /// Whether a partial file is another file than the whole one. Not here: it becomes the whole file in place.
    pub(crate) fn keeps_partials_apart(&self) -> bool {
        false
    }

    /// Never: a browser reports on each request whether it is offline.
    pub(crate) fn is_offline(&self) -> bool {
        false
    }

    /// A stored document by its key.
    pub(crate) async fn document(&self, key: &str) -> Option<Vec<u8>> {
        text(&folder(DOCUMENTS).await?, key).await.map(String::into_bytes)
    }

    /// Keeps a document. One that cannot be kept is fetched again next time.
    pub(crate) async fn cache_document(&self, key: &str, bytes: &[u8]) {
        if !self.is_persistent {
            return;
        }
        if let Ok(Some(file)) = RawFile::open(DOCUMENTS, key).await {
            let _ = file.truncate(0).and_then(|()| file.write(0, bytes));
        }
    }

    /// Always `None`: here listings are kept as documents.
    pub(crate) async fn offline(&self, _kind: RepositoryKind, _id: &RepositoryId) -> Option<Repository> {
        None
    }

    /// Refuses files that cannot fit before anything of them is fetched.
    pub(crate) async fn refuse_larger(&self, repository: &Repository, files: &[&RemoteFile]) -> Result<(), StoreError> {
        if !self.is_persistent || folder(FILES).await.is_none() {
            /// Bytes that a tab can hold beside wasm's own memory.
            const MOST_IN_MEMORY: u64 = 4_000_000_000;
            let bytes: u64 = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
            if bytes > MOST_IN_MEMORY {
                return Err(StoreError::OutOfSpace {
                    name: repository.name.clone(),
                    found: format!(
                        "it has {}, and without storing it the browser must hold it in memory",
                        megabytes(bytes)
                    ),
                    advice: "let it be stored on this device".to_owned(),
                });
            }
            return Ok(());
        }
        let Some((usage, quota)) = estimate().await else {
            return Ok(());
        };
        let stored = self.files().await.unwrap_or_default();
        let there = |file: &&RemoteFile| {
            let key = file.digest.hex();
            stored.iter().find(|stored| stored.key == key).map_or(0, |stored| stored.stored_bytes)
        };
        let missing = |file: &&RemoteFile| file.bytes - there(file).min(file.bytes);
        let needed: u64 = files.iter().map(missing).fold(0, u64::saturating_add);
        if needed == 0 || usage.saturating_add(needed) <= quota {
            return Ok(());
        }
        let left = megabytes(quota.saturating_sub(usage));
        Err(StoreError::OutOfSpace {
            name: repository.name.clone(),
            found: format!("it needs {} more, the browser gives this site {left}", megabytes(needed)),
            advice: self.advice(files).await,
        })
    }

    /// What to do when there is no room for what is wanted.
    pub(crate) async fn advice(&self, wanted: &[&RemoteFile]) -> String {
        let names: Vec<String> = self
            .files()
            .await
            .unwrap_or_default()
            .iter()
            .filter(|stored| wanted.iter().all(|file| file.digest.hex() != stored.key))
            .take(3)
            .map(|file| format!("{}/{} ({})", file.of, file.name, megabytes(file.stored_bytes)))
            .collect();
        match names.len() {
            0 => "free space on this disk, or load it without storing it".to_owned(),
            _ => format!("remove {} under Stored on this device, or load it without storing it", names.join(" or ")),
        }
    }

    /// The file as the cache has it, before any check; `None` where the cache does not have it whole.
    pub(crate) async fn cached(
        &self,
        _repository: &Repository,
        file: &RemoteFile,
    ) -> Result<Option<Cached>, StoreError> {
        let Some(folder) = self.file_folder(file).await else {
            return Ok(None);
        };
        let note = Note::parse(text(&folder, NOTE).await.unwrap_or_default().as_bytes());
        let (Some(NoteLine::File { pieces, .. }), Some(hashes)) = (note.head, note.done) else {
            return Ok(None);
        };
        let Some(blob) = blob(&folder, DATA).await.map_err(|e| failed(&file.name, e))? else {
            return Ok(None);
        };
        // A note whose numbers disagree is damaged. Without pieces the whole file is checked.
        let pieces = if pieces.len() == hashes.len() { pieces.into_iter().zip(hashes).collect() } else { Vec::new() };
        let source = Source::private(&file.name, blob, Reading::open(&folder, DATA).await);
        Ok(Some(Cached { source, pieces }))
    }

    /// Opens the file's partial data and the note beside it; `None` when another tab has them open.
    pub(crate) async fn open_partial(
        &self,
        _repository: &Repository,
        file: &RemoteFile,
    ) -> Result<Option<(RawFile, RawFile)>, StoreError> {
        if !self.is_persistent {
            return Ok(Some((RawFile::memory(&file.name), RawFile::memory(&file.name))));
        }
        let place = format!("{FILES}/{}", file.digest.hex());
        let Some(data) = RawFile::open(&place, DATA).await? else {
            return Ok(None);
        };
        Ok(RawFile::open(&place, NOTE).await?.map(|note| (data, note)))
    }

    /// Makes a finished partial the whole file.
    pub(crate) async fn finish(
        &self,
        _repository: &Repository,
        file: &RemoteFile,
        data: RawFile,
        note: RawFile,
    ) -> Result<Source, StoreError> {
        data.flush()?;
        note.flush()?;
        drop(note);
        if let Some(blob) = data.into_blob()? {
            return Ok(Source::blob(&file.name, blob));
        }
        let gone = || StoreError::Read {
            name: file.name.clone(),
            reason: "the browser removed it right after it was stored; free some space and load it again".to_owned(),
        };
        let folder = self.file_folder(file).await.ok_or_else(gone)?;
        let blob = blob(&folder, DATA).await.map_err(|e| failed(&file.name, e))?.ok_or_else(gone)?;
        Ok(Source::private(&file.name, blob, Reading::open(&folder, DATA).await))
    }

    /// Does nothing: a damaged file is overwritten in place.
    pub(crate) async fn forget(&self, _repository: &Repository, _file: &RemoteFile) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes a useless partial.
    pub(crate) async fn release(&self, file: &RemoteFile, data: RawFile, note: RawFile) -> Result<(), StoreError> {
        drop((data, note));
        if self.is_persistent { self.remove_file(&file.digest.hex()).await } else { Ok(()) }
    }

    async fn files(&self) -> Result<Vec<StoredFile>, JsValue> {
        let Some(root) = folder(FILES).await else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        for (key, _) in entries(&root).await? {
            let Some(folder) = below(&root, &key, false).await? else {
                continue;
            };
            let note = Note::parse(text(&folder, NOTE).await.unwrap_or_default().as_bytes());
            let data = blob(&folder, DATA).await?.map_or(0, |blob| blob.size() as u64);
            let (of, name, bytes) = match note.head {
                Some(NoteLine::File { of, name, bytes, .. }) => (of, name, bytes),
                _ => (String::new(), key.clone(), data),
            };
            let stored_bytes = note.got.iter().sum::<u64>().min(data);
            files.push(StoredFile { key, of, name, bytes, stored_bytes, is_complete: note.done.is_some() });
        }
        files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        Ok(files)
    }

    /// Reports what is stored and how much room there is.
    ///
    /// # Errors
    /// When the browser refuses to list what is stored.
    pub async fn report(&self) -> Result<StorageReport, StoreError> {
        let failed = |error| failed("the browser's storage", error);
        let Some(logs) = folder(LOGS).await else {
            return Ok(StorageReport::default());
        };
        let (usage_bytes, quota_bytes) = estimate().await.unwrap_or_default();
        let mut sizes = Vec::new();
        for (name, _) in entries(&logs).await.map_err(failed)? {
            let bytes = blob(&logs, &name).await.map_err(failed)?.map_or(0, |blob| blob.size() as u64);
            sizes.push((name, bytes));
        }
        let persisted = storage().and_then(|storage| storage.persisted().ok());
        let is_persisted = match persisted {
            Some(promise) => JsFuture::from(promise).await.is_ok_and(|answer| answer.is_truthy()),
            None => false,
        };
        let files = self.files().await.map_err(failed)?;
        Ok(StorageReport { is_available: true, is_persisted, usage_bytes, quota_bytes, files, logs: sizes })
    }

    /// Removes a cached file by its key.
    ///
    /// # Errors
    /// When it cannot be removed, such as while it is in use.
    pub async fn remove_file(&self, key: &str) -> Result<(), StoreError> {
        self.remove(FILES, key).await
    }

    /// Removes a log by its name.
    ///
    /// # Errors
    /// When it cannot be removed, such as while it is in use.
    pub async fn remove_log(&self, name: &str) -> Result<(), StoreError> {
        self.remove(LOGS, name).await
    }

    async fn remove(&self, place: &str, name: &str) -> Result<(), StoreError> {
        let Some(folder) = folder(place).await else {
            return Ok(());
        };
        remove(&folder, name).await.map_err(|e| StoreError::Read {
            name: name.to_owned(),
            reason: format!("it could not be removed ({}); it may be in use in another tab", said(e)),
        })
    }

    /// A log's text as it is now; the log is not opened for writing. `None` where there is no such log.
    pub async fn log_text(&self, name: &str) -> Option<String> {
        log_text(name).await
    }
}

/// The text of a log; `None` where there is none.
pub(super) async fn log_text(name: &str) -> Option<String> {
    text(&folder(LOGS).await?, name).await
}

/// The bytes that this site uses, and those that it may use.
async fn estimate() -> Option<(u64, u64)> {
    let estimate = JsFuture::from(storage()?.estimate().ok()?).await.ok()?;
    let estimate = StorageEstimate::from(estimate);
    Some((estimate.get_usage()? as u64, estimate.get_quota()? as u64))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
