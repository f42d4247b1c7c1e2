//! A ControlNet on disk: a directory as diffusers writes it, or a single file with that directory's description beside it.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};

use super::{CONFIG, Source, check_same, unet_directory};
use crate::diffusion::config::UnetConfig;
use crate::diffusion::controlnet::ControlNet;
use crate::diffusion::naming;
use crate::directory::read_json;
use crate::error::ModelError;
use crate::weights::shards::Shards;
use crate::weights::streaming::Comparison;

/// Where the description of a single file lies, beside it.
const BESIDE: &str = "controlnet";

/// A ControlNet on disk, described and checked.
#[derive(Debug, Clone)]
pub struct ControlNetFiles {
    place: PathBuf,
    /// Its shape.
    pub config: UnetConfig,
}

/// How a single file names its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// The original implementation's, as published.
    Original,
    /// The same without what they all begin with, as extracted from those.
    Extracted,
    /// diffusers'.
    Diffusers,
}

impl Spelling {
    const ALL: [Self; 3] = [Self::Original, Self::Extracted, Self::Diffusers];

    /// What all names begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Original => naming::SINGLE_CONTROLNET,
            Self::Extracted | Self::Diffusers => "",
        }
    }

    /// What the control image goes through first is called, which no other network has.
    fn first(self) -> String {
        let layer = match self {
            Self::Original | Self::Extracted => "input_hint_block.0.weight",
            Self::Diffusers => "controlnet_cond_embedding.conv_in.weight",
        };
        format!("{}{layer}", self.prefix())
    }

    /// That of a file; none where it holds no ControlNet.
    fn of(shards: &Shards) -> Option<Self> {
        let is_there = |spelling: &Self| shards.tensors().contains_key(&spelling.first());
        Self::ALL.into_iter().find(is_there)
    }
}

impl ControlNetFiles {
    /// Opens a ControlNet for a U-net: its directory, or a single `.safetensors`, `.pth` or `.ckpt` file. That has the U-net's
    /// shape and the published control image's network, unless `controlnet/config.json` lies beside it.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file and key, or all tensors at fault; a ControlNet that was made
    /// for another U-net, a file that holds none.
    pub fn open(place: &Path, unet: &UnetConfig) -> Result<Self, ModelError> {
        let (files, description) = (Self::described(place, unet)?, Self::description(place));
        let fits = files.config.check_fits(unet);
        fits.map_err(|error| error.in_file(&description))?;
        let (shards, comparison) = files.compared()?;
        match check_same(&shards, comparison) {
            Err(ModelError::Content { path, reason }) if !description.exists() => Err(ModelError::Content {
                path,
                reason: format!(
                    "{reason}; this ControlNet was made for another U-net, unless {} says what it is",
                    description.display()
                ),
            }),
            compared => compared.map(|()| files),
        }
    }

    /// The same, its weights not looked at; the U-net is only what a file that says nothing was made for.
    pub(super) fn described(place: &Path, unet: &UnetConfig) -> Result<Self, ModelError> {
        let path = Self::description(place);
        let config = match place.is_file() && !path.exists() {
            true => unet.with_control(),
            false => {
                let read = UnetConfig::of_controlnet(read_json(&path)?);
                read.map_err(|error| error.in_file(&path))?
            }
        };
        Ok(Self {
            place: place.to_owned(),
            config,
        })
    }

    /// Compares the names and shapes of its weights.
    pub(super) fn compared(&self) -> Result<(Shards, Comparison), ModelError> {
        // Nothing is drawn.
        let fresh = self.config.init_controlnet(&Device::flex(), 0);
        Ok(self.source()?.compared(&fresh))
    }

    /// Where its description lies.
    fn description(place: &Path) -> PathBuf {
        match place.is_file() {
            true => place.with_file_name(BESIDE).join(CONFIG),
            false => place.join(CONFIG),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`ModelError::Content`] with the file and tensor that cannot be read, or is not finite.
    pub fn read(&self, device: &Device, dtype: DType) -> Result<ControlNet, ModelError> {
        self.source()?.load(self.config.init_controlnet(device, 0), dtype)
    }

    /// Whether a single file holds one.
    pub(super) fn are_in(shards: &Shards) -> bool {
        Spelling::of(shards).is_some()
    }

    /// What a single file without one lacks.
    pub(super) fn lacking() -> String {
        let names = Spelling::ALL.map(Spelling::first);
        format!("no tensor is called {}", names.join(" or "))
    }

    pub(super) fn source(&self) -> Result<Source, ModelError> {
        if !self.place.is_file() {
            return unet_directory(&self.place);
        }
        let spelling = Spelling::of(&Shards::open_file(&self.place)?);
        let spelling = spelling.ok_or_else(|| ModelError::Content {
            path: self.place.clone(),
            reason: format!("{}: expected a ControlNet", Self::lacking()),
        })?;
        let config = self.config.clone();
        let naming = move |ours: &str| match spelling {
            Spelling::Diffusers => naming::unet(ours),
            Spelling::Original | Spelling::Extracted => naming::single_controlnet(&config, ours),
        };
        Source::of_single(&self.place, spelling.prefix(), naming)
    }
}
