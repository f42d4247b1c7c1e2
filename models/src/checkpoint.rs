//! The policy as a directory: one of ours (`checkpoint/ours.rs`), or somebody else's (`checkpoint/described.rs`).
//!
//! Not here: uploading, adapters ([`crate::peft`]).

mod beside;
mod caig;
mod convert;
mod described;
mod fresh;
mod hf;
mod inspection;
pub mod layout;
mod merge;
mod original;
mod ours;
mod progress;
mod published;

pub use convert::{Target, convert};
pub use described::WeightFile;
pub use fresh::init;
pub(crate) use fresh::{Spelling, write_weights};
pub use inspection::{Inspection, inspect};
pub use merge::{check_adapter, merge};
pub use progress::{Progress, in_log};
pub use published::published;

use std::path::Path;

use burn::tensor::{DType, Device};

use self::described::Directory;
use crate::device::Placement;
use crate::error::ModelError;
use crate::policy::Policy;

/// The files that hold the weights of a policy's directory, by name; some of them may lie in another one, its vision
/// tower's. Under their names and with [`Policy::described`] beside them they are a directory of ours, whatever layout this
/// one has.
///
/// # Errors
/// As [`Policy::load`], but for the weights themselves.
pub fn weight_files(dir: &Path) -> Result<Vec<WeightFile>, ModelError> {
    described::weight_files(dir)
}

impl Policy {
    /// Reads a model directory onto `device` in f32.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault: it is missing or malformed, does not fit
    /// the others, or holds weights that are not finite or not those of the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::load_as(dir, device, Some(DType::F32), &mut |_, _| ())
    }

    /// The same in the placement's number format.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(dir: &Path, placement: &Placement, progress: Progress<'_>) -> Result<Self, ModelError> {
        Self::load_as(dir, &placement.device, Some(placement.dtype), progress)
    }

    /// The same in a number format of the caller's choice; `None` keeps the files'.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(
        dir: &Path,
        device: &Device,
        dtype: Option<DType>,
        progress: Progress<'_>,
    ) -> Result<Self, ModelError> {
        Directory::open(dir)?.into_policy(dir, device, dtype, progress)
    }

    /// The policy of a model directory without its weights: what can be known of it at once, whatever its size. Names and shapes of
    /// the files' weights have been compared; those of the network are fresh, and nobody should ask it for a number.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for the weights' numbers.
    pub fn without_weights(dir: &Path) -> Result<Self, ModelError> {
        Directory::open(dir)?.into_shape(dir)
    }
}
