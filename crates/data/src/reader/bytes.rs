//! Unpacks and decodes a text of any packing and encoding into UTF-8 without a byte order mark.

use std::io::Write;

use bzip2::write::BzDecoder;
use flate2::write::MultiGzDecoder;
use rewardscope_store::ByteStream;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use super::signature::{Packing, refuse_markup};
use crate::{DataError, format_error};

/// Packed bytes that are unpacked at once. Few, so that what they grow to stays within tens of megabytes.
const GZIP_PIECE: usize = 1 << 14;
const BZIP2_PIECE: usize = 1 << 11;

/// Bytes of the longest zstd frame header, with room to spare.
const ZSTD_HEADER: usize = 32;

/// Unpacks bytes piece by piece.
enum Unpacker {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// The decoder, and whether its stream has begun.
    Bzip2(Box<BzDecoder<Vec<u8>>>, bool),
    Zstd(Box<Zstd>),
}

/// Unpacks zstd frames that stand one after another.
struct Zstd {
    decoder: FrameDecoder,
    /// Packed bytes that wait for more.
    waiting: Vec<u8>,
    in_frame: bool,
    /// Bytes of a frame without data that are still to be skipped.
    skip: usize,
}

impl Zstd {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.waiting.extend_from_slice(bytes);
        let mut target = vec![0; 1 << 20];
        loop {
            let passed = self.skip.min(self.waiting.len());
            self.waiting.drain(..passed);
            self.skip -= passed;
            if self.skip > 0 || (!self.in_frame && (self.waiting.is_empty() || !self.begin()?)) {
                return Ok(());
            }
            // A frame without data was begun, and is skipped.
            if !self.in_frame {
                continue;
            }
            let (read, written) = self.decoder.decode_from_to(&self.waiting, &mut target).map_err(|e| e.to_string())?;
            // The decoder counts a checksum's four bytes as read before they are there.
            if read > self.waiting.len() {
                return Ok(());
            }
            self.waiting.drain(..read);
            out.extend_from_slice(&target[..written]);
            self.in_frame = !(self.decoder.is_finished() && self.decoder.can_collect() == 0);
            if read == 0 && written == 0 && self.in_frame {
                return Ok(());
            }
        }
    }

    /// Reads a frame's header; false where more of the header must come first.
    fn begin(&mut self) -> Result<bool, String> {
        let mut rest = self.waiting.as_slice();
        match self.decoder.reset(&mut rest) {
            Ok(()) => {
                let read = self.waiting.len() - rest.len();
                self.waiting.drain(..read);
                self.in_frame = true;
                Ok(true)
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                self.waiting.drain(..8);
                self.skip = length as usize;
                Ok(true)
            }
            Err(_) if self.waiting.len() < ZSTD_HEADER => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Unpacker {
    fn new(packing: Packing) -> Self {
        match packing {
            Packing::Plain => Self::Plain,
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Packing::Bzip2 => Self::Bzip2(Box::new(BzDecoder::new(Vec::new())), false),
            Packing::Zstd => Self::Zstd(Box::new(Zstd {
                decoder: FrameDecoder::new(),
                waiting: Vec::new(),
                in_frame: false,
                skip: 0,
            })),
        }
    }

    /// Unpacks some of `bytes` into `out`. Returns how many bytes of `bytes` were taken.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        match self {
            Self::Plain => {
                out.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Self::Gzip(decoder) => {
                let piece = &bytes[..bytes.len().min(GZIP_PIECE)];
                decoder.write_all(piece).map_err(|e| e.to_string())?;
                out.append(decoder.get_mut());
                Ok(piece.len())
            }
            Self::Bzip2(decoder, is_started) => {
                let piece = &bytes[..bytes.len().min(BZIP2_PIECE)];
                let read = decoder.write(piece).map_err(|e| e.to_string())?;
                *is_started |= read > 0;
                out.append(decoder.get_mut());
                if read == 0 {
                    // A stream has ended. pbzip2 writes several, one after another.
                    let mut rest = decoder.finish().map_err(|e| e.to_string())?;
                    out.append(&mut rest);
                    **decoder = BzDecoder::new(Vec::new());
                    if !std::mem::take(is_started) {
                        return Err("bytes after the end that are no bzip2".to_owned());
                    }
                }
                Ok(read)
            }
            Self::Zstd(zstd) => {
                let piece = &bytes[..bytes.len().min(GZIP_PIECE)];
                zstd.push(piece, out)?;
                Ok(piece.len())
            }
        }
    }

    /// Unpacks what is left at the end of the packed bytes, and refuses an end that is missing.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Plain => Ok(()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|e| e.to_string())?;
                out.append(decoder.get_mut());
                Ok(())
            }
            Self::Bzip2(decoder, is_started) => {
                if *is_started {
                    out.append(&mut decoder.finish().map_err(|e| e.to_string())?);
                }
                Ok(())
            }
            Self::Zstd(zstd) if zstd.in_frame || zstd.skip > 0 || !zstd.waiting.is_empty() => {
                Err("its end is missing".to_owned())
            }
            Self::Zstd(_) => Ok(()),
        }
    }
}

