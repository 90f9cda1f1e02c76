//! What the operating system gives: files and folders, connections, and the cache that the Hub's tools share.

mod parts;
mod raw_file;
mod shelf;
mod transport;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Folder, Inner, Source, StoreError};

pub use parts::PartsWriter;
pub(crate) use raw_file::RawFile;
pub use shelf::Shelf;
pub(crate) use transport::{Response, send};
pub use transport::{now_ms, sleep};

/// An open file that is read by range.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Mutex<File>>);

impl Handle {
    pub(crate) async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

fn failed(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Read { name: path.display().to_string(), reason: reason.to_string() }
}

impl Source {
    /// A file on disk.
    ///
    /// # Errors
    /// When it cannot be opened or is not a regular file.
    pub fn file(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|e| failed(path, e))?;
        let metadata = file.metadata().map_err(|e| failed(path, e))?;
        if !metadata.is_file() {
            return Err(failed(path, "a file was expected, a folder was found"));
        }
        let handle = Handle(Arc::new(Mutex::new(file)));
        Ok(Self::new(path.display().to_string(), metadata.len(), Inner::Platform(handle)))
    }
}

impl Source {
    /// A file on disk. A pipe, or standard input for `-`, is read to its end and copied to a file without a name.
    ///
    /// # Errors
    /// As [`Self::file`], and when a pipe cannot be read or copied.
    pub fn file_or_pipe(path: &Path) -> Result<Self, StoreError> {
        if path == Path::new("-") {
            return spooled("standard input", &mut std::io::stdin().lock());
        }
        match std::fs::metadata(path) {
            Ok(found) if !found.is_file() && !found.is_dir() => {
                let mut pipe = File::open(path).map_err(|e| failed(path, e))?;
                spooled(&path.display().to_string(), &mut pipe)
            }
            _ => Self::file(path),
        }
    }
}

impl Folder {
    /// The regular files directly in a folder on disk.
    ///
    /// # Errors
    /// When the folder or one of its files cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| failed(path, e))? {
            let entry = entry.map_err(|e| failed(path, e))?;
            if entry.path().is_file() {
                sources.push(Source::file(&entry.path())?);
            }
        }
        Ok(Self::new(path.display().to_string(), sources))
    }
}

/// The sha256 of `len` bytes of a source from byte `start` on.
pub(crate) async fn sha256_of(source: &Source, start: u64, len: usize) -> Result<[u8; 32], StoreError> {
    Ok(crate::digest::sha256(&source.read(start, len).await?))
}

/// The path of a [`Log`](crate::Log) or [`Records`](crate::Records).
pub type LogPlace = PathBuf;

/// Opens the file of a log or of records; `None` when another process has it open.
pub(crate) async fn open_log(place: &LogPlace) -> Result<Option<RawFile>, StoreError> {
    RawFile::open(place)
}

/// Reads a pipe to its end into a file without a name, and gives that file as a source.
pub(crate) fn spooled(name: &str, from: &mut dyn Read) -> Result<Source, StoreError> {
    let failed = |e: std::io::Error| StoreError::Read { name: name.to_owned(), reason: e.to_string() };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let bytes = std::io::copy(from, &mut file).map_err(failed)?;
    Ok(Source::new(name, bytes, Inner::Platform(Handle(Arc::new(Mutex::new(file))))))
}
