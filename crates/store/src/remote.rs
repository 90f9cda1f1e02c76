//! Lists what can be fetched: repositories of the Hub, and folders of files in parts with a manifest.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, bytes_of};
use crate::{HASHED_BYTES as PIECE_BYTES, StoreError};

/// Most bytes of a part: a part is hashed in one go.
const MOST_PART_BYTES: u64 = 64 << 20;

/// Most bytes of a file, more than any file here has. A listing's size is only a promise.
const MOST_FILE_BYTES: u64 = 1 << 44;

/// What a Hub repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryKind {
    /// A model: weights, configuration, tokenizer.
    Model,
    /// A dataset: files of rows.
    Dataset,
}

impl RepositoryKind {
    /// The word in the Hub's addresses and in the names of cache folders.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// The name of a repository of the Hub, with an optional revision and file:
/// `owner/name[@revision][:file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryId {
    /// `owner/name`.
    pub name: String,
    /// A branch, tag or commit; `main` where none is named.
    pub revision: String,
    /// A file's path in the repository.
    pub file: Option<String>,
}

impl RepositoryId {
    /// Whether the revision is a whole commit, so that what it holds never changes.
    pub(crate) fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl FromStr for RepositoryId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::Read {
            name: text.chars().take(200).collect(),
            reason: "owner/name, with an optional @revision and :file, was expected".to_owned(),
        };
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file.to_owned())),
            None => (text, None),
        };
        let (name, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let plain = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !part.is_empty() && part.len() <= 96 && part.bytes().all(known) && !part.starts_with(['.', '-'])
        };
        let mut parts = name.split('/');
        let named = parts.next().is_some_and(plain) && parts.next().is_some_and(plain) && parts.next().is_none();
        let revised = revision.split('/').all(plain) && revision.len() <= 200;
        if !named || !revised || !file.as_deref().is_none_or(is_path_below) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), revision: revision.to_owned(), file })
    }
}

impl std::fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        match &self.file {
            Some(file) => write!(f, ":{file}"),
            None => Ok(()),
        }
    }
}

/// Whether a path from a listing or manifest stays below its folder.
fn is_path_below(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']) && part.len() <= 255
    };
    path.len() <= 1000 && path.split('/').all(plain)
}

/// Files that can be fetched, each with its hash.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The name: `owner/name`, or that of the manifest's folder.
    pub name: String,
    pub(crate) origin: Origin,
    /// Why the Hub could not be asked, where the files are those of the cache.
    pub(crate) unreached: Option<String>,
    /// The files. Those that a Hub listing names are ordered by name.
    pub files: Vec<RemoteFile>,
}

#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Hub {
        // The native cache's folder depends on the kind.
        #[cfg_attr(target_family = "wasm", allow(dead_code, reason = "the browser's cache goes by content"))]
        kind: RepositoryKind,
        id: RepositoryId,
        commit: String,
    },
    /// A manifest at an address.
    Site,
}

impl Repository {
    /// The name of one of its files that holds on any machine, `owner/name@commit:file`; `None` where it is not on the
    /// Hub.
    pub(crate) fn origin_of(&self, file: &str) -> Option<String> {
        match &self.origin {
            Origin::Hub { id, commit, .. } => Some(format!("{}@{commit}:{file}", id.name)),
            Origin::Site => None,
        }
    }

    /// The file of this name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; it says what there is instead.
    pub fn get(&self, name: &str) -> Result<&RemoteFile, StoreError> {
        self.files.iter().find(|file| file.name == name).ok_or_else(|| StoreError::Missing {
            folder: self.name.clone(),
            file: name.to_owned(),
            found: {
                let found = match self.files.len() {
                    0 => "no files".to_owned(),
                    n if n > 8 => format!("{n} others"),
                    _ => self.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", "),
                };
                match &self.unreached {
                    Some(reason) => format!("{found} in the cache, and the Hub could not be asked ({reason})"),
                    None => found,
                }
            },
        })
    }
}

/// A file that can be fetched.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    /// The file's path in the repository.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Where the file comes from and under which terms, where a manifest says so.
    pub about: About,
    pub(crate) digest: Digest,
    pub(crate) place: Place,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// One address, fetched by range.
    Ranges(Arc<str>),
    /// An address for each part.
    Parts(Vec<Piece>),
    /// The cache only: the Hub cannot be reached.
    #[cfg_attr(target_family = "wasm", allow(dead_code, reason = "the browser's cache has no files of others"))]
    Cache,
}

