//! The store: gets files through the cache by a Hub id or a site's manifest.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use crate::digest::{hex, sha256};
use crate::download::{FetchProgress, Meter, obtain};
use crate::http::{Token, fetch_small, ranged_bytes};
use crate::platform::Shelf;
use crate::remote::{HubListing, Manifest, Origin, PARTS_FILE, Place, Repository, RepositoryId, RepositoryKind};
use crate::remote_source::Remote;
use crate::{Cancel, Source, StoreError};

/// The Hub's own address.
pub const HUB: &str = "https://huggingface.co";

/// Attempts at a small document of which no earlier copy is stored.
const LISTING_ATTEMPTS: u32 = 5;

/// A Hub's address, and the access token to use there.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<Token>,
}

impl Hub {
    /// A Hub by its address, such as [`HUB`] or a mirror's.
    ///
    /// # Errors
    /// When the address is not an `http` or `https` address of a host.
    pub fn new(endpoint: &str, token: Option<Token>) -> Result<Self, StoreError> {
        let endpoint = endpoint.trim().trim_end_matches('/');
        let web = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if web.is_none_or(|host| host.is_empty() || host.contains(|c: char| c.is_whitespace() || "?#@".contains(c))) {
            return Err(StoreError::Read {
                name: endpoint.chars().take(200).collect(),
                reason: format!("a Hub's address such as {HUB} was expected"),
            });
        }
        Ok(Self { endpoint: endpoint.to_owned(), token })
    }

    fn listing_url(&self, kind: RepositoryKind, id: &RepositoryId) -> String {
        let revision = encoded(&id.revision, b"");
        format!("{}/api/{}/{}/revision/{revision}?blobs=true", self.endpoint, kind.plural(), id.name)
    }

    fn file_url(&self, kind: RepositoryKind, id: &RepositoryId, commit: &str, file: &str) -> String {
        let folder = match kind {
            RepositoryKind::Model => "",
            RepositoryKind::Dataset => "datasets/",
        };
        format!("{}/{folder}{}/resolve/{commit}/{}", self.endpoint, id.name, encoded(file, b"/"))
    }
}

