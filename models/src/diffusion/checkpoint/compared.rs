//! The files of a model's networks against their descriptions, network by network: for `adwright inspect`,
//! which tells all that is wrong, where opening refuses.

use std::path::Path;

use burn::tensor::Device;

use super::{ControlNetFiles, StableDiffusion};
use crate::error::ModelError;
use crate::weights::shards::Shards;
use crate::weights::streaming::Comparison;

/// A directory's networks.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Of each its directory within that one, empty where it is one network's, its files, and how they
    /// compare.
    pub(crate) parts: Vec<(&'static str, Shards, Comparison)>,
    /// Rows of the text encoder's token table.
    pub(crate) vocab_size: Option<usize>,
}

impl Compared {
    /// Compares the weights of a directory as diffusers lays it out.
    ///
    /// # Errors
    /// As [`StableDiffusion::open`], but for weights that differ.
    pub(crate) fn stable_diffusion(dir: &Path) -> Result<Self, ModelError> {
        // Nothing is drawn.
        let (model, device) = (StableDiffusion::described(dir)?, Device::flex());
        let text = model.text_encoder.init(&device, 0);
        let (text, text_compared) = model.text_encoder_source()?.compared(&text);
        let unet = model.unet.init_unet(&device, 0);
        let (unet, unet_compared) = model.unet_source()?.compared(&unet);
        let vae = model.autoencoder.init(&device, 0);
        let (vae, vae_compared) = model.autoencoder_source()?.compared(&vae);
        Ok(Self {
            parts: vec![
                ("text_encoder", text, text_compared),
                ("unet", unet, unet_compared),
                ("vae", vae, vae_compared),
            ],
            vocab_size: Some(model.text_encoder.vocab_size),
        })
    }

    /// Compares the weights of a ControlNet's directory; whether it fits a U-net is seen when it is opened
    /// for one.
    ///
    /// # Errors
    /// As [`ControlNetFiles::open`], but for weights that differ.
    pub(crate) fn controlnet(dir: &Path) -> Result<Self, ModelError> {
        let files = ControlNetFiles::described(dir)?;
        let fresh = files.config.init_controlnet(&Device::flex(), 0);
        let (shards, comparison) = files.source()?.compared(&fresh);
        Ok(Self {
            parts: vec![("", shards, comparison)],
            vocab_size: None,
        })
    }
}
