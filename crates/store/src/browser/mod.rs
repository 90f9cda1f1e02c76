//! The browser, seen from a worker: picked files, connections, the origin's private files.

mod private_files;
mod raw_file;
mod shelf;
mod transport;

use std::rc::Rc;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File, WorkerGlobalScope};

use crate::{Inner, Source, StoreError};

use private_files::Reading;
pub(crate) use raw_file::RawFile;
pub use shelf::{Shelf, StorageReport, StoredFile};
pub(crate) use transport::{Response, send};
pub use transport::{now_ms, sleep};

#[derive(Clone)]
pub(crate) struct Handle {
    blob: Blob,
    /// The same bytes by a way without another process, where there is one.
    quick: Option<Rc<Reading>>,
}

impl Handle {
    async fn part(&self, start: u64, len: usize) -> Result<Uint8Array, String> {
        if let Some(quick) = &self.quick {
            let bytes = Uint8Array::new_with_length(len as u32);
            return match quick.read_into(&bytes, start)? == len {
                true => Ok(bytes),
                false => Err(format!("{len} bytes from {start} were expected, fewer came")),
            };
        }
        let slice = self.blob.slice_with_f64_and_f64(start as f64, (start + len as u64) as f64).map_err(said)?;
        Ok(Uint8Array::new(&JsFuture::from(slice.array_buffer()).await.map_err(said)?))
    }

    pub(crate) async fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, String> {
        if let Some(quick) = &self.quick {
            let mut bytes = vec![0; len];
            let read = quick.read(&mut bytes, start)?;
            bytes.truncate(read);
            return Ok(bytes);
        }
        Ok(self.part(start, len).await?.to_vec())
    }
}

impl Source {
    /// A file that the visitor picked or dropped. The browser keeps the bytes.
    pub fn picked(file: &File) -> Self {
        let path = Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|p| p.as_string());
        let name = path.filter(|p| !p.is_empty()).unwrap_or_else(|| file.name());
        Self::blob(&name, file.clone().unchecked_into())
    }

    /// Bytes that the browser keeps, in memory or on disk.
    fn blob(name: &str, blob: Blob) -> Self {
        Self::new(name, blob.size() as u64, Inner::Platform(Handle { blob, quick: None }))
    }

    /// A private file.
    fn private(name: &str, blob: Blob, reading: Option<Reading>) -> Self {
        let bytes = blob.size() as u64;
        Self::new(name, bytes, Inner::Platform(Handle { blob, quick: reading.map(Rc::new) }))
    }
}

/// sha256 of part of a source, by the browser's own means: the bytes do not pass through wasm.
pub(crate) async fn sha256_of(source: &Source, start: u64, len: usize) -> Result<[u8; 32], StoreError> {
    let Inner::Platform(handle) = &source.inner else {
        return Ok(crate::digest::sha256(&source.read(start, len).await?));
    };
    let hash = async { sha256(&handle.part(start, len).await?)?.await };
    hash.await.map_err(|reason| source.failed(reason))
}

/// sha256 by the browser, which begins with it at once.
fn sha256(bytes: &Uint8Array) -> Result<impl Future<Output = Result<[u8; 32], String>> + use<>, String> {
    let subtle = scope()?.crypto().map_err(said)?.subtle();
    let hash = subtle.digest_with_str_and_js_u8_array("SHA-256", bytes).map_err(said)?;
    Ok(async {
        let hash = Uint8Array::new(&JsFuture::from(hash).await.map_err(said)?).to_vec();
        <[u8; 32]>::try_from(hash).map_err(|hash| format!("a hash of {} bytes came", hash.len()))
    })
}

/// A log's name among the private files.
pub type LogPlace = String;

/// Opens a log's file; `None` when another tab has it open. Where the browser gives no private
/// files the log lives as long as the worker.
pub(crate) async fn open_log(place: &LogPlace) -> Result<Option<RawFile>, StoreError> {
    // A worker that was just ended may hold its files a moment longer.
    for _ in 0..20 {
        if let Some(file) = RawFile::open(shelf::LOGS, place).await? {
            return Ok(Some(file));
        }
        sleep(100.0).await;
    }
    Ok(None)
}

fn scope() -> Result<WorkerGlobalScope, String> {
    js_sys::global().dyn_into().map_err(|_| "files are read in the page's worker only".to_owned())
}

/// What the browser says of a failure.
fn said(value: impl Into<JsValue>) -> String {
    let value = value.into();
    let message = Reflect::get(&value, &"message".into()).ok().and_then(|m| m.as_string());
    message.unwrap_or_else(|| format!("{value:?}"))
}

/// The kind of a failure, such as `QuotaExceededError`.
fn kind(value: &JsValue) -> String {
    Reflect::get(value, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

/// What a pipe gives until it ends: a page has none, and nowhere else to put it.
pub(crate) fn spooled(name: &str, from: &mut dyn std::io::Read) -> Result<Source, StoreError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|e| StoreError::Read { name: name.to_owned(), reason: e.to_string() })?;
    Ok(Source::memory(name, bytes))
}
