//! Fetches a remote file into the cache. Several pieces are in flight. Each is written to its place,
//! resumed where it broke off, and checked against its hash before anything of it is used.

use std::cell::{Cell, RefCell};

use futures_channel::mpsc;
use futures_util::future;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::digest::{Hasher, bytes_of, hex};
use crate::http::{self, Sink, Token, Wanted};
use crate::platform::{self, RawFile, Shelf};
use crate::remote::{Piece, RemoteFile, Repository};
use crate::{Cancel, Source, StoreError};

/// Pieces asked for at once; a browser opens six connections to a host.
const IN_FLIGHT: usize = 4;

/// Bytes of a piece between two notes of its progress; at most this many are fetched again after a crash.
const NOTE_BYTES: u64 = 1 << 20;

/// Bytes that are read and hashed at once.
const HASH_BYTES: u64 = 1 << 20;

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStage {
    /// Bytes are fetched over the network.
    Downloading,
    /// Bytes that were stored earlier are checked against their hash.
    Checking,
}

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchProgress {
    /// The name of what is fetched: a file, or a repository of several files.
    pub name: String,
    /// What the fetch is doing.
    pub stage: FetchStage,
    /// Bytes that are in the cache or were checked.
    pub bytes_done: u64,
    /// Bytes of all files together; 0 while a listing is fetched.
    pub bytes_total: u64,
    /// What went wrong and is tried again, as a sentence.
    pub trouble: Option<String>,
}

/// Milliseconds between two reports of bytes alone, so that drawing them does not keep the caller busy.
const TELL_MS: f64 = 50.0;

/// Counts the bytes of several files and reports progress.
pub(crate) struct Meter<'a> {
    now: RefCell<FetchProgress>,
    tell: RefCell<&'a mut dyn FnMut(FetchProgress)>,
    told_ms: Cell<f64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(name: &str, bytes_total: u64, tell: &'a mut dyn FnMut(FetchProgress)) -> Self {
        let now = FetchProgress {
            name: name.to_owned(),
            stage: FetchStage::Checking,
            bytes_done: 0,
            bytes_total,
            trouble: None,
        };
        Self { now: RefCell::new(now), tell: RefCell::new(tell), told_ms: Cell::new(f64::NEG_INFINITY) }
    }

    fn change(&self, change: impl FnOnce(&mut FetchProgress)) {
        change(&mut self.now.borrow_mut());
        self.told_ms.set(platform::now_ms());
        let now = self.now.borrow().clone();
        self.tell.borrow_mut()(now);
    }

    fn stage(&self, stage: FetchStage) {
        self.change(|now| now.stage = stage);
    }

    fn add(&self, bytes: u64) {
        let is_due = {
            let mut now = self.now.borrow_mut();
            now.bytes_done += bytes;
            let was_troubled = now.trouble.take().is_some();
            was_troubled || now.bytes_done == now.bytes_total
        };
        if is_due || platform::now_ms() - self.told_ms.get() >= TELL_MS {
            self.change(|_| {});
        }
    }

    /// Subtracts bytes that turned out to be useless.
    fn take_back(&self, bytes: u64) {
        self.change(|now| now.bytes_done = now.bytes_done.saturating_sub(bytes));
    }

    pub(crate) fn trouble(&self, sentence: String) {
        // The same trouble is reported once, however often it is tried again.
        if self.now.borrow().trouble.as_ref() != Some(&sentence) {
            self.change(|now| now.trouble = Some(sentence));
        }
    }
}

/// A line of the note beside a file that is being fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoteLine {
    /// The first line: what is fetched, with its size and those of its pieces in bytes.
    File {
        /// The repository's name.
        of: String,
        name: String,
        bytes: u64,
        pieces: Vec<u64>,
    },
    /// A piece's number, and how many bytes of it are there.
    Got(usize, u64),
    /// The last line, once the whole file was checked: the pieces' sha256.
    Done(Vec<String>),
}

impl NoteLine {
    /// The sizes of the pieces in bytes, where this is a first line.
    fn pieces(&self) -> Option<&[u64]> {
        match self {
            Self::File { pieces, .. } => Some(pieces),
            _ => None,
        }
    }
}

/// A note as it was read: its first line, the bytes of each piece that are there, and the pieces' sha256 where the
/// file is whole.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub head: Option<NoteLine>,
    pub got: Vec<u64>,
    pub done: Option<Vec<[u8; 32]>>,
}

