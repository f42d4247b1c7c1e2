//! What the bytes of a file are checked against: our own digest, or what a model hub says of its files.

use common::Digest;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use std::fmt;
use std::io::{self, Read};

/// The checksum of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// BLAKE3, as stores and inventories have it.
    Blake3(Digest),
    /// SHA-256, as a hub has it of large files.
    Sha256([u8; 32]),
    /// SHA-1 of a git blob, header included, as a hub has it of small files.
    GitBlob([u8; 20]),
}

impl From<Digest> for Checksum {
    fn from(digest: Digest) -> Self {
        Self::Blake3(digest)
    }
}

impl PartialEq<Digest> for Checksum {
    fn eq(&self, other: &Digest) -> bool {
        *self == Self::Blake3(*other)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes): (_, &[u8]) = match self {
            Self::Blake3(digest) => return digest.fmt(f),
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::GitBlob(bytes) => ("git-blob", bytes),
        };
        write!(f, "{kind}:")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of so many hex digits in lower case; `None` for any other text.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Computes a checksum of the kind of another one, over bytes as they come.
#[derive(Clone)]
pub(crate) enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Context),
    GitBlob(Context),
}

impl Hasher {
    /// Of the kind of `like`, for a file of `size` bytes: a git blob begins with its size.
    pub(crate) fn new(like: &Checksum, size: u64) -> Self {
        match like {
            Checksum::Blake3(_) => Self::Blake3(Box::default()),
            Checksum::Sha256(_) => Self::Sha256(Context::new(&SHA256)),
            Checksum::GitBlob(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Self::GitBlob(context)
            }
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
            Self::Sha256(context) | Self::GitBlob(context) => context.update(bytes),
        }
    }

    /// Takes in all that a reader has, and returns how many bytes that were.
    pub(crate) fn update_reader(&mut self, mut reader: impl Read) -> io::Result<u64> {
        let (mut buffer, mut count) = (vec![0; 1 << 17], 0);
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return Ok(count),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.update(&buffer[..read]);
            count += read as u64;
        }
    }

    /// The checksum of what came so far.
    pub(crate) fn checksum(&self) -> Checksum {
        fn bytes<const N: usize>(context: &Context) -> [u8; N] {
            let digest = context.clone().finish();
            digest.as_ref().try_into().expect("each algorithm has one length")
        }
        match self {
            Self::Blake3(hasher) => Checksum::Blake3(Digest::from_bytes(*hasher.finalize().as_bytes())),
            Self::Sha256(context) => Checksum::Sha256(bytes(context)),
            Self::GitBlob(context) => Checksum::GitBlob(bytes(context)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums of "hello\n" by sha256sum and `git hash-object`.
    #[test]
    fn checksums_are_those_of_other_programs() {
        let known = [
            (
                Checksum::Sha256([0; 32]),
                "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            ),
            (
                Checksum::GitBlob([0; 20]),
                "git-blob:ce013625030ba8dba906f756967f9e9ca394464a",
            ),
        ];
        for (kind, expected) in known {
            let mut hasher = Hasher::new(&kind, 6);
            assert_eq!(hasher.update_reader(&b"hello\n"[..]).unwrap(), 6);
            assert_eq!(hasher.checksum().to_string(), expected);
        }
        let mut hasher = Hasher::new(&crate::digest(b"").into(), 6);
        hasher.update(b"hello\n");
        assert_eq!(hasher.checksum(), crate::digest(b"hello\n"));
    }

    #[test]
    fn only_whole_lower_case_hex_is_read() {
        assert_eq!(from_hex::<2>("00ff"), Some([0, 255]));
        for odd in ["00f", "00ff0", "00FF", "0x1f", "+1+1", ""] {
            assert_eq!(from_hex::<2>(odd), None, "{odd}");
        }
    }
}
