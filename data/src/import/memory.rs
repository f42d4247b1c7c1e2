//! How much memory the pictures of one file may take: they all stay decoded at full size.

use std::ops::Deref;

/// The most that the pictures of one file may take decoded, in bytes: about 1600 cut-outs of 800 x 800 pixels.
const MOST: u64 = 4 << 30;

/// What is left for pictures.
#[derive(Debug)]
pub(crate) struct Memory {
    most: u64,
    left: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Memory {
    pub(crate) fn of(most: u64) -> Self {
        Self { most, left: most }
    }

    /// Whether nothing fits any more; what is wrong has then been said.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// Keeps a picture in mind.
    ///
    /// # Errors
    /// The mistake, when it is the first one that does not fit.
    pub(crate) fn take<I: Deref<Target = [u8]>>(&mut self, picture: I) -> Result<I, String> {
        match self.left.checked_sub(picture.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(picture)
            }
            None => {
                self.left = 0;
                Err(format!(
                    "the pictures up to this row take more than {} MiB decoded; use smaller ones or fewer rows",
                    self.most >> 20
                ))
            }
        }
    }
}
