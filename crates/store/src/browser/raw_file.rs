use std::cell::{Cell, RefCell};

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, FileSystemSyncAccessHandle};

use super::private_files::{at, file, made};
use super::{kind, said, sha256};
use crate::StoreError;

/// A file that can be written at any place, and is open in one worker at a time.
pub(crate) struct RawFile {
    name: String,
    inner: Inner,
}

enum Inner {
    Private(FileSystemSyncAccessHandle),
    /// Without private files: blocks of [`BLOCK_BYTES`] in the browser's memory, outside wasm's.
    Memory {
        blocks: RefCell<Vec<Uint8Array>>,
        bytes: Cell<u64>,
    },
}

const BLOCK_BYTES: u64 = 1 << 20;

impl Drop for RawFile {
    fn drop(&mut self) {
        if let Inner::Private(handle) = &self.inner {
            handle.close();
        }
    }
}

impl RawFile {
    /// Opens or creates a private file; `None` when another worker has it open. Where the browser gives
    /// no private files, the file is in memory.
    pub(crate) async fn open(folder_name: &str, name: &str) -> Result<Option<Self>, StoreError> {
        let failed = |error: JsValue| match kind(&error).as_str() {
            "QuotaExceededError" => full(name),
            _ => StoreError::Read { name: name.to_owned(), reason: said(error) },
        };
        let Some(folder) = made(folder_name).await.map_err(failed)? else {
            return Ok(Some(Self::memory(name)));
        };
        let Some(handle) = file(&folder, name, true).await.map_err(failed)? else {
            return Ok(None);
        };
        match JsFuture::from(handle.create_sync_access_handle()).await {
            Ok(handle) => Ok(Some(Self { name: name.to_owned(), inner: Inner::Private(handle.unchecked_into()) })),
            // WebKit reports the same as an invalid state.
            Err(error) if ["NoModificationAllowedError", "InvalidStateError"].contains(&kind(&error).as_str()) => {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn memory(name: &str) -> Self {
        Self { name: name.to_owned(), inner: Inner::Memory { blocks: RefCell::default(), bytes: Cell::new(0) } }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether what is written outlives the page.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.inner, Inner::Private(_))
    }

    /// A copy of the first `bytes` bytes in memory, which has room where the browser gives none.
    pub(crate) fn in_memory(&self, bytes: u64) -> Result<Option<Self>, StoreError> {
        let copy = Self::memory(&self.name);
        copy.write(0, &self.read(0, bytes as usize)?)?;
        Ok(Some(copy))
    }

    pub(crate) fn bytes(&self) -> Result<u64, StoreError> {
        match &self.inner {
            Inner::Private(handle) => Ok(handle.get_size().map_err(|e| self.failed(said(e)))? as u64),
            Inner::Memory { bytes, .. } => Ok(bytes.get()),
        }
    }

    pub(crate) fn read(&self, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        match &self.inner {
            Inner::Private(handle) => {
                self.all(handle.read_with_u8_array_and_options(&mut bytes, &at(start)), start, len)?;
            }
            Inner::Memory { blocks, bytes: there } => {
                if start + len as u64 > there.get() {
                    return Err(self.failed(format!("{len} bytes from {start} were expected, it ends before")));
                }
                let blocks = blocks.borrow();
                for (block, inside, part) in spans(start, len) {
                    let from = blocks[block].subarray(inside as u32, (inside + part.len()) as u32);
                    from.copy_to(&mut bytes[part]);
                }
            }
        }
        Ok(bytes)
    }

    /// Refuses a read that gave fewer bytes than were asked for.
    fn all(&self, read: Result<f64, JsValue>, start: u64, len: usize) -> Result<(), StoreError> {
        let read = read.map_err(|e| self.failed(said(e)))?;
        if read as usize == len {
            return Ok(());
        }
        Err(self.failed(format!("{len} bytes from {start} were expected, {read} came")))
    }

    /// The sha256 of `len` bytes from byte `start` on. The browser begins to compute it at once.
    pub(crate) fn sha256(
        &self,
        start: u64,
        len: usize,
    ) -> Result<impl Future<Output = Result<[u8; 32], StoreError>> + '_, StoreError> {
        let bytes = match &self.inner {
            Inner::Private(handle) => {
                let bytes = Uint8Array::new_with_length(len as u32);
                self.all(handle.read_with_js_u8_array_and_options(&bytes, &at(start)), start, len)?;
                bytes
            }
            Inner::Memory { .. } => Uint8Array::from(self.read(start, len)?.as_slice()),
        };
        let hash = sha256(&bytes);
        Ok(async move { async { hash?.await }.await.map_err(|reason| self.failed(reason)) })
    }

    pub(crate) fn write(&self, start: u64, bytes: &[u8]) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Private(handle) => {
                let written = handle.write_with_u8_array_and_options(bytes, &at(start));
                let written = written.map_err(|error| match kind(&error).as_str() {
                    "QuotaExceededError" => full(&self.name),
                    _ => self.failed(said(error)),
                })?;
                // A browser that is out of room may also write fewer bytes than it was given.
                if written as usize == bytes.len() { Ok(()) } else { Err(full(&self.name)) }
            }
            Inner::Memory { blocks, bytes: there } => {
                let end = start + bytes.len() as u64;
                let mut blocks = blocks.borrow_mut();
                while (blocks.len() as u64) * BLOCK_BYTES < end {
                    blocks.push(Uint8Array::new_with_length(BLOCK_BYTES as u32));
                }
                for (block, inside, part) in spans(start, bytes.len()) {
                    let to = blocks[block].subarray(inside as u32, (inside + part.len()) as u32);
                    to.copy_from(&bytes[part]);
                }
                there.set(there.get().max(end));
                Ok(())
            }
        }
    }

    pub(crate) fn truncate(&self, bytes: u64) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Private(handle) => handle.truncate_with_f64(bytes as f64).map_err(|e| self.failed(said(e))),
            Inner::Memory { bytes: there, .. } => {
                there.set(there.get().min(bytes));
                Ok(())
            }
        }
    }

    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Private(handle) => handle.flush().map_err(|e| self.failed(said(e))),
            Inner::Memory { .. } => Ok(()),
        }
    }

    /// A file in memory as a blob; `None` for a private file.
    pub(super) fn into_blob(self) -> Result<Option<Blob>, StoreError> {
        let Inner::Memory { blocks, bytes } = &self.inner else {
            return Ok(None);
        };
        let whole = blocks.take().into_iter().collect::<Array>();
        let blob = Blob::new_with_u8_array_sequence(&whole).map_err(|e| self.failed(said(e)))?;
        blob.slice_with_f64_and_f64(0.0, bytes.get() as f64).map(Some).map_err(|e| self.failed(said(e)))
    }

    pub(crate) fn failed(&self, reason: impl ToString) -> StoreError {
        StoreError::Read { name: self.name.clone(), reason: reason.to_string() }
    }
}

fn full(name: &str) -> StoreError {
    let found = "the browser gives this site no more room".to_owned();
    StoreError::OutOfSpace { name: name.to_owned(), found, advice: String::new() }
}

/// The blocks that a range touches: the block's number, the first byte in the block, and the place in the range.
fn spans(start: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = start + done as u64;
        let inside = (place % BLOCK_BYTES) as usize;
        let part = (len - done).min(BLOCK_BYTES as usize - inside);
        let span = ((place / BLOCK_BYTES) as usize, inside, done..done + part);
        done += part;
        (part > 0).then_some(span)
    })
}
