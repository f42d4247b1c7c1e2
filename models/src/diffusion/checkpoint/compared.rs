//! The files of a model's networks against their descriptions, network by network: for `adwright inspect`,
//! which tells all that is wrong, where opening refuses. A file in place of a directory is a single file.

use std::path::Path;

use super::{ControlNetFiles, StableDiffusion};
use crate::diffusion::config::UnetConfig;
use crate::diffusion::naming;
use crate::error::ModelError;
use crate::weights::shards::Shards;
use crate::weights::streaming::Comparison;

/// What a single file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// A whole model.
    StableDiffusion,
    /// A ControlNet.
    ControlNet,
}

impl Held {
    /// What a file holds, by the names of its tensors; a model and its ControlNet together are a model.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] when it cannot be read or holds neither.
    pub(crate) fn of(file: &Path) -> Result<Self, ModelError> {
        let (shards, unet) = (Shards::open_file(file)?, naming::SINGLE_UNET);
        if shards.tensors().keys().any(|name| name.starts_with(unet)) {
            return Ok(Self::StableDiffusion);
        }
        if ControlNetFiles::are_in(&shards) {
            return Ok(Self::ControlNet);
        }
        Err(ModelError::Content {
            path: file.to_owned(),
            reason: format!(
                "{} or {unet}..: expected a ControlNet or a whole Stable Diffusion checkpoint; models of other kinds are directories",
                ControlNetFiles::lacking()
            ),
        })
    }
}

/// A model's networks.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Of each its directory within that one, empty where it is one network's, its files, and how they
    /// compare.
    pub(crate) parts: Vec<(&'static str, Shards, Comparison)>,
    /// Rows of the text encoder's token table.
    pub(crate) vocab_size: Option<usize>,
}

impl Compared {
    /// Compares the weights of a model.
    ///
    /// # Errors
    /// As [`StableDiffusion::open`], but for weights that differ.
    pub(crate) fn stable_diffusion(place: &Path) -> Result<Self, ModelError> {
        let model = StableDiffusion::described(place)?;
        Ok(Self {
            parts: model.compared()?.into(),
            vocab_size: Some(model.text_encoder.vocab_size),
        })
    }

    /// Compares the weights of a ControlNet; whether it fits a U-net is seen when it is opened for one. A
    /// single file without a description is taken for one of Stable Diffusion 1.5.
    ///
    /// # Errors
    /// As [`ControlNetFiles::open`], but for weights that differ.
    pub(crate) fn controlnet(place: &Path) -> Result<Self, ModelError> {
        let files = ControlNetFiles::described(place, &UnetConfig::stable_diffusion_15())?;
        let (shards, comparison) = files.compared()?;
        Ok(Self {
            parts: vec![("", shards, comparison)],
            vocab_size: None,
        })
    }
}