impl RemoteFile {
    /// The pieces that are fetched and checked one by one.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        match &self.place {
            Place::Ranges(url) => (0..self.bytes.div_ceil(PIECE_BYTES))
                .map(|i| Piece {
                    url: url.clone(),
                    start: i * PIECE_BYTES,
                    bytes: PIECE_BYTES.min(self.bytes - i * PIECE_BYTES),
                    resource_bytes: self.bytes,
                    sha256: None,
                })
                .collect(),
            Place::Parts(pieces) => pieces.clone(),
            Place::Cache => Vec::new(),
        }
    }
}

/// What a manifest says about a file's origin and terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The licence as an SPDX expression.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Whose work the file is, where it was taken from, and what was changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attribution: String,
    /// What a reader should know before opening the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warning: String,
}

/// A run of a file's bytes that is fetched and checked as one.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub url: Arc<str>,
    /// The piece's first byte in the resource at the address.
    pub start: u64,
    pub bytes: u64,
    /// Bytes of the whole resource at the address.
    pub resource_bytes: u64,
    pub sha256: Option<[u8; 32]>,
}

/// The file name of a folder's manifest of parts.
pub const PARTS_FILE: &str = "parts.json";

/// A list of files that are stored in parts, each part small enough for any static host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's name, [`Manifest::FORMAT`].
    pub format: String,
    /// The files in parts.
    pub files: Vec<ManifestFile>,
}

/// A file in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The file's name.
    pub name: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The sha256 of the whole file, in hexadecimal digits.
    pub sha256: String,
    /// The parts, in order.
    pub parts: Vec<ManifestPart>,
    /// The file's origin and terms.
    #[serde(flatten)]
    pub about: About,
}

/// A part of a file: a file of its own beside the manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestPart {
    /// The part's file name.
    pub name: String,
    /// The part's size in bytes.
    pub bytes: u64,
    /// The part's sha256, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// The value of a manifest's `format`.
    pub const FORMAT: &str = "rewardscope-parts-1";

    /// Reads a manifest, and checks the names, sizes and hashes that later steps rely on. `name` is for messages.
    ///
    /// # Errors
    /// [`StoreError::Format`] when the manifest is not valid; it says what is wrong.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, StoreError> {
        const MOST_PARTS: usize = 100_000;
        let refuse = |expected: String, found: String| StoreError::Format { name: name.to_owned(), expected, found };
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|e| refuse("a manifest of parts as JSON".to_owned(), e.to_string()))?;
        if manifest.format != Self::FORMAT {
            return Err(refuse(format!("the format {}", Self::FORMAT), format!("{:?}", manifest.format)));
        }
        for file in &manifest.files {
            let hex = |text: &str| bytes_of::<32>(text).is_some();
            let parts = file.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes));
            let sound = is_path_below(&file.name)
                && hex(&file.sha256)
                && !file.parts.is_empty()
                && file.parts.len() <= MOST_PARTS
                && file.bytes <= MOST_FILE_BYTES
                && parts == Some(file.bytes)
                && file.parts.iter().all(|part| {
                    (1..=MOST_PART_BYTES).contains(&part.bytes)
                        && hex(&part.sha256)
                        && is_path_below(&part.name)
                        && !part.name.contains('/')
                });
            if !sound {
                let shown: String = file.name.chars().take(200).collect();
                return Err(refuse(
                    format!(
                        "plain file names, sha256 in 64 digits, and parts of at most {MOST_PART_BYTES} bytes that add up to their file"
                    ),
                    format!("something else at {shown:?}"),
                ));
            }
        }
        Ok(manifest)
    }

    /// The manifest's files; `url_of` gives the address of a part.
    pub(crate) fn files(&self, url_of: impl Fn(&str) -> Arc<str>) -> Vec<RemoteFile> {
        let pieces = |file: &ManifestFile| {
            let piece = |part: &ManifestPart| Piece {
                url: url_of(&part.name),
                start: 0,
                bytes: part.bytes,
                resource_bytes: part.bytes,
                sha256: bytes_of(&part.sha256),
            };
            file.parts.iter().map(piece).collect()
        };
        self.files
            .iter()
            .filter_map(|file| {
                Some(RemoteFile {
                    name: file.name.clone(),
                    bytes: file.bytes,
                    about: file.about.clone(),
                    digest: Digest::parse(&file.sha256)?,
                    place: Place::Parts(pieces(file)),
                })
            })
            .collect()
    }
}

