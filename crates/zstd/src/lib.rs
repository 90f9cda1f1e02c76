//! The part of the `zstd` crate that parquet and arrow-ipc call, over `ruzstd`: the bindings to C do not compile
//! for WebAssembly without a C compiler for it. Reading alone is behind it; this project writes snappy.

/// The levels that the crate it stands for knows.
pub fn compression_level_range() -> std::ops::RangeInclusive<i32> {
    -131_072..=22
}

/// Whole frames at once.
pub mod bulk {
    use std::io::{Cursor, Error, ErrorKind, Result};

    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    /// Reads frames.
    pub struct Decompressor<'a> {
        decoder: FrameDecoder,
        lifetime: std::marker::PhantomData<&'a ()>,
    }

    impl Decompressor<'static> {
        /// A decompressor without a dictionary.
        ///
        /// # Errors
        /// Never; the signature is that of the crate it stands for.
        pub fn new() -> Result<Self> {
            Ok(Self { decoder: FrameDecoder::new(), lifetime: std::marker::PhantomData })
        }
    }

    impl Decompressor<'_> {
        /// Writes what the frames in `source` hold to `destination` from its position on, at most up to its
        /// capacity. Gives the bytes written.
        ///
        /// # Errors
        /// When a frame is damaged or longer than the destination.
        pub fn decompress_to_buffer(&mut self, source: &[u8], destination: &mut Cursor<&mut Vec<u8>>) -> Result<usize> {
            let start = destination.position() as usize;
            let buffer = destination.get_mut();
            let most = buffer.capacity();
            buffer.truncate(start);
            let wrong = |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidData, error.to_string());
            let mut rest = source;
            // Block by block: what a frame says of its size may be more than it holds.
            while !rest.is_empty() {
                self.decoder.reset(&mut rest).map_err(|e| wrong(&e))?;
                while !(self.decoder.is_finished() && self.decoder.can_collect() == 0) {
                    if !self.decoder.is_finished() {
                        let some = BlockDecodingStrategy::UptoBytes(1 << 20);
                        self.decoder.decode_blocks(&mut rest, some).map_err(|e| wrong(&e))?;
                    }
                    if self.decoder.can_collect() > most - buffer.len() {
                        return Err(wrong(&"a frame holds more than it should"));
                    }
                    self.decoder.collect_to_writer(&mut *buffer).map_err(|e| wrong(&e))?;
                }
            }
            let written = buffer.len() - start;
            destination.set_position((start + written) as u64);
            Ok(written)
        }

        /// What the frames in `source` hold, at most `capacity` bytes.
        ///
        /// # Errors
        /// As [`Self::decompress_to_buffer`].
        pub fn decompress(&mut self, source: &[u8], capacity: usize) -> Result<Vec<u8>> {
            let mut out = Vec::with_capacity(capacity);
            self.decompress_to_buffer(source, &mut Cursor::new(&mut out))?;
            Ok(out)
        }
    }

    /// Refuses: nothing here writes zstd.
    pub struct Compressor<'a>(std::marker::PhantomData<&'a ()>);

    impl Compressor<'static> {
        /// A compressor that refuses.
        ///
        /// # Errors
        /// Never; the signature is that of the crate it stands for.
        pub fn new(_level: i32) -> Result<Self> {
            Ok(Self(std::marker::PhantomData))
        }
    }

    impl Compressor<'_> {
        /// # Errors
        /// Always.
        pub fn compress_to_buffer(&mut self, _source: &[u8], _to: &mut Cursor<&mut Vec<u8>>) -> Result<usize> {
            Err(Error::new(ErrorKind::Unsupported, "writing zstd: only reading is built in"))
        }

        /// # Errors
        /// Always.
        pub fn compress(&mut self, _source: &[u8]) -> Result<Vec<u8>> {
            Err(Error::new(ErrorKind::Unsupported, "writing zstd: only reading is built in"))
        }
    }
}

/// What frames say of themselves.
pub mod zstd_safe {
    /// How many bytes the first frame holds; `None` where it does not say.
    ///
    /// # Errors
    /// When it is no frame.
    pub fn get_frame_content_size(source: &[u8]) -> Result<Option<u64>, ContentSizeError> {
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.init(source).map_err(|_| ContentSizeError)?;
        Ok(Some(decoder.content_size()).filter(|&bytes| bytes > 0))
    }

    /// The most bytes that so many take when written.
    pub fn compress_bound(bytes: usize) -> usize {
        bytes.saturating_add(bytes >> 8).saturating_add(64)
    }

    /// The bytes are no frame.
    #[derive(Debug)]
    pub struct ContentSizeError;
}
