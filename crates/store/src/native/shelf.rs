use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{RawFile, failed};
use crate::digest::{Digest, Hasher};
use crate::download::Cached;
use crate::http::Token;
use crate::remote::{About, Origin, Place, RemoteFile, Repository, RepositoryId, RepositoryKind};
use crate::{HUB, Hub, Source, Store, StoreError};

/// The cache folder that the Hub's tools share. Each repository has a folder `models--owner--name` with
/// files by hash (`blobs`), links to them by commit (`snapshots`), and the commits of branches (`refs`).
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
    offline: bool,
}

impl Store {
    /// A store of the Hub and the cache that the environment names. The variables are those of the
    /// Hub's own tools: `HF_ENDPOINT`, `HF_TOKEN` (otherwise the token stored at login),
    /// `HF_HUB_CACHE`, `HF_HOME`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// When `HF_ENDPOINT` is not an address, or nothing tells where the cache folder is.
    pub fn from_environment() -> Result<Self, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
        let hf_home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cache")))?;
            Some(cache.join("huggingface"))
        });
        let folder = variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(hf_home.clone()?.join("hub")));
        let folder = folder.ok_or_else(|| StoreError::Read {
            name: "the Hub's cache".to_owned(),
            reason: "there is no home folder; say where with HF_HOME".to_owned(),
        })?;
        let logged_in = || {
            let path = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(hf_home?.join("token")))?;
            std::fs::read_to_string(path).ok()
        };
        let token = variable("HF_TOKEN").or_else(logged_in).and_then(|text| Token::new(&text));
        let yes = |value: String| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
        let offline = variable("HF_HUB_OFFLINE").is_some_and(yes);
        let hub = Hub::new(&variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()), token)?;
        Ok(Self::new(hub, Shelf { folder, offline }))
    }
}

