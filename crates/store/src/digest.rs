//! The hashes of files: sha256, or the hash by which git names a file.

use std::fmt::Write;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The hash that names a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// The sha256 of the bytes alone.
    Sha256([u8; 32]),
    /// The sha1 of `blob`, the size and the bytes, by which git names a file. The Hub gives it for small files.
    GitBlob([u8; 20]),
}

impl Digest {
    /// Reads a sha256 of 64 hexadecimal digits or a git hash of 40; `None` for any other text.
    pub fn parse(hex: &str) -> Option<Self> {
        match hex.len() {
            64 => Some(Self::Sha256(bytes_of(hex)?)),
            40 => Some(Self::GitBlob(bytes_of(hex)?)),
            _ => None,
        }
    }

    /// The hash in hexadecimal digits.
    pub fn hex(&self) -> String {
        match self {
            Self::Sha256(bytes) => hex(bytes),
            Self::GitBlob(bytes) => hex(bytes),
        }
    }
}

/// Computes a [`Digest`] of bytes that come in order.
#[derive(Clone)]
pub enum Hasher {
    /// Computes a [`Digest::Sha256`].
    Sha256(Sha256),
    /// Computes a [`Digest::GitBlob`].
    GitBlob(Sha1),
}

impl Hasher {
    /// A hasher for sha256.
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// A hasher for git's hash of a file of `bytes` bytes.
    pub fn git_blob(bytes: u64) -> Self {
        Self::GitBlob(Sha1::new_with_prefix(format!("blob {bytes}\0")))
    }

    /// A hasher of the same kind as `digest`, for a file of `bytes` bytes.
    pub(crate) fn like(digest: &Digest, bytes: u64) -> Self {
        match digest {
            Digest::Sha256(_) => Self::sha256(),
            Digest::GitBlob(_) => Self::git_blob(bytes),
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitBlob(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes that were added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::GitBlob(hash) => Digest::GitBlob(hash.finalize().into()),
        }
    }
}

/// The sha256 of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The bytes of exactly `2 * N` hexadecimal digits; `None` for any other text.
pub(crate) fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum_and_git() {
        let mut plain = Hasher::sha256();
        plain.update(b"hello\n");
        let known = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(plain.finish(), Digest::parse(known).expect("64 digits"));
        // As `git hash-object` gives for the same file.
        let git = Digest::parse("ce013625030ba8dba906f756967f9e9ca394464a").expect("40 digits");
        let mut blob = Hasher::like(&git, 6);
        blob.update(b"hel");
        blob.update(b"lo\n");
        assert_eq!(blob.finish(), git);
        assert_eq!(git.hex(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(Digest::parse("é".repeat(20).as_str()), None);
        assert_eq!(Digest::parse("xyz"), None);
    }
}