impl Note {
    fn pieces(&self) -> Option<&[u64]> {
        self.head.as_ref()?.pieces()
    }

    /// Reads a note as far as its lines are whole: the last one may have been cut off.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut note = Self::default();
        for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let Ok(line) = serde_json::from_slice(line) else {
                break;
            };
            match line {
                NoteLine::File { ref pieces, .. } => {
                    note.got = vec![0; pieces.len()];
                    note.head = Some(line);
                }
                NoteLine::Got(piece, bytes) => {
                    if let Some(got) = note.got.get_mut(piece) {
                        *got = bytes;
                    }
                }
                NoteLine::Done(hashes) => note.done = hashes.iter().map(|hash| bytes_of(hash)).collect(),
            }
        }
        note
    }
}

/// A file on its way into the cache.
struct Partial<'a, 'm> {
    file: &'a RemoteFile,
    pieces: Vec<Piece>,
    data: RawFile,
    note: RawFile,
    note_end: Cell<u64>,
    /// For each piece: the bytes that are there, and the bytes that the note says.
    got: RefCell<Vec<(u64, u64)>>,
    meter: &'a Meter<'m>,
}

impl<'a, 'm> Partial<'a, 'm> {
    fn open(
        repository: &Repository,
        file: &'a RemoteFile,
        (data, note): (RawFile, RawFile),
        meter: &'a Meter<'m>,
    ) -> Result<Self, StoreError> {
        let pieces = file.pieces();
        let head = NoteLine::File {
            of: repository.name.clone(),
            name: file.name.clone(),
            bytes: file.bytes,
            pieces: pieces.iter().map(|piece| piece.bytes).collect(),
        };
        let known = Note::parse(&note.read(0, note.bytes()? as usize)?);
        let partial = Self {
            file,
            data,
            note,
            note_end: Cell::new(0),
            got: RefCell::new(vec![(0, 0); pieces.len()]),
            pieces,
            meter,
        };
        partial.note.truncate(0)?;
        partial.write_note(&head)?;
        if known.pieces() == head.pieces() {
            let there = partial.data.bytes()?;
            let mut start = 0;
            for (i, piece) in partial.pieces.iter().enumerate() {
                let got = known.got[i].min(piece.bytes).min(there.saturating_sub(start));
                if got > 0 {
                    partial.got.borrow_mut()[i] = (got, got);
                    partial.write_note(&NoteLine::Got(i, got))?;
                    meter.add(got);
                }
                start += piece.bytes;
            }
        } else {
            partial.data.truncate(0)?;
        }
        Ok(partial)
    }

