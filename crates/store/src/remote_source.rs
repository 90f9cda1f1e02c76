//! A file that lies elsewhere, read by range and not kept. To read a few kilobytes of a large dataset
//! only those are fetched.

use std::cell::RefCell;
use std::sync::Arc;

use crate::http::{self, Sink, Token, Wanted};
use crate::{Cancel, Inner, Source, StoreError};

/// A remote file that is read by range.
pub(crate) struct Remote {
    pub url: Arc<str>,
    pub token: Option<Token>,
    /// The file's size in bytes.
    pub bytes: u64,
}

impl Remote {
    /// The file as a source.
    pub(crate) fn source(self, name: &str) -> Source {
        Source::new(name, self.bytes, Inner::Remote(Arc::new(self)))
    }

    /// Reads `len` bytes from byte `start` on. A connection that breaks is opened anew. Nothing is checked against a
    /// hash: hashes are of whole files.
    pub(crate) async fn read(&self, name: &str, start: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let wanted = Wanted {
            name,
            url: &self.url,
            token: self.token.as_ref(),
            start,
            bytes: len as u64,
            resource_bytes: self.bytes,
        };
        let sink = Memory(RefCell::new(Vec::with_capacity(len)));
        http::fetch(&wanted, 0, &sink, &Cancel::default(), &RefCell::new(|_| {})).await?;
        Ok(sink.0.into_inner())
    }
}

/// Collects bytes that come in order.
struct Memory(RefCell<Vec<u8>>);

impl Sink for Memory {
    async fn take(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut all = self.0.borrow_mut();
        all.truncate(at as usize);
        all.extend_from_slice(bytes);
        Ok(())
    }
}
