use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::failed;
use crate::StoreError;

/// A file that can be written at any place, and is open in one process at a time.
pub(crate) struct RawFile {
    path: PathBuf,
    name: String,
    file: File,
}

impl RawFile {
    /// Opens or creates the file; `None` when another process has it open.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| failed(path, e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems have no locks: there the user must run one process only.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Between opening and locking, another process may have renamed or removed the file.
        Ok(is_at(&file, path).then(|| Self::new(path, file)))
    }

    fn new(path: &Path, file: File) -> Self {
        Self { path: path.to_owned(), name: path.display().to_string(), file }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is written outlives the process.
    pub(crate) fn is_kept(&self) -> bool {
        true
    }

    /// None: a command that has no room says so and ends.
    pub(crate) fn in_memory(&self, _bytes: u64) -> Result<Option<Self>, StoreError> {
        Ok(None)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(|e| self.failed(e))?.len())
    }

    pub(crate) fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| self.failed(e))?;
        Ok(bytes)
    }

    /// The sha256 of `len` bytes from byte `start` on.
    pub(crate) fn sha256(
        &self,
        start: u64,
        len: usize,
    ) -> Result<impl Future<Output = Result<[u8; 32], StoreError>> + use<>, StoreError> {
        let hash = crate::digest::sha256(&self.read(start, len)?);
        Ok(std::future::ready(Ok(hash)))
    }

    pub(crate) fn write(&self, start: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = &self.file;
        let written = file.seek(SeekFrom::Start(start)).and_then(|_| file.write_all(bytes));
        written.map_err(|e| match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::OutOfSpace {
                name: self.name.clone(),
                found: "the disk is full".to_owned(),
                advice: "free some space there".to_owned(),
            },
            _ => self.failed(e),
        })
    }

    pub(crate) fn truncate(&self, bytes: u64) -> Result<(), StoreError> {
        self.file.set_len(bytes).map_err(|e| self.failed(e))
    }

    /// Waits until the written bytes are on disk.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|e| self.failed(e))
    }

    pub(crate) fn failed(&self, reason: impl ToString) -> StoreError {
        failed(&self.path, reason)
    }
}

/// Whether the open file is still the one that the path names.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    let open = identity(file.metadata());
    open.is_some() && open == identity(std::fs::metadata(path))
}

/// Always true: Windows neither renames nor removes an open file.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}