/// Whether a name is a web address: it begins with `https://` or `http://`.
pub fn is_address(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// A text as part of an address. Bytes other than letters, digits, `-_.~` and those in `kept` become `%XX`.
fn encoded(text: &str, unchanged: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut url, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || unchanged.contains(&byte) {
            url.push(byte as char);
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}

/// Gets files that lie elsewhere through the cache of this machine or browser.
///
/// ```no_run
/// use rewardscope_store::{Cancel, RepositoryId, RepositoryKind, Store, StoreError};
///
/// # fn main() -> Result<(), StoreError> {
/// let (store, cancel) = (Store::from_environment()?, Cancel::default());
/// let id: RepositoryId = "allenai/reward-bench-2".parse()?;
/// let sources = pollster::block_on(async {
///     let repository = store.repository(RepositoryKind::Dataset, &id, &cancel, &mut |_| {}).await?;
///     let names: Vec<String> = repository.files.iter().map(|file| file.name.clone()).collect();
///     store.fetch(&repository, &names, &cancel, &mut |progress| println!("{} bytes", progress.bytes_done)).await
/// })?;
/// println!("{} files", sources.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    hub: Hub,
    shelf: Shelf,
}

impl Store {
    /// A store that gets files of this Hub and keeps them in this cache.
    pub fn new(hub: Hub, shelf: Shelf) -> Self {
        Self { hub, shelf }
    }

    /// Lists a Hub repository at a revision. Where the Hub cannot be reached, lists what the cache has
    /// of it.
    ///
    /// # Errors
    /// When there is no such repository, it may not be read, or the Hub cannot be reached and nothing
    /// of it is in the cache.
    pub async fn repository(
        &self,
        kind: RepositoryKind,
        id: &RepositoryId,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Repository, StoreError> {
        let url = self.hub.listing_url(kind, id);
        let shown = id.to_string();
        let parse = |json: &[u8]| HubListing::parse(&shown, json).map(|listing| (listing, json.to_vec()));
        // What a commit holds never changes, so that nobody has to be asked for it again.
        let known = if id.is_commit() { self.known(&url, parse).await } else { None };
        let listed = match known {
            Some(listing) => Ok(listing),
            None => self.listing(&shown, &url, self.hub.token.as_ref(), parse, cancel, progress).await,
        };
        let (listing, json) = match listed {
            Ok(found) => found,
            Err(StoreError::Cancelled(cancelled)) => return Err(cancelled.into()),
            // The native cache may hold repositories that other programs fetched.
            Err(error) => match self.shelf.offline(kind, id).await {
                Some(repository) => {
                    Meter::new(&shown, 0, progress).trouble(format!("{error}; going on with what the cache has"));
                    return Ok(Repository { unreached: Some(error.to_string()), ..repository });
                }
                None => return Err(error),
            },
        };
        let commit = listing.sha.clone();
        let pinned = RepositoryId { revision: commit.clone(), ..id.clone() };
        if pinned.is_commit() && !id.is_commit() {
            self.shelf.cache_document(&document_key(&self.hub.listing_url(kind, &pinned)), &json).await;
        }
        let files = listing.files(|file| self.hub.file_url(kind, id, &commit, file).into());
        let origin = Origin::Hub { kind, id: id.clone(), commit };
        let repository = Repository { name: id.name.clone(), origin, unreached: None, files };
        self.with_parts(repository, cancel, progress).await
    }

    /// Lists a folder of files in parts, by the address of its manifest.
    ///
    /// # Errors
    /// When the manifest cannot be fetched or is not valid.
    pub async fn site(
        &self,
        manifest_url: &str,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Repository, StoreError> {
        let parse = |json: &[u8]| Manifest::parse(manifest_url, json);
        let manifest = self.listing(manifest_url, manifest_url, None, parse, cancel, progress).await?;
        let folder = manifest_url.rsplit_once('/').map_or("", |(folder, _)| folder);
        let files = manifest.files(|part| format!("{folder}/{}", encoded(part, b"")).into());
        let name = folder.rsplit('/').next().unwrap_or(folder).to_owned();
        Ok(Repository { name, origin: Origin::Site, unreached: None, files })
    }

    /// Replaces the parts in a repository by the files that they make, where it has a manifest of parts.
    async fn with_parts(
        &self,
        mut repository: Repository,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Repository, StoreError> {
        if repository.get(PARTS_FILE).is_err() {
            return Ok(repository);
        }
        let sources = self.fetch(&repository, &[PARTS_FILE.to_owned()], cancel, progress).await?;
        for source in sources {
            let manifest = Manifest::parse(source.name(), &source.read_all().await?)?;
            let places: BTreeMap<&str, &Place> =
                repository.files.iter().map(|file| (file.name.as_str(), &file.place)).collect();
            let files = manifest.files(|part| match places.get(part) {
                Some(Place::Ranges(url)) => url.clone(),
                _ => Arc::from(""),
            });
            let parts: BTreeSet<&str> =
                manifest.files.iter().flat_map(|file| file.parts.iter().map(|part| part.name.as_str())).collect();
            if let Some(missing) = parts.iter().find(|part| !places.contains_key(*part)) {
                return Err(StoreError::Missing {
                    folder: repository.name.clone(),
                    file: (*missing).to_owned(),
                    found: "a manifest that names it".to_owned(),
                });
            }
            repository.files.retain(|file| file.name != PARTS_FILE && !parts.contains(file.name.as_str()));
            repository.files.extend(files);
        }
        Ok(repository)
    }

    /// The small document of an address as it was stored when it last came whole.
    async fn known<T>(&self, url: &str, parse: impl Fn(&[u8]) -> Result<T, StoreError>) -> Option<T> {
        self.shelf.document(&document_key(url)).await.and_then(|json| parse(&json).ok())
    }

    /// Fetches and parses a small document. Where that fails, uses the copy that was stored when it last came whole.
    async fn listing<T>(
        &self,
        name: &str,
        url: &str,
        token: Option<&Token>,
        parse: impl Fn(&[u8]) -> Result<T, StoreError>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<T, StoreError> {
        let known = self.known(url, &parse).await;
        let meter = Meter::new(name, 0, progress);
        let tell = RefCell::new(|sentence: String| meter.trouble(sentence));
        if self.shelf.is_offline() {
            return known.ok_or_else(|| StoreError::Read {
                name: name.to_owned(),
                reason: "this machine is set to be offline, and nothing of it was stored earlier".to_owned(),
            });
        }
        let attempts = if known.is_some() { 2 } else { LISTING_ATTEMPTS };
        let fetched = match fetch_small(name, url, token, attempts, cancel, &tell).await {
            Ok(json) => parse(&json).map(|parsed| (json, parsed)),
            Err(error) => Err(error),
        };
        match fetched {
            Ok((json, parsed)) => {
                self.shelf.cache_document(&document_key(url), &json).await;
                Ok(parsed)
            }
            Err(StoreError::Cancelled(cancelled)) => Err(cancelled.into()),
            Err(error) => known.ok_or(error),
        }
    }

    /// Gets files of a repository, from the cache or over the network, each checked against its hash.
    ///
    /// # Errors
    /// When a file cannot be fetched whole. What came of it stays, and the next call goes on from there.
    pub async fn fetch(
        &self,
        repository: &Repository,
        names: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Vec<Source>, StoreError> {
        let files: Vec<_> = names.iter().map(|name| repository.get(name)).collect::<Result<_, _>>()?;
        self.shelf.refuse_larger(repository, &files).await?;
        let meter = Meter::new(&fetched_name(repository, names), files.iter().map(|file| file.bytes).sum(), progress);
        // A site's own files need no token, and must not see one.
        let token = match repository.origin {
            Origin::Hub { .. } => self.hub.token.as_ref(),
            Origin::Site => None,
        };
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            match obtain(&self.shelf, repository, file, token, cancel, &meter).await {
                Ok(source) => sources.push(source.come_from(repository.origin_of(&file.name))),
                Err(StoreError::OutOfSpace { found, .. }) => {
                    let name = format!("{}/{}", repository.name, file.name);
                    return Err(StoreError::OutOfSpace { name, found, advice: self.shelf.advice(&[file]).await });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sources)
    }

    /// A file of a repository, to be read by range. Nothing of it is kept, and nothing is checked
    /// against its hash. Where the cache has it whole, it is read there.
    ///
    /// # Errors
    /// When there is no such file, or the Hub cannot be reached and the cache does not have it whole.
    pub async fn by_range(&self, repository: &Repository, name: &str) -> Result<Source, StoreError> {
        let file = repository.get(name)?;
        let shown = format!("{}/{}", repository.name, file.name);
        let origin = repository.origin_of(&file.name);
        // The native cache refuses a site's own files.
        if let Ok(Some(cached)) = self.shelf.cached(repository, file).await
            && cached.source.bytes() == file.bytes
        {
            return Ok(cached.source.named(&shown).come_from(origin));
        }
        let token = match repository.origin {
            Origin::Hub { .. } => self.hub.token.clone(),
            Origin::Site => None,
        };
        let part = |url: &Arc<str>, bytes: u64| Remote { url: url.clone(), token: token.clone(), bytes }.source(&shown);
        match &file.place {
            Place::Ranges(url) => Ok(part(url, file.bytes).come_from(origin)),
            Place::Parts(pieces) => {
                let parts = pieces.iter().map(|piece| part(&piece.url, piece.bytes));
                Ok(Source::joined(shown.as_str(), parts).come_from(origin))
            }
            Place::Cache => Err(StoreError::Missing {
                folder: repository.name.clone(),
                file: file.name.clone(),
                found: "not all of it, and the Hub could not be asked".to_owned(),
            }),
        }
    }

    /// A file at any web address, to be read by range. Where the server sends no ranges, a small file is
    /// fetched whole into memory. No token is sent there.
    ///
    /// # Errors
    /// When the text is not a web address, or nothing can be fetched there.
    pub async fn address(
        &self,
        url: &str,
        cancel: &Cancel,
        progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Source, StoreError> {
        let shown: String = url.split(['?', '#']).next().unwrap_or(url).chars().take(1000).collect();
        if !is_address(url) || url.contains(char::is_whitespace) {
            let reason = "an address that begins with https:// or http:// was expected".to_owned();
            return Err(StoreError::Read { name: shown, reason });
        }
        if self.shelf.is_offline() {
            let reason = "this machine is set to be offline".to_owned();
            return Err(StoreError::Read { name: shown, reason });
        }
        let meter = Meter::new(&shown, 0, progress);
        let tell = RefCell::new(|sentence: String| meter.trouble(sentence));
        match ranged_bytes(&shown, url, None, cancel, &tell).await? {
            Some(bytes) => Ok(Remote { url: url.into(), token: None, bytes }.source(&shown)),
            None => {
                let bytes = fetch_small(&shown, url, None, LISTING_ATTEMPTS, cancel, &tell).await?;
                Ok(Source::memory(shown, bytes))
            }
        }
    }

    /// The cache.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }
}

/// The key under which the document of an address is stored.
fn document_key(url: &str) -> String {
    hex(&sha256(url.as_bytes()))
}

/// The name of what is fetched: a repository, or one file of several.
fn fetched_name(repository: &Repository, names: &[String]) -> String {
    match names {
        [only] if repository.files.len() > 1 => format!("{}/{only}", repository.name),
        _ => repository.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_hubs() {
        let hub = Hub::new("https://hub.test/", None).expect("an address");
        let id: RepositoryId = "a/b@refs/pr/1".parse().expect("an id");
        assert_eq!(
            hub.listing_url(RepositoryKind::Model, &id),
            "https://hub.test/api/models/a/b/revision/refs%2Fpr%2F1?blobs=true"
        );
        assert_eq!(
            hub.file_url(RepositoryKind::Dataset, &id, "c0ffee", "data/x y#1.parquet"),
            "https://hub.test/datasets/a/b/resolve/c0ffee/data/x%20y%231.parquet"
        );
        for wrong in ["", "ftp://x", "https://", "huggingface.co", "https://user@host", "https://a b"] {
            assert!(Hub::new(wrong, None).is_err(), "{wrong}");
        }
    }
}
