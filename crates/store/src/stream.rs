//! Reads bytes in order from a source, or from a pipe, which can be read only once.

use std::io::Read;

use crate::{Source, StoreError, platform};

/// Bytes of a source that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// Least bytes that are read for [`ByteStream::peek`].
const GLANCE_BYTES: u64 = 4096;

/// Gives bytes from the first to the last. The next bytes can be looked at before they are taken.
pub struct ByteStream {
    name: String,
    inner: Inner,
    /// Bytes that were read and not yet taken.
    pending: Vec<u8>,
}

enum Inner {
    Source { source: Source, at: u64 },
    Pipe(Box<dyn Read + Send>),
}

impl ByteStream {
    /// A stream of a source's bytes, as many as the source had when it was opened.
    pub fn of(source: &Source) -> Self {
        Self {
            name: source.name().to_owned(),
            inner: Inner::Source { source: source.clone(), at: 0 },
            pending: Vec::new(),
        }
    }

    /// A stream of what comes through a pipe, as it comes. `name` is for messages.
    pub fn pipe(name: &str, from: Box<dyn Read + Send>) -> Self {
        Self { name: name.to_owned(), inner: Inner::Pipe(from), pending: Vec::new() }
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next `bytes` bytes, without taking them. There are fewer only at the end, or where a pipe has given a whole
    /// line: its writer may wait for an answer before it sends more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn peek(&mut self, bytes: usize) -> Result<&[u8], StoreError> {
        let is_pipe = matches!(self.inner, Inner::Pipe(_));
        while self.pending.len() < bytes && !(is_pipe && self.pending.contains(&b'\n')) {
            match self.read(GLANCE_BYTES.max(bytes as u64)).await? {
                Some(more) => self.pending.extend(more),
                None => break,
            }
        }
        Ok(&self.pending[..bytes.min(self.pending.len())])
    }

    /// Takes the next bytes; `None` at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.pending.is_empty() {
            true => self.read(WINDOW_BYTES).await,
            false => Ok(Some(std::mem::take(&mut self.pending))),
        }
    }

    async fn read(&mut self, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match &mut self.inner {
            Inner::Source { source, at } => {
                let len = (source.bytes() - *at).min(most) as usize;
                let bytes = source.read(*at, len).await?;
                *at += len as u64;
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            Inner::Pipe(pipe) => {
                let mut bytes = vec![0; 1 << 16];
                let failed = |e: std::io::Error| StoreError::Read { name: self.name.clone(), reason: e.to_string() };
                let len = loop {
                    match pipe.read(&mut bytes) {
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        found => break found.map_err(failed)?,
                    }
                };
                bytes.truncate(len);
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    /// The whole as a source, for what must be read by range; call it before bytes are taken. A pipe is first copied to
    /// a file without a name (in a browser, to memory).
    ///
    /// # Errors
    /// When the pipe cannot be read, or the copy cannot be written.
    pub async fn into_source(self) -> Result<Source, StoreError> {
        let Self { name, inner, pending } = self;
        match inner {
            Inner::Source { source, .. } => Ok(source),
            Inner::Pipe(pipe) => platform::spooled(&name, &mut pending.as_slice().chain(pipe)),
        }
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn a_pipe_is_looked_at_then_taken_once_or_made_a_source() {
        let pipe = || ByteStream::pipe("-", Box::new(&b"one two three"[..]));
        let mut stream = pipe();
        assert_eq!(block_on(stream.peek(3)).expect("read"), b"one");
        let mut all = Vec::new();
        while let Some(bytes) = block_on(stream.next()).expect("read") {
            all.extend(bytes);
        }
        assert_eq!(all, b"one two three");
        let mut stream = pipe();
        block_on(stream.peek(5)).expect("read");
        let source = block_on(stream.into_source()).expect("copied");
        assert_eq!(block_on(source.read(4, 9)).expect("read"), b"two three");
        assert_eq!(source.name(), "-");
    }
}