/// The fields of the Hub's description of a repository at a revision that are used here.
#[derive(Deserialize)]
pub(crate) struct HubListing {
    /// The commit.
    pub sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl HubListing {
    /// Reads a listing.
    pub(crate) fn parse(name: &str, json: &[u8]) -> Result<Self, StoreError> {
        let refuse = |found: String| StoreError::Format {
            name: name.to_owned(),
            expected: "the Hub's description of a repository".to_owned(),
            found,
        };
        let listing: Self = serde_json::from_slice(json).map_err(|e| refuse(e.to_string()))?;
        match bytes_of::<20>(&listing.sha) {
            Some(_) => Ok(listing),
            None => Err(refuse(format!("the commit {:?}", listing.sha.chars().take(80).collect::<String>()))),
        }
    }

    /// The files with a size and a hash. Others cannot be checked and are left out.
    pub(crate) fn files(self, url_of: impl Fn(&str) -> Arc<str>) -> Vec<RemoteFile> {
        let mut files: Vec<RemoteFile> = self
            .siblings
            .into_iter()
            .filter(|sibling| is_path_below(&sibling.rfilename))
            .filter_map(|sibling| {
                let (bytes, digest) = match sibling.lfs {
                    Some(lfs) => (lfs.size, Digest::Sha256(bytes_of(&lfs.sha256)?)),
                    None => (sibling.size?, Digest::GitBlob(bytes_of(&sibling.blob_id?)?)),
                };
                let place = Place::Ranges(url_of(&sibling.rfilename));
                let sound = bytes <= MOST_FILE_BYTES;
                let file = RemoteFile { name: sibling.rfilename, bytes, about: About::default(), digest, place };
                sound.then_some(file)
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_shown() {
        let id: RepositoryId = "allenai/reward-bench-2@main:data/test.parquet".parse().expect("an id");
        assert_eq!(
            (id.name.as_str(), id.revision.as_str(), id.file.as_deref()),
            ("allenai/reward-bench-2", "main", Some("data/test.parquet"))
        );
        let id: RepositoryId = "a/b@refs/pr/3".parse().expect("an id");
        assert_eq!(id.to_string(), "a/b@refs/pr/3");
        for wrong in ["", "gpt2", "a/b/c", "../b", "a/..", "a/b@", "a/b:../c", "a/b:/etc/passwd", "a b/c", "a/b?x"] {
            assert!(wrong.parse::<RepositoryId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn manifests_that_do_not_add_up_are_refused() {
        let sha = "0".repeat(64);
        let manifest = |name: &str, bytes: u64, part: &str| {
            format!(
                r#"{{"format":"rewardscope-parts-1","files":[{{"name":"{name}","bytes":{bytes},"sha256":"{sha}",
                "licence":"MIT","parts":[{{"name":"{part}","bytes":3,"sha256":"{sha}"}}]}}]}}"#
            )
        };
        let read = Manifest::parse("m", manifest("a.gguf", 3, "a.gguf.0").as_bytes()).expect("sound");
        let files = read.files(|part| format!("https://host/{part}").into());
        assert_eq!(&*files[0].pieces()[0].url, "https://host/a.gguf.0");
        assert_eq!(files[0].about.licence, "MIT");
        for (name, bytes, part) in [("a", 4, "a.0"), ("../a", 3, "a.0"), ("a", 3, "../../a"), ("a", 3, "b/a.0")] {
            let message = Manifest::parse("m.json", manifest(name, bytes, part).as_bytes()).expect_err("unsound");
            assert!(message.to_string().contains("m.json"), "{message}");
        }
        assert!(Manifest::parse("m", b"<html>").is_err());
        assert!(Manifest::parse("m", br#"{"format":"other","files":[]}"#).is_err());
    }

    #[test]
    fn listings_give_files_with_hashes() {
        let sha = "ab".repeat(20);
        let json = format!(
            r#"{{"sha":"{sha}","gated":false,"siblings":[
            {{"rfilename":"model.safetensors","size":17000000,"blobId":"{sha}",
              "lfs":{{"sha256":"{}","size":17000000,"pointerSize":135}}}},
            {{"rfilename":"config.json","size":12,"blobId":"{sha}"}},
            {{"rfilename":"../evil","size":12,"blobId":"{sha}"}},
            {{"rfilename":"unsized"}}]}}"#,
            "cd".repeat(32)
        );
        let files = HubListing::parse("x", json.as_bytes()).expect("a listing").files(|file| file.into());
        let seen: Vec<_> = files.iter().map(|f| (f.name.as_str(), f.bytes, f.pieces().len())).collect();
        assert_eq!(seen, [("config.json", 12, 1), ("model.safetensors", 17_000_000, 3)]);
        assert_eq!(files[1].pieces().iter().map(|p| p.bytes).sum::<u64>(), 17_000_000);
        assert!(HubListing::parse("x", br#"{"sha":"main"}"#).is_err());
    }
}
