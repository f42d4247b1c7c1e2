//! Pictures around products: one thread's networks and how it is told to use them.

use super::composition::{Composition, CompositionError};
use super::config::DiffusionConfig;
use common::DecidingSettings;
use data::{GenerateError, GeneratedImage, NoImage};
use image::RgbaImage;
use models::ModelError;
use models::device::Placement;
use models::diffusion::checkpoint::{ControlNetFiles, StableDiffusion};
use models::diffusion::lora::DiffusionLora;
use models::diffusion::pipeline::{GivenNoise, Inpainting, Picture, StepsDone, Wanted};
use std::path::PathBuf;

/// The name of this generator in reports and configurations.
pub(super) const NAME: &str = "diffusion";

/// Where a generator's networks lie on this machine.
#[derive(Debug, Clone)]
pub struct DiffusionFiles {
    /// A directory as diffusers lays it out, or a single file.
    pub model: PathBuf,
    /// The ControlNet's directory, or a single file.
    pub controlnet: PathBuf,
    /// An adapter's file.
    pub lora: Option<PathBuf>,
}

impl DiffusionFiles {
    /// What they hold, by the digests of their weights: reads all of them, and tells `done` of every chunk.
    ///
    /// # Errors
    /// [`ModelError`] with the file at fault.
    pub fn contents(&self, mut done: impl FnMut()) -> Result<DecidingSettings, ModelError> {
        let model = StableDiffusion::open(&self.model)?;
        let controlnet = ControlNetFiles::open(&self.controlnet, &model.unet)?;
        let mut named = vec![
            ("diffusion.model", model.weight_files()?),
            ("diffusion.controlnet", controlnet.weight_files()?),
        ];
        named.extend(self.lora.clone().map(|lora| ("diffusion.lora", [lora].into())));
        let mut contents = DecidingSettings::default();
        for (key, files) in named {
            let digest = store::digest_of_files(files, &mut done);
            let digest = digest.map_err(|(path, source)| ModelError::File {
                action: "read",
                path,
                source,
            })?;
            contents = contents.and(DecidingSettings::of_contents(key, digest));
        }
        Ok(contents)
    }
}

/// Paints pictures around products.
pub struct Painter {
    inpainting: Inpainting,
    config: DiffusionConfig,
}

impl Painter {
    /// Opens and compares all files; networks are read when the first picture needs them.
    ///
    /// # Errors
    /// [`ModelError`] with the file, key or tensors at fault.
    pub fn open(
        files: &DiffusionFiles,
        config: DiffusionConfig,
        placement: &Placement,
    ) -> Result<Self, ModelError> {
        let model = StableDiffusion::open(&files.model)?;
        let controlnet = ControlNetFiles::open(&files.controlnet, &model.unet)?;
        let lora = files.lora.as_ref();
        let lora = lora
            .map(|path| DiffusionLora::read(path, config.lora_scale))
            .transpose()?;
        let pipeline = config.pipeline();
        let inpainting = Inpainting::new(
            &model,
            &controlnet,
            lora,
            pipeline,
            &placement.device,
            placement.dtype,
        )?;
        Ok(Self { inpainting, config })
    }

    /// One picture of `product` per description, from the noise of its seed, or from noise that is given.
    ///
    /// # Errors
    /// [`GenerateError`] when the product cannot be placed or a network failed.
    pub fn paint(
        &mut self,
        product: &RgbaImage,
        wanted: &[Wanted],
        given: Option<&GivenNoise>,
        progress: &mut dyn FnMut(StepsDone),
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        let composition = Composition::new(product, &self.config).map_err(|error| match error {
            CompositionError::Cutout(error) => error.into(),
            // The same cut-out on the same canvas is refused again.
            other => GenerateError::Refused {
                generator: NAME.to_owned(),
                reason: other.to_string(),
            },
        })?;
        let painted = self
            .inpainting
            .paint(&composition.canvas, wanted, given, progress);
        let finish = |picture| match picture {
            Ok(picture) => finished(&composition, &picture).map(Ok),
            Err(error) => no_image(error).map(Err),
        };
        painted.map_err(failed)?.into_iter().map(finish).collect()
    }
}

fn finished(composition: &Composition, picture: &Picture) -> Result<GeneratedImage, GenerateError> {
    Ok(GeneratedImage {
        image: composition.finish(&picture.to_rgb()).map_err(failed)?,
        placed: Some(composition.placed.clone()),
        defects: 0,
    })
}

/// Why a description gave no picture.
fn no_image(error: ModelError) -> Result<NoImage, GenerateError> {
    match error {
        ModelError::Prompt { reason } => Ok(NoImage::Description(reason)),
        error @ ModelError::PictureNotFinite { .. } => Ok(NoImage::Invalid(error.to_string())),
        other => Err(failed(other)),
    }
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> GenerateError {
    GenerateError::Generator {
        generator: NAME.to_owned(),
        source: Box::new(error),
    }
}
