//! The part of the `brotli` crate that parquet calls, made of `brotli-decompressor`. The writer and its tables would
//! make the page's module a third of a megabyte larger. Only reading works; this project writes snappy.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Most bytes of a reader's buffer, however large a page says that it is.
const MOST_BUFFER_BYTES: usize = 1 << 16;

/// Unpacks the bytes that it reads.
pub struct Decompressor<R: Read>(brotli_decompressor::Decompressor<R>);

impl<R: Read> Decompressor<R> {
    /// A reader over packed bytes, with a buffer of about `buffer_bytes` (4 KiB to 64 KiB).
    pub fn new(packed: R, buffer_bytes: usize) -> Self {
        Self(brotli_decompressor::Decompressor::new(packed, buffer_bytes.clamp(4096, MOST_BUFFER_BYTES)))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        self.0.read(to)
    }
}

/// A writer that refuses: nothing in this project writes brotli.
pub struct CompressorWriter<W: Write>(std::marker::PhantomData<W>);

impl<W: Write> CompressorWriter<W> {
    /// A writer that refuses. The signature is that of the `brotli` crate.
    pub fn new(_to: W, _buffer_bytes: usize, _quality: u32, _window: u32) -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<W: Write> Write for CompressorWriter<W> {
    fn write(&mut self, _bytes: &[u8]) -> Result<usize> {
        Err(Error::new(ErrorKind::Unsupported, "writing brotli: only reading is built in"))
    }

    fn flush(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "writing brotli: only reading is built in"))
    }
}
