//! Files that were made from fetched ones and are kept beside them. They are found again by what they
//! were made from, and checked when they are read, like any other file of the cache.

use std::sync::Arc;

use crate::digest::{Digest, hex, sha256};
use crate::download::{Meter, NoteLine};
use crate::platform::RawFile;
use crate::remote::{About, Place, RemoteFile, Repository};
use crate::{Cancel, FetchProgress, Source, Store, StoreError};

/// Names a file that is made from files of a repository: what it is made from, and how.
#[derive(Debug, Clone)]
pub struct Recipe {
    repository: Repository,
    file: RemoteFile,
}

impl Repository {
    /// The recipe of a file called `name`. It is made from the files of this repository that `made_of`
    /// accepts, in the way that `how` names: another text in `how` is another file.
    pub fn recipe(&self, made_of: impl Fn(&str) -> bool, how: &str, name: String) -> Recipe {
        let files = self.files.iter().filter(|file| made_of(&file.name));
        let parts: String = files.map(|file| format!("{} {}\n", file.digest.hex(), file.name)).collect();
        let digest = Digest::Sha256(sha256(format!("{how}\n{parts}").as_bytes()));
        let place = Place::Ranges(Arc::from(""));
        Recipe { repository: self.clone(), file: RemoteFile { name, bytes: 0, about: About::default(), digest, place } }
    }
}

/// A file made from fetched ones that is being written.
pub struct Derived {
    store: Store,
    recipe: Recipe,
    data: RawFile,
    note: RawFile,
    end: u64,
}

impl Store {
    /// The file of a recipe; `None` where the cache does not have it whole and undamaged.
    pub async fn derived(
        &self,
        recipe: &Recipe,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Option<Source> {
        let cached = self.shelf().cached(&recipe.repository, &recipe.file).await.ok()??;
        let file = RemoteFile { bytes: cached.source.bytes(), ..recipe.file.clone() };
        let meter = Meter::new(&recipe.repository.name, file.bytes, progress);
        let is_sound = cached.is_sound(&file, cancel, &meter).await.ok()?;
        is_sound.then(|| cached.source.named(&format!("{}/{}", recipe.repository.name, file.name)))
    }

    /// Begins the file of a recipe, which will have `bytes` bytes. `None` where this cache keeps no such
    /// files, has no room for it, or somebody else is writing it.
    pub async fn cache_derived(&self, recipe: &Recipe, bytes: u64) -> Option<Derived> {
        if !self.shelf().keeps_derived().await {
            return None;
        }
        let recipe = Recipe { file: RemoteFile { bytes, ..recipe.file.clone() }, ..recipe.clone() };
        self.shelf().refuse_larger(&recipe.repository, &[&recipe.file]).await.ok()?;
        let (data, note) = self.shelf().open_partial(&recipe.repository, &recipe.file).await.ok()??;
        data.truncate(0).and_then(|()| note.truncate(0)).ok()?;
        Some(Derived { store: self.clone(), recipe, data, note, end: 0 })
    }
}

impl Derived {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// When they cannot be written, such as for lack of room.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.data.write(self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file. From here on [`Store::derived`] finds it.
    ///
    /// # Errors
    /// When more or fewer bytes were written than promised, or they cannot be read back.
    pub async fn finish(self) -> Result<(), StoreError> {
        let Self { store, recipe, data, note, end } = self;
        let Recipe { repository, file } = recipe;
        if end != file.bytes {
            let reason = format!("{} bytes were expected, {end} were written", file.bytes);
            return Err(StoreError::Read { name: file.name, reason });
        }
        let pieces: Vec<u64> = file.pieces().iter().map(|piece| piece.bytes).collect();
        let (mut hashes, mut start) = (Vec::with_capacity(pieces.len()), 0);
        for &bytes in &pieces {
            hashes.push(hex(&data.sha256(start, bytes as usize)?.await?));
            start += bytes;
        }
        let got = pieces.iter().enumerate().map(|(place, &bytes)| NoteLine::Got(place, bytes));
        let of = repository.name.clone();
        let head = NoteLine::File { of, name: file.name.clone(), bytes: end, pieces: pieces.clone() };
        let mut text = Vec::new();
        for line in [head].into_iter().chain(got).chain([NoteLine::Done(hashes)]) {
            serde_json::to_writer(&mut text, &line).map_err(|e| note.failed(e))?;
            text.push(b'\n');
        }
        note.write(0, &text)?;
        store.shelf().finish(&repository, &file, data, note).await.map(drop)
    }

    /// Removes what was written.
    pub async fn discard(self) {
        let Self { store, recipe, data, note, .. } = self;
        // A file that cannot be removed is overwritten next time.
        let _ = store.shelf().release(&recipe.file, data, note).await;
    }
}