impl Shelf {
    /// A cache in this folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), offline: false }
    }

    fn repository_folder(&self, kind: RepositoryKind, name: &str) -> PathBuf {
        self.folder.join(format!("{}--{}", kind.plural(), name.replace('/', "--")))
    }

    fn place(&self, repository: &Repository) -> Result<(PathBuf, PathBuf), StoreError> {
        match &repository.origin {
            Origin::Hub { kind, id, commit } => {
                let folder = self.repository_folder(*kind, &id.name);
                let snapshot = folder.join("snapshots").join(commit);
                Ok((folder, snapshot))
            }
            Origin::Site => Err(StoreError::Read {
                name: repository.name.clone(),
                reason: "a Hub id or a folder was expected, a site's address was found".to_owned(),
            }),
        }
    }

    /// Whether files made from fetched ones are cached. Never here: the Hub's tools share the cache, and do not know such
    /// files.
    pub(crate) async fn keeps_derived(&self) -> bool {
        false
    }

    /// Whether a partial file is another file than the whole one. Here it lies beside it.
    pub(crate) fn keeps_partials_apart(&self) -> bool {
        true
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// A stored document. None is kept here: snapshots tell what there is.
    pub(crate) async fn document(&self, _key: &str) -> Option<Vec<u8>> {
        None
    }

    pub(crate) async fn cache_document(&self, _key: &str, _bytes: &[u8]) {}

    /// The repository as its snapshot in the cache has it; `None` where the cache has no file of it.
    pub(crate) async fn offline(&self, kind: RepositoryKind, id: &RepositoryId) -> Option<Repository> {
        let folder = self.repository_folder(kind, &id.name);
        let known = std::fs::read_to_string(folder.join("refs").join(&id.revision)).ok();
        let commit = known.map_or_else(|| id.revision.clone(), |commit| commit.trim().to_owned());
        let mut found = BTreeMap::new();
        collect(&folder.join("snapshots").join(&commit), "", &mut found);
        let files: Vec<RemoteFile> = found.into_iter().filter_map(|(name, path)| local_file(name, &path)).collect();
        let origin = Origin::Hub { kind, id: id.clone(), commit };
        (!files.is_empty()).then(|| Repository { name: id.name.clone(), origin, unreached: None, files })
    }

    /// Refuses nothing: a disk itself reports when it is full.
    pub(crate) async fn refuse_larger(
        &self,
        _repository: &Repository,
        _files: &[&RemoteFile],
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// What to do when there is no room.
    pub(crate) async fn advice(&self, _wanted: &[&RemoteFile]) -> String {
        format!("free some space for {}, or choose another place with HF_HOME", self.folder.display())
    }

    /// The file as the cache has it, before any check; `None` where the cache does not have it whole.
    pub(crate) async fn cached(
        &self,
        repository: &Repository,
        file: &RemoteFile,
    ) -> Result<Option<Cached>, StoreError> {
        let (folder, snapshot) = self.place(repository)?;
        let places = [folder.join("blobs").join(file.digest.hex()), snapshot.join(&file.name)];
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        self.link(repository, file)?;
        Ok(Some(Cached { source: Source::file(&path)?, pieces: Vec::new() }))
    }

    /// Opens the file's partial data and the note beside it; `None` when another process has them open.
    pub(crate) async fn open_partial(
        &self,
        repository: &Repository,
        file: &RemoteFile,
    ) -> Result<Option<(RawFile, RawFile)>, StoreError> {
        if matches!(file.place, Place::Cache) {
            return Err(StoreError::Read {
                name: format!("{}/{}", repository.name, file.name),
                reason: "the stored file is damaged, and the Hub cannot be reached for another".to_owned(),
            });
        }
        let blob = self.place(repository)?.0.join("blobs").join(file.digest.hex());
        let Some(data) = RawFile::open(&blob.with_extension("rewardscope"))? else {
            return Ok(None);
        };
        Ok(RawFile::open(&blob.with_extension("rewardscope-note"))?.map(|note| (data, note)))
    }

    /// Makes a finished partial the whole file.
    pub(crate) async fn finish(
        &self,
        repository: &Repository,
        file: &RemoteFile,
        data: RawFile,
        note: RawFile,
    ) -> Result<Source, StoreError> {
        let path = data.path().with_extension("");
        data.flush()?;
        // Both locks are still held, so the bytes that are renamed are those that were hashed.
        std::fs::rename(data.path(), &path).map_err(|e| failed(&path, e))?;
        remove(note.path())?;
        self.link(repository, file)?;
        Source::file(&path)
    }

    /// Makes the file's link in its snapshot, and the branch's reference to the commit.
    fn link(&self, repository: &Repository, file: &RemoteFile) -> Result<(), StoreError> {
        let (folder, snapshot) = self.place(repository)?;
        let Origin::Hub { id, commit, .. } = &repository.origin else {
            return Ok(());
        };
        let write = |path: PathBuf, text: &str| {
            if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
                return Ok(());
            }
            let parent = path.parent().unwrap_or(&folder);
            std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text)).map_err(|e| failed(&path, e))
        };
        if id.revision != *commit {
            write(folder.join("refs").join(&id.revision), commit)?;
        }
        let link = snapshot.join(&file.name);
        if link.exists() {
            return Ok(());
        }
        let parent = link.parent().unwrap_or(&snapshot).to_owned();
        std::fs::create_dir_all(&parent).map_err(|e| failed(&parent, e))?;
        let up = "../".repeat(2 + file.name.matches('/').count());
        let target = format!("{up}blobs/{}", file.digest.hex());
        match symlink(Path::new(&target), &link) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(failed(&link, e)),
        }
    }

    /// Removes a damaged file. The caller holds the partial's lock.
    pub(crate) async fn forget(&self, repository: &Repository, file: &RemoteFile) -> Result<(), StoreError> {
        let (folder, snapshot) = self.place(repository)?;
        remove(&folder.join("blobs").join(file.digest.hex()))?;
        remove(&snapshot.join(&file.name))
    }

    /// Removes a useless partial, while its lock is still held.
    pub(crate) async fn release(&self, _file: &RemoteFile, data: RawFile, note: RawFile) -> Result<(), StoreError> {
        remove(note.path())?;
        remove(data.path())
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(path, e)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// On Windows ordinary users may not make symbolic links, so the snapshot gets a hard link.
#[cfg(not(unix))]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    let folder = link.parent().unwrap_or(Path::new("."));
    std::fs::hard_link(folder.join(target), link)
}

/// Collects the files below a folder, at any depth, by their path below it.
fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{name}/"), found);
        } else if path.is_file() {
            found.insert(name, path);
        }
    }
}

/// A file of a snapshot. The name of the blob that it links to is its hash; a file that is no link is hashed here.
fn local_file(name: String, path: &Path) -> Option<RemoteFile> {
    let bytes = std::fs::metadata(path).ok()?.len();
    let blob = std::fs::read_link(path).ok();
    let named = blob.as_deref().and_then(Path::file_name).and_then(|hash| Digest::parse(&hash.to_string_lossy()));
    let digest = match named {
        Some(digest) => digest,
        None => {
            let mut hash = Hasher::sha256();
            let mut file = std::fs::File::open(path).ok()?;
            let mut chunk = vec![0; 1 << 20];
            loop {
                match std::io::Read::read(&mut file, &mut chunk).ok()? {
                    0 => break hash.finish(),
                    len => hash.update(&chunk[..len]),
                }
            }
        }
    };
    Some(RemoteFile { name, bytes, about: About::default(), digest, place: Place::Cache })
}
