//! Pictures that are nearly others: earlier ones of the group, or those that a directory lists.

use super::{GuardrailError, Guards, IMAGE_BLOCKLIST, Shown};
use common::{Barred, Digest, Guardrail};
use imaging::ImagingError;
use imaging::guardrails::perceptual_hash::{PerceptualHash, perceptual_hash};
use std::collections::BTreeSet;
use std::path::Path;

/// The largest listed picture that is read, in bytes.
const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// Bars what has nearly the background of an earlier picture of the group that is not barred.
#[derive(Debug)]
pub(super) struct NearDuplicates {
    /// In how many bits two differ at most.
    pub(super) bits: u32,
}

impl Guards for NearDuplicates {
    fn of_picture(&self, shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        Ok(match shown.background()? {
            Some(background) => nearest(Guardrail::NearDuplicate, background, shown.earlier, self.bits),
            None => None,
        })
    }
}

/// Bars what is nearly a listed picture.
#[derive(Debug)]
pub(super) struct ImageBlocklist {
    listed: Vec<PerceptualHash>,
    /// In how many bits a picture may differ from a listed one.
    bits: u32,
    /// Of the listed pictures' files, whatever they are called: of their digests in order, each once.
    digest: Digest,
}

impl ImageBlocklist {
    /// Reads the pictures of a directory, by what they are and not by what they are called; its directories are left alone.
    ///
    /// # Errors
    /// [`GuardrailError`] for a directory that cannot be read or has no file, and for a file that is no picture.
    pub(super) fn read(directory: &Path, bits: u32) -> Result<Self, GuardrailError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| GuardrailError::Directory { path, source }
        };
        let entries = std::fs::read_dir(directory).map_err(unreadable(directory))?;
        let (mut listed, mut digests) = (vec![], BTreeSet::new());
        for entry in entries {
            let path = entry.map_err(unreadable(directory))?.path();
            let found = std::fs::metadata(&path).map_err(unreadable(&path))?;
            if found.is_dir() {
                continue;
            }
            if found.len() > MAX_PICTURE_BYTES {
                return Err(GuardrailError::TooLarge {
                    path,
                    bytes: found.len(),
                    most: MAX_PICTURE_BYTES,
                });
            }
            let bytes = std::fs::read(&path).map_err(unreadable(&path))?;
            digests.insert(store::digest(&bytes));
            let picture = data::cutout::decode_rgb(&bytes);
            let picture = picture.map_err(|source| GuardrailError::Picture {
                path: path.clone(),
                source,
            })?;
            listed.push(
                perceptual_hash(&picture).map_err(|source| GuardrailError::Unmeasured { path, source })?,
            );
        }
        match listed.is_empty() {
            true => Err(GuardrailError::Empty {
                path: directory.to_owned(),
            }),
            false => Ok(Self {
                listed,
                bits,
                digest: store::digest_of_all(digests),
            }),
        }
    }
}

impl Guards for ImageBlocklist {
    fn of_picture(&self, shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        let hash = perceptual_hash(&shown.generated.image)?;
        Ok(nearest(Guardrail::ImageBlocklist, hash, &self.listed, self.bits))
    }

    fn list(&self) -> Option<(&'static str, Digest)> {
        Some((IMAGE_BLOCKLIST, self.digest))
    }
}

/// Measures in how many of 64 bits the nearest of `others` differs.
fn nearest(
    guardrail: Guardrail,
    hash: PerceptualHash,
    others: &[PerceptualHash],
    bits: u32,
) -> Option<Barred> {
    let nearest = others.iter().map(|other| other.distance(hash)).min();
    let distance = nearest.filter(|distance| *distance <= bits)?;
    Some(Barred {
        guardrail,
        measured: Some(f64::from(distance)),
    })
}