/// The encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { is_big: bool },
}

/// Gives the bytes of a text in UTF-8 without a byte order mark, as they come.
pub(crate) struct TextBytes {
    stream: ByteStream,
    unpacker: Unpacker,
    packing: Packing,
    /// Packed bytes that were read, and how many of them were unpacked.
    packed: (Vec<u8>, usize),
    /// The encoding, once the first bytes came.
    encoding: Option<Encoding>,
    /// Unpacked bytes that wait for more: the first bytes, or half a character.
    held: Vec<u8>,
    is_done: bool,
}

impl TextBytes {
    pub fn new(stream: ByteStream, packing: Packing) -> Self {
        Self {
            stream,
            unpacker: Unpacker::new(packing),
            packing,
            packed: (Vec::new(), 0),
            encoding: None,
            held: Vec::new(),
            is_done: false,
        }
    }

    pub fn name(&self) -> &str {
        self.stream.name()
    }

    fn damaged(&self, found: String) -> DataError {
        let whole = match self.packing {
            Packing::Gzip => "a whole gzip file",
            Packing::Zstd => "a whole zstd file",
            Packing::Bzip2 => "a whole bzip2 file",
            Packing::Plain => "text",
        };
        format_error(self.name(), whole, found)
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, DataError> {
        loop {
            let is_last = !self.unpack().await?;
            let decoded = self.decode(is_last)?;
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
            if is_last {
                return Ok(None);
            }
        }
    }

    /// Unpacks a little more into `held`; false at the end.
    async fn unpack(&mut self) -> Result<bool, DataError> {
        if self.is_done {
            return Ok(false);
        }
        if self.packed.1 == self.packed.0.len() {
            match self.stream.next().await? {
                Some(bytes) => self.packed = (bytes, 0),
                None => {
                    self.is_done = true;
                    let mut rest = Vec::new();
                    let ended = self.unpacker.finish(&mut rest);
                    self.held.extend(rest);
                    ended.map_err(|found| self.damaged(found))?;
                    return Ok(false);
                }
            }
        }
        let read = self.unpacker.push(&self.packed.0[self.packed.1..], &mut self.held);
        self.packed.1 += read.map_err(|found| self.damaged(found))?;
        Ok(true)
    }

    fn decode(&mut self, is_last: bool) -> Result<Vec<u8>, DataError> {
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            // Too few bytes to tell the encoding or a web page.
            None if self.held.len() < 64 && !is_last && !self.held.contains(&b'\n') => return Ok(Vec::new()),
            None => {
                let (encoding, mark) = self.first()?;
                self.held.drain(..mark);
                *self.encoding.insert(encoding)
            }
        };
        let is_big = match encoding {
            Encoding::Utf8 => return Ok(std::mem::take(&mut self.held)),
            Encoding::Utf16 { is_big } => is_big,
        };
        let mut whole = self.held.len() / 2;
        let unit = |at: usize| {
            let pair = [self.held[2 * at], self.held[2 * at + 1]];
            if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        // The first half of a surrogate pair waits for the second.
        if !is_last && whole > 0 && (0xd800..0xdc00).contains(&unit(whole - 1)) {
            whole -= 1;
        }
        let text: Result<String, _> = char::decode_utf16((0..whole).map(unit)).collect();
        let text = text.map_err(|e| format_error(self.name(), "text in UTF-16", e))?;
        if is_last && self.held.len() % 2 == 1 {
            return Err(format_error(self.name(), "text in UTF-16", "half a character at its end"));
        }
        self.held.drain(..2 * whole);
        Ok(text.into_bytes())
    }

    /// The encoding by the first bytes, and the length of the byte order mark in bytes.
    fn first(&self) -> Result<(Encoding, usize), DataError> {
        let start = self.held.as_slice();
        if start.starts_with(b"PAR1") || start.starts_with(b"ARROW1") {
            return Err(DataError::not_rows(self.name(), "parquet or Arrow inside another archive; unpack it first"));
        }
        // The mark of a tar archive lies at byte 257.
        if self.packing != Packing::Plain && start.len() > 262 && start[257..].starts_with(b"ustar") {
            return Err(DataError::not_rows(self.name(), "a tar archive; unpack it first"));
        }
        refuse_markup(self.name(), start)?;
        if start.starts_with(b"\xef\xbb\xbf") {
            return Ok((Encoding::Utf8, 3));
        }
        let is_utf32 = start.starts_with(b"\xff\xfe\0\0") || start.starts_with(b"\0\0\xfe\xff");
        match start {
            _ if is_utf32 => {
                Err(format_error(self.name(), "text in UTF-8 or UTF-16", "text in UTF-32; save it as UTF-8"))
            }
            [0xff, 0xfe, ..] => Ok((Encoding::Utf16 { is_big: false }, 2)),
            [0xfe, 0xff, ..] => Ok((Encoding::Utf16 { is_big: true }, 2)),
            // UTF-16 without a mark: rows begin with ASCII, where every second byte is zero.
            [first, 0, _, 0, ..] if first.is_ascii() && *first != 0 => Ok((Encoding::Utf16 { is_big: false }, 0)),
            [0, first, 0, _, ..] if first.is_ascii() && *first != 0 => Ok((Encoding::Utf16 { is_big: true }, 0)),
            _ => Ok((Encoding::Utf8, 0)),
        }
    }
}

/// The bytes of a text, which can be looked at before they are taken.
pub(crate) struct Buffer {
    bytes: TextBytes,
    pending: Vec<u8>,
    start: usize,
    is_ended: bool,
}

impl Buffer {
    pub fn new(bytes: TextBytes) -> Self {
        Self { bytes, pending: Vec::new(), start: 0, is_ended: false }
    }

