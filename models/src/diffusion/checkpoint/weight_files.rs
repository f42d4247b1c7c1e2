//! Which files hold the weights of what paints, whatever they are called.

use super::{ControlNetFiles, Source, StableDiffusion};
use crate::error::ModelError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl StableDiffusion {
    /// The files that hold its weights.
    ///
    /// # Errors
    /// [`ModelError`] with the file that cannot be read.
    pub fn weight_files(&self) -> Result<BTreeSet<PathBuf>, ModelError> {
        let networks = [
            self.unet_source()?,
            self.autoencoder_source()?,
            self.text_encoder_source()?,
        ];
        Ok(networks.iter().flat_map(files).collect())
    }
}

impl ControlNetFiles {
    /// The files that hold its weights.
    ///
    /// # Errors
    /// [`ModelError`] with the file that cannot be read.
    pub fn weight_files(&self) -> Result<BTreeSet<PathBuf>, ModelError> {
        Ok(files(&self.source()?).collect())
    }
}

fn files(source: &Source) -> impl Iterator<Item = PathBuf> {
    source.shards.paths().map(Path::to_owned)
}