    fn write_note(&self, line: &NoteLine) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(line).map_err(|e| self.note.failed(e))?;
        text.push(b'\n');
        self.note.write(self.note_end.get(), &text)?;
        self.note_end.set(self.note_end.get() + text.len() as u64);
        Ok(())
    }

    fn start(&self, piece: usize) -> u64 {
        self.pieces[..piece].iter().map(|piece| piece.bytes).sum()
    }

    /// Fetches the missing bytes of a piece.
    async fn fill(
        &self,
        piece: usize,
        token: Option<&Token>,
        cancel: &Cancel,
        trouble: &RefCell<dyn FnMut(String) + '_>,
    ) -> Result<(), StoreError> {
        let Piece { url, start, bytes, resource_bytes, .. } = &self.pieces[piece];
        let wanted =
            Wanted { name: &self.file.name, url, token, start: *start, bytes: *bytes, resource_bytes: *resource_bytes };
        let done = self.got.borrow()[piece].0;
        let sink = PieceSink { partial: self, piece, start: self.start(piece) };
        http::fetch(&wanted, done, &sink, cancel, trouble).await
    }

    fn forget(&self, piece: usize) -> Result<(), StoreError> {
        let (got, _) = std::mem::take(&mut self.got.borrow_mut()[piece]);
        self.meter.take_back(got);
        self.write_note(&NoteLine::Got(piece, 0))
    }

    /// The sha256 of a piece as it lies in the cache, and the hasher of all pieces up to it.
    async fn hash(&self, piece: usize, before: &Hasher) -> Result<([u8; 32], Hasher), StoreError> {
        let mut whole = before.clone();
        let mut at = self.start(piece);
        let end = at + self.pieces[piece].bytes;
        // A browser computes this hash elsewhere, while the loop below runs.
        let hash = self.data.sha256(at, self.pieces[piece].bytes as usize)?;
        while at < end {
            let bytes = self.data.read(at, HASH_BYTES.min(end - at) as usize)?;
            whole.update(&bytes);
            at += bytes.len() as u64;
        }
        Ok((hash.await?, whole))
    }

    /// Fetches every piece and hashes them in order. Gives the pieces' sha256; `Ok(None)` when the whole
    /// file does not have the hash that it should have.
    async fn fetch(&self, token: Option<&Token>, cancel: &Cancel) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        let tell = RefCell::new(|sentence: String| self.meter.trouble(sentence));
        let trouble: &RefCell<dyn FnMut(String)> = &tell;
        let mut whole = Hasher::like(&self.file.digest, self.file.bytes);
        let mut hashes = Vec::with_capacity(self.pieces.len());
        let (come, mut came) = mpsc::unbounded();
        let filled = stream::iter(0..self.pieces.len())
            .map(|piece| async move { self.fill(piece, token, cancel, trouble).await.map(|()| piece) })
            .buffered(IN_FLIGHT)
            .try_for_each(|piece| {
                // Nobody receives it only where hashing has failed; that error is reported.
                let _ = come.unbounded_send(piece);
                future::ready(Ok(()))
            });
        // Further pieces are fetched while one is hashed.
        let filled = async {
            let result = filled.await;
            come.close_channel();
            result
        };
        let hashed = async {
            while let Some(piece) = came.next().await {
                let (mut hash, mut up_to) = self.hash(piece, &whole).await?;
                let wanted = self.pieces[piece].sha256;
                if wanted.is_some_and(|wanted| wanted != hash) {
                    trouble.borrow_mut()(format!(
                        "{}: part {} is damaged; it is fetched again",
                        self.file.name,
                        piece + 1
                    ));
                    self.forget(piece)?;
                    self.fill(piece, token, cancel, trouble).await?;
                    (hash, up_to) = self.hash(piece, &whole).await?;
                }
                if let Some(wanted) = wanted.filter(|wanted| *wanted != hash) {
                    self.forget(piece)?;
                    return Err(mismatch(&self.file.name, hex(&wanted), hex(&hash)));
                }
                whole = up_to;
                hashes.push(hash);
            }
            Ok(())
        };
        future::try_join(filled, hashed).await?;
        self.data.truncate(self.file.bytes)?;
        Ok((whole.finish() == self.file.digest).then_some(hashes))
    }
}

struct PieceSink<'a, 'm> {
    partial: &'a Partial<'a, 'm>,
    piece: usize,
    /// Where the piece begins in the file.
    start: u64,
}

impl Sink for PieceSink<'_, '_> {
    async fn take(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let partial = self.partial;
        partial.data.write(self.start + at, bytes)?;
        let end = at + bytes.len() as u64;
        let due = {
            let mut got = partial.got.borrow_mut();
            let (there, noted) = &mut got[self.piece];
            *there = end;
            let due = end - *noted >= NOTE_BYTES || end == partial.pieces[self.piece].bytes;
            if due {
                *noted = end;
            }
            due
        };
        if due {
            partial.write_note(&NoteLine::Got(self.piece, end))?;
        }
        partial.meter.add(bytes.len() as u64);
        Ok(())
    }
}

fn mismatch(name: &str, expected: String, found: String) -> StoreError {
    StoreError::Mismatch { name: name.to_owned(), expected, found }
}

/// A file that the cache says is complete.
pub(crate) struct Cached {
    pub source: Source,
    /// Size in bytes and sha256 of each piece, as found when it was fetched. Empty where they are not known: then the
    /// whole file's digest is checked.
    pub pieces: Vec<(u64, [u8; 32])>,
}