    pub fn name(&self) -> &str {
        self.bytes.name()
    }

    /// The bytes that were read and not taken.
    pub fn left(&self) -> &[u8] {
        &self.pending[self.start..]
    }

    pub fn take(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.pending.len());
    }

    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Reads more bytes; false at the end.
    pub async fn fill(&mut self) -> Result<bool, DataError> {
        if self.is_ended {
            return Ok(false);
        }
        self.pending.drain(..self.start);
        self.start = 0;
        match self.bytes.next().await? {
            Some(more) => self.pending.extend(more),
            None => self.is_ended = true,
        }
        Ok(!self.is_ended)
    }

    /// Takes white space, and gives the byte after it without taking that; `None` at the end.
    pub async fn skip_blank(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let blank = self.left().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.take(blank);
            if let Some(first) = self.left().first() {
                return Ok(Some(*first));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads ahead to the end of a line or of the text, and gives the line's length in bytes without its end. `None`
    /// where the line is longer than about `most` bytes.
    pub async fn line(&mut self, most: usize) -> Result<Option<usize>, DataError> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.left()[looked..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(looked + end));
            }
            looked = self.left().len();
            if looked > most {
                return Ok(None);
            }
            if !self.fill().await? {
                return Ok(Some(self.left().len()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pollster::block_on;
    use rewardscope_store::Source;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;
    use crate::reader::signature::{Kind, kind_of};

    fn text(bytes: &[u8]) -> Result<String, DataError> {
        let Kind::Text(packing) = kind_of("rows.jsonl", bytes)? else {
            panic!("a text is no table");
        };
        let mut text = TextBytes::new(ByteStream::of(&Source::memory("rows.jsonl", bytes.to_vec())), packing);
        let mut all = Vec::new();
        while let Some(more) = block_on(text.next())? {
            all.extend(more);
        }
        Ok(String::from_utf8(all).expect("UTF-8"))
    }

    #[test]
    fn frames_of_zstd_stand_one_after_another_and_some_hold_nothing() {
        let long = "a line of a file of rows\n".repeat(100_000);
        let packed = |text: &str| compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        assert_eq!(text(&packed(&long)).expect("read"), long);
        let several = [packed(&long), skipped.clone(), packed("and more\n")].concat();
        assert_eq!(text(&several).expect("read"), format!("{long}and more\n"));
        let first = [skipped, packed(&long)].concat();
        assert_eq!(text(&first).expect("read"), long);
        let whole = packed(&long);
        let message = text(&whole[..whole.len() - 9]).expect_err("cut").to_string();
        assert!(message.contains("a whole zstd file"), "{message}");
    }

    #[test]
    fn characters_of_two_halves_are_read_in_pieces() {
        let words = "prompt,chosen ☀ 🦀 東京\n".repeat(60_000);
        let units = |to: fn(u16) -> [u8; 2]| words.encode_utf16().flat_map(to).collect::<Vec<u8>>();
        assert_eq!(text(&[&[0xff, 0xfe][..], &units(u16::to_le_bytes)].concat()).expect("read"), words);
        assert_eq!(text(&[&[0xfe, 0xff][..], &units(u16::to_be_bytes)].concat()).expect("read"), words);
        assert_eq!(text(&units(u16::to_le_bytes)).expect("read"), words, "without a mark");
        let message = text(&[&[0xff, 0xfe][..], b"a\0b"].concat()).expect_err("half").to_string();
        assert!(message.contains("half a character"), "{message}");
    }
}
