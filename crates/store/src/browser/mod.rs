//! What the browser gives a worker: picked files, connections, and the origin's private files.

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

/// A file or blob of the browser that is read by range.
#[derive(Clone)]
pub(crate) struct Handle {
    blob: Blob,
    /// A faster way to the same bytes that needs no other process, where there is one.
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
    /// A file that the visitor picked or dropped. The bytes stay with the browser.
    pub fn picked(file: &File) -> Self {
        let path = Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|p| p.as_string());
        let name = path.filter(|p| !p.is_empty()).unwrap_or_else(|| file.name());
        Self::blob(&name, file.clone().unchecked_into())
    }

    /// A source of bytes that the browser keeps, in memory or on disk.
    fn blob(name: &str, blob: Blob) -> Self {
        Self::new(name, blob.size() as u64, Inner::Platform(Handle { blob, quick: None }))
    }

    /// A source of a private file.
    fn private(name: &str, blob: Blob, reading: Option<Reading>) -> Self {
        let bytes = blob.size() as u64;
        Self::new(name, bytes, Inner::Platform(Handle { blob, quick: reading.map(Rc::new) }))
    }
}

/// The sha256 of `len` bytes of a source from byte `start` on. The browser computes it, so that the bytes do not pass
/// through wasm.
pub(crate) async fn sha256_of(source: &Source, start: u64, len: usize) -> Result<[u8; 32], StoreError> {
    let Inner::Platform(handle) = &source.inner else {
        return Ok(crate::digest::sha256(&source.read(start, len).await?));
    };
    let hash = async { sha256(&handle.part(start, len).await?)?.await };
    hash.await.map_err(|reason| source.failed(reason))
}

/// The sha256 of bytes. The browser begins to compute it at once, before the future is awaited.
fn sha256(bytes: &Uint8Array) -> Result<impl Future<Output = Result<[u8; 32], String>> + use<>, String> {
    let subtle = scope()?.crypto().map_err(said)?.subtle();
    let hash = subtle.digest_with_str_and_js_u8_array("SHA-256", bytes).map_err(said)?;
    Ok(async {
        let hash = Uint8Array::new(&JsFuture::from(hash).await.map_err(said)?).to_vec();
        <[u8; 32]>::try_from(hash).map_err(|hash| format!("a hash of {} bytes came", hash.len()))
    })
}

/// The name of a [`Log`](crate::Log) or of [`Records`](crate::Records) among the private files.
pub type LogPlace = String;

/// Opens the file of a log or of records; `None` when another tab has it open. Where the browser gives no private files,
/// it lives in memory until it is dropped. So it does where there is no room, after what is stored of it.
pub(crate) async fn open_log(place: &LogPlace) -> Result<Option<RawFile>, StoreError> {
    // A worker that has just ended may hold its files a moment longer.
    for _ in 0..20 {
        match RawFile::open(shelf::LOGS, place).await {
            Ok(None) => {}
            Err(StoreError::OutOfSpace { .. }) => {
                let file = RawFile::memory(place);
                if let Some(stored) = shelf::log_text(place).await {
                    file.write(0, stored.as_bytes())?;
                }
                return Ok(Some(file));
            }
            opened => return opened,
        }
        sleep(100.0).await;
    }
    Ok(None)
}

fn scope() -> Result<WorkerGlobalScope, String> {
    js_sys::global().dyn_into().map_err(|_| "files are read in the page's worker only".to_owned())
}

/// The browser's message about a failure.
fn said(value: impl Into<JsValue>) -> String {
    let value = value.into();
    let message = Reflect::get(&value, &"message".into()).ok().and_then(|m| m.as_string());
    message.unwrap_or_else(|| format!("{value:?}"))
}

/// The kind of a failure, such as `QuotaExceededError`.
fn kind(value: &JsValue) -> String {
    Reflect::get(value, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

/// Reads a pipe to its end into memory. A page has no pipes, and no other place for one.
pub(crate) fn spooled(name: &str, from: &mut dyn std::io::Read) -> Result<Source, StoreError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|e| StoreError::Read { name: name.to_owned(), reason: e.to_string() })?;
    Ok(Source::memory(name, bytes))
}
