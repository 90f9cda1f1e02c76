//! The part of the `zstd` crate that parquet and arrow-ipc call, made of `ruzstd`. The `zstd` crate binds C code, which
//! needs a C compiler for WebAssembly. Only reading works; this project writes snappy.

/// The compression levels of the `zstd` crate.
pub fn compression_level_range() -> std::ops::RangeInclusive<i32> {
    -131_072..=22
}

/// Packs and unpacks whole frames at once.
pub mod bulk {
    use std::io::{Cursor, Error, ErrorKind, Result};

    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    /// Unpacks frames.
    pub struct Decompressor<'a> {
        decoder: FrameDecoder,
        lifetime: std::marker::PhantomData<&'a ()>,
    }

    impl Decompressor<'static> {
        /// A decompressor without a dictionary.
        ///
        /// # Errors
        /// Never; the signature is that of the `zstd` crate.
        pub fn new() -> Result<Self> {
            Ok(Self { decoder: FrameDecoder::new(), lifetime: std::marker::PhantomData })
        }
    }

    impl Decompressor<'_> {
        /// Unpacks the frames in `source` to `destination` from its position on, at most up to its capacity. Gives the
        /// number of bytes written.
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
            // Block by block: the size that a frame states may be more than it holds.
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

        /// Unpacks the frames in `source`, at most `capacity` bytes.
        ///
        /// # Errors
        /// As [`Self::decompress_to_buffer`].
        pub fn decompress(&mut self, source: &[u8], capacity: usize) -> Result<Vec<u8>> {
            let mut out = Vec::with_capacity(capacity);
            self.decompress_to_buffer(source, &mut Cursor::new(&mut out))?;
            Ok(out)
        }
    }

    /// A compressor that refuses: nothing in this project writes zstd.
    pub struct Compressor<'a>(std::marker::PhantomData<&'a ()>);

    impl Compressor<'static> {
        /// A compressor that refuses.
        ///
        /// # Errors
        /// Never; the signature is that of the `zstd` crate.
        pub fn new(_level: i32) -> Result<Self> {
            Ok(Self(std::marker::PhantomData))
        }
    }

    impl Compressor<'_> {
        /// Refuses to pack bytes into a buffer.
        ///
        /// # Errors
        /// Always.
        pub fn compress_to_buffer(&mut self, _source: &[u8], _to: &mut Cursor<&mut Vec<u8>>) -> Result<usize> {
            Err(Error::new(ErrorKind::Unsupported, "writing zstd: only reading is built in"))
        }

        /// Refuses to pack bytes.
        ///
        /// # Errors
        /// Always.
        pub fn compress(&mut self, _source: &[u8]) -> Result<Vec<u8>> {
            Err(Error::new(ErrorKind::Unsupported, "writing zstd: only reading is built in"))
        }
    }
}

/// What the headers of frames state.
pub mod zstd_safe {
    /// The unpacked bytes that the first frame states; `None` where it states none.
    ///
    /// # Errors
    /// When the bytes do not begin with a frame.
    pub fn get_frame_content_size(source: &[u8]) -> Result<Option<u64>, ContentSizeError> {
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.init(source).map_err(|_| ContentSizeError)?;
        Ok(Some(decoder.content_size()).filter(|&bytes| bytes > 0))
    }

    /// The most bytes that `bytes` bytes take when packed.
    pub fn compress_bound(bytes: usize) -> usize {
        bytes.saturating_add(bytes >> 8).saturating_add(64)
    }

    /// The bytes do not begin with a frame.
    #[derive(Debug)]
    pub struct ContentSizeError;
}