impl Cached {
    /// Whether the bytes on disk are still those that were fetched.
    pub(crate) async fn is_sound(
        &self,
        file: &RemoteFile,
        cancel: &Cancel,
        meter: &Meter<'_>,
    ) -> Result<bool, StoreError> {
        if self.source.bytes() != file.bytes {
            return Ok(false);
        }
        meter.stage(FetchStage::Checking);
        let mut at = 0;
        let known = self.pieces.iter().map(|(bytes, _)| *bytes);
        if !self.pieces.is_empty() && known.eq(file.pieces().iter().map(|piece| piece.bytes)) {
            for &(bytes, wanted) in &self.pieces {
                cancel.check()?;
                if platform::sha256_of(&self.source, at, bytes as usize).await? != wanted {
                    meter.take_back(at);
                    return Ok(false);
                }
                meter.add(bytes);
                at += bytes;
            }
            return Ok(at == file.bytes);
        }
        let mut hash = Hasher::like(&file.digest, file.bytes);
        while at < file.bytes {
            cancel.check()?;
            let bytes = self.source.read(at, HASH_BYTES.min(file.bytes - at) as usize).await?;
            hash.update(&bytes);
            meter.add(bytes.len() as u64);
            at += bytes.len() as u64;
        }
        let sound = hash.finish() == file.digest;
        if !sound {
            meter.take_back(at);
        }
        Ok(sound)
    }
}

/// A file from the cache. It is fetched first where it is missing or damaged. A file that comes damaged
/// is fetched once more.
pub(crate) async fn obtain(
    shelf: &Shelf,
    repository: &Repository,
    file: &RemoteFile,
    token: Option<&Token>,
    cancel: &Cancel,
    meter: &Meter<'_>,
) -> Result<Source, StoreError> {
    let name = format!("{}/{}", repository.name, file.name);
    if let Some(cached) = shelf.cached(repository, file).await? {
        if cached.is_sound(file, cancel, meter).await? {
            return Ok(cached.source.named(&name).hashed(&cached.pieces));
        }
        meter.trouble(format!("{name}: what was stored is damaged; it is fetched again"));
    }
    let (data, note) = loop {
        cancel.check()?;
        if let Some(opened) = shelf.open_partial(repository, file).await? {
            break opened;
        }
        meter.trouble(format!("{name}: it is being fetched elsewhere on this machine; waiting for that"));
        platform::sleep(500.0).await;
    };
    // Another process may have finished the file while this one waited. From here on nobody else writes to it.
    if let Some(cached) = shelf.cached(repository, file).await? {
        if cached.is_sound(file, cancel, meter).await? {
            if shelf.keeps_partials_apart() {
                shelf.release(file, data, note).await?;
            }
            return Ok(cached.source.named(&name).hashed(&cached.pieces));
        }
        shelf.forget(repository, file).await?;
    }
    meter.stage(FetchStage::Downloading);
    let partial = Partial::open(repository, file, (data, note), meter)?;
    let mut hashes = partial.fetch(token, cancel).await?;
    if hashes.is_none() {
        meter.trouble(format!("{name}: it came damaged or changed meanwhile; it is fetched again"));
        for piece in 0..partial.pieces.len() {
            partial.forget(piece)?;
        }
        hashes = partial.fetch(token, cancel).await?;
    }
    let Some(hashes) = hashes else {
        let Partial { data, note, .. } = partial;
        shelf.release(file, data, note).await?;
        return Err(mismatch(&name, file.digest.hex(), "other bytes, twice".to_owned()));
    };
    partial.write_note(&NoteLine::Done(hashes.iter().map(|hash| hex(hash)).collect()))?;
    let pieces: Vec<_> = partial.pieces.iter().map(|piece| piece.bytes).zip(hashes).collect();
    let source = shelf.finish(repository, file, partial.data, partial.note).await?;
    Ok(source.named(&name).hashed(&pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_far_as_it_is_whole() {
        let head = NoteLine::File { of: "a/b".to_owned(), name: "f".to_owned(), bytes: 30, pieces: vec![20, 10] };
        let mut text = serde_json::to_string(&head).expect("JSON") + "\n";
        text += "{\"got\":[0,5]}\n{\"got\":[1,10]}\n{\"got\":[0,20]}\n{\"got\":[1,0]";
        let note = Note::parse(text.as_bytes());
        assert_eq!(note.head, Some(head));
        assert_eq!(note.got, [20, 10]);
        assert!(note.done.is_none());
        let done = format!("{text}}}\n{{\"done\":[\"{}\",\"{}\"]}}\n", "00".repeat(32), "11".repeat(32));
        let note = Note::parse(done.as_bytes());
        assert_eq!((note.got, note.done), (vec![20, 0], Some(vec![[0; 32], [0x11; 32]])));
    }
}
