//! The part of the `brotli` crate that parquet calls, over `brotli-decompressor`: with the writer and its tables the
//! page's module would be a third of a megabyte larger. Reading alone is behind it; this project writes snappy.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// A larger buffer than this is not taken, whatever a page says of its size.
const MOST_BUFFER_BYTES: usize = 1 << 16;

/// Reads what packed bytes hold.
pub struct Decompressor<R: Read>(brotli_decompressor::Decompressor<R>);

impl<R: Read> Decompressor<R> {
    /// Of packed bytes, with a buffer of so many bytes.
    pub fn new(packed: R, buffer_bytes: usize) -> Self {
        Self(brotli_decompressor::Decompressor::new(packed, buffer_bytes.clamp(4096, MOST_BUFFER_BYTES)))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        self.0.read(to)
    }
}

/// Refuses: nothing here writes brotli.
pub struct CompressorWriter<W: Write>(std::marker::PhantomData<W>);

impl<W: Write> CompressorWriter<W> {
    /// A writer that refuses; the signature is that of the crate it stands for.
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
