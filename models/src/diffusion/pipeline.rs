//! Inpainting under a ControlNet: the picture around a product that stays where it is.
//!
//! diffusers' `StableDiffusionControlNetInpaintPipeline` with a U-net of 4 channels and strength 1, which is CAIG's:
//!
//! ```text
//! x = noise
//! for every step:
//!     residuals = controlnet(x, t, text, edges)
//!     e = unet(x, t, nothing) + guidance * (unet(x, t, text) - unet(x, t, nothing))
//!     x = sampler(x, e)
//!     x = repaint * x + (1 - repaint) * (the product's latents, as noisy as x)
//! picture = decode(x)
//! ```
//!
//! Each picture draws from a stream of its own in diffusers' order (the product's latents, the noise, the masked product's
//! latents, which a U-net of 4 channels does not use, then each step's), so that one seed gives the same picture as there,
//! alone or among others.

use std::num::NonZero;

use burn::tensor::{DType, Device, Tensor};
use lru::LruCache;

use super::attention::SliceBytes;
use super::autoencoder::{Autoencoder, Latents, Tiles};
use super::checkpoint::{ControlNetFiles, StableDiffusion};
use super::controlnet::ControlNet;
use super::lora::DiffusionLora;
use super::noise::NoiseStream;
use super::part::Part;
use super::prompt::chunks;
use super::schedule::Schedule;
use super::text_encoder::TextEncoder;
use super::unet::Unet;
use crate::error::ModelError;

mod canvas;
mod config;
mod denoising;
mod given_noise;
mod picture;
#[cfg(test)]
mod tests;
mod text;

pub use canvas::Canvas;
pub use config::PipelineConfig;
use denoising::{Begun, Denoising, Guidance};
pub use given_noise::GivenNoise;
pub use picture::Picture;
pub(super) use text::Texts;

/// Products whose latents and edges are kept for the next picture. One takes about 6 MiB at 512x512.
const KEPT_CANVASES: NonZero<usize> = NonZero::new(8).expect("not zero");

/// A picture to paint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is around the product.
    pub description: String,
    /// Seed of its noise; candidates of a group share it.
    pub seed: u64,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepsDone {
    /// Steps done, of all pictures.
    pub done: usize,
    /// Steps in all.
    pub all: usize,
}

/// The networks and what they paint with.
pub struct Inpainting {
    config: PipelineConfig,
    schedule: Schedule,
    device: Device,
    slice: SliceBytes,
    texts: Texts,
    text_encoder: Part<TextEncoder>,
    autoencoder: Part<Autoencoder>,
    controlnet: Part<ControlNet>,
    unet: Part<Unet>,
    scaling: f64,
    factor: usize,
    canvases: LruCache<blake3::Hash, Prepared>,
}

/// What a canvas looks like to the networks; the same for all pictures on it.
#[derive(Clone)]
struct Prepared {
    /// Of the product.
    latents: Latents,
    /// The edges as the ControlNet adds them.
    control: Tensor<4>,
    /// 1 where the background goes.
    repaint: Tensor<4>,
}

impl Inpainting {
    /// Reads nothing yet: each network is read when it is first needed.
    ///
    /// # Errors
    /// [`ModelError::Config`] for steps that the sampler cannot take and for a negative prompt that is too long, [`ModelError::Content`] for an adapter of another model.
    pub fn new(
        model: &StableDiffusion,
        controlnet: &ControlNetFiles,
        lora: Option<DiffusionLora>,
        config: PipelineConfig,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, ModelError> {
        if let Some(lora) = &lora {
            model.check_lora(lora)?;
        }
        let schedule = Schedule::new(config.sampler, &model.sampler, config.steps)?;
        let length = model.text_encoder.max_position_embeddings;
        if chunks(&config.negative_prompt, config.prompts, &model.tokenizer, length).is_err() {
            return Err(ModelError::Config {
                key: "negative_prompt",
                value: format!("{:?}", config.negative_prompt),
                expected: "no more tokens than the text encoder reads at once, or long_prompts = \"chunk\"",
            });
        }
        let keeps = !config.release;
        let texts = Texts::new(model.tokenizer.clone(), length, config.prompts);
        let (of_text, of_unet) = (
            (model.clone(), lora.clone(), device.clone()),
            (model.clone(), lora, device.clone()),
        );
        let of_autoencoder = (model.clone(), device.clone());
        let of_controlnet = (controlnet.clone(), device.clone());
        Ok(Self {
            schedule,
            slice: config.slice.unwrap_or(SliceBytes::for_device(device)),
            device: device.clone(),
            texts,
            text_encoder: Part::new(
                move || {
                    let (model, lora, device) = &of_text;
                    model.read_text_encoder(device, dtype, lora.as_ref())
                },
                keeps,
            ),
            autoencoder: Part::new(
                move || of_autoencoder.0.read_autoencoder(&of_autoencoder.1, dtype),
                keeps,
            ),
            controlnet: Part::new(move || of_controlnet.0.read(&of_controlnet.1, dtype), keeps),
            unet: Part::new(
                move || {
                    let (model, lora, device) = &of_unet;
                    model.read_unet(device, dtype, lora.as_ref())
                },
                keeps,
            ),
            scaling: model.autoencoder.scaling_factor,
            factor: model.autoencoder.factor(),
            canvases: LruCache::new(KEPT_CANVASES),
            config,
        })
    }

    /// One picture per description, from the noise of its seed, or from noise that is given: one for all, or as
    /// many as there are descriptions. A description that gives no picture has its reason in its place:
    /// [`ModelError::Prompt`] when it is too long, [`ModelError::PictureNotFinite`].
    ///
    /// # Errors
    /// [`ModelError::Canvas`] for noise of another size, and what reading a network can fail with.
    pub fn paint(
        &mut self,
        canvas: &Canvas,
        wanted: &[Wanted],
        given: Option<&GivenNoise>,
        progress: &mut dyn FnMut(StepsDone),
    ) -> Result<Vec<Result<Picture, ModelError>>, ModelError> {
        if let Some(given) = given {
            self.check_noise(given, canvas, wanted.len())?;
        }
        let contexts = self.contexts(wanted)?;
        let prepared = self.prepare(canvas)?;
        let mut pictures: Vec<Result<Picture, ModelError>> = vec![];
        let mut begun = vec![];
        for (index, (wanted, context)) in wanted.iter().zip(contexts).enumerate() {
            // Replaced by the picture, where there will be one.
            pictures.push(Err(ModelError::PictureNotFinite { index }));
            match context {
                Ok(context) => begun.push(self.begin(&prepared, wanted.seed, given, index, context)),
                Err(error) => pictures[index] = Err(error),
            }
        }
        let painted = self.denoise(&prepared, begun, progress)?;
        for (index, picture) in self.decode(painted)? {
            if let Some(picture) = picture {
                pictures[index] = Ok(picture);
            }
        }
        Ok(pictures)
    }

    /// Each description beside what is not wanted, `[2, tokens, width]`.
    fn contexts(&mut self, wanted: &[Wanted]) -> Result<Vec<Result<Tensor<3>, ModelError>>, ModelError> {
        let always = [self.config.negative_prompt.as_str(), ""];
        let texts: Vec<&str> = always
            .into_iter()
            .chain(wanted.iter().map(|wanted| wanted.description.as_str()))
            .collect();
        let mut embedded = self
            .texts
            .embed(&texts, &mut self.text_encoder, &self.device)?
            .into_iter();
        let mut next = || embedded.next().expect("there is one for each text");
        let (negative, empty) = (next()?, next()?);
        let context = |tokens: Result<Tensor<3>, ModelError>| Ok(text::beside(&negative, tokens?, &empty));
        Ok(embedded.map(context).collect())
    }

    fn check_noise(&self, given: &GivenNoise, canvas: &Canvas, count: usize) -> Result<(), ModelError> {
        let (width, height) = canvas.dimensions();
        let (wide, tall) = (width as usize / self.factor, height as usize / self.factor);
        let [rows, channels, rest @ ..] = given.0.dims();
        if (channels, rest) == (4, [tall, wide]) && (rows == 1 || rows == count) {
            return Ok(());
        }
        let reason = format!(
            "latents of shape {:?}, expected [1 or {count}, 4, {tall}, {wide}] for a picture of {width}x{height}",
            given.0.dims()
        );
        Err(ModelError::Canvas { reason })
    }

    /// The canvas through the autoencoder and the ControlNet's first layers.
    fn prepare(&mut self, canvas: &Canvas) -> Result<Prepared, ModelError> {
        let digest = canvas.digest();
        if let Some(known) = self.canvases.get(&digest) {
            return Ok(known.clone());
        }
        let (slice, tiles) = (self.slice, self.tiles());
        let init = canvas.init(&self.device);
        let latents = self.autoencoder.with(|autoencoder| {
            let init = init.cast(autoencoder.dtype());
            let latents = match tiles {
                Some(tiles) => autoencoder.encode_tiled(init, tiles, slice),
                None => autoencoder.encode(init, slice),
            };
            Latents {
                mean: latents.mean.cast(DType::F32),
                log_variance: latents.log_variance.cast(DType::F32),
            }
        })?;
        let control = canvas.control(&self.device);
        let control = self.controlnet.with(|controlnet| {
            let control = control.cast(controlnet.dtype());
            controlnet.controlnet_cond_embedding.forward(control)
        })?;
        let prepared = Prepared {
            latents,
            control,
            repaint: canvas.repaint(self.factor as u32, &self.device),
        };
        self.canvases.put(digest, prepared.clone());
        Ok(prepared)
    }

    fn tiles(&self) -> Option<Tiles> {
        let factor = self.factor;
        self.config.tile.map(|latents| Tiles { latents, factor })
    }

    /// Draws what a picture begins with, in diffusers' order.
    fn begin(
        &self,
        prepared: &Prepared,
        seed: u64,
        given: Option<&GivenNoise>,
        index: usize,
        context: Tensor<3>,
    ) -> Begun {
        let mut stream = NoiseStream::new(seed);
        let shape = prepared.latents.mean.dims();
        let product = prepared
            .latents
            .clone()
            .sample(stream.normal(shape, &self.device))
            * self.scaling;
        let noise = match given {
            Some(given) => given.of(index),
            None => stream.normal(shape, &self.device),
        };
        // The masked product's latents: only a U-net of 9 channels uses them.
        stream.normal(shape, &self.device);
        Begun {
            index,
            context,
            stream,
            product,
            noise,
        }
    }

    /// The latents of all pictures, each with its place among those that are wanted.
    fn denoise(
        &mut self,
        prepared: &Prepared,
        begun: Vec<Begun>,
        progress: &mut dyn FnMut(StepsDone),
    ) -> Result<Vec<(usize, Tensor<4>)>, ModelError> {
        let (mut done, all) = (0, begun.len() * self.schedule.steps.len());
        let (unet, config) = (&mut self.unet, &self.config);
        self.controlnet.with(|controlnet| {
            unet.with(|unet| {
                let denoising = Denoising {
                    unet,
                    controlnet,
                    schedule: &self.schedule,
                    guidance: Guidance(config.guidance),
                    control_scale: config.control_scale,
                    slice: self.slice,
                    device: &self.device,
                    control: prepared.control.clone(),
                    repaint: prepared.repaint.clone(),
                };
                let mut painted = vec![];
                for part in batches(begun, config.batch) {
                    let indices: Vec<usize> = part.iter().map(|begun| begun.index).collect();
                    let latents = denoising.run(part, &mut || {
                        done += indices.len();
                        progress(StepsDone { done, all });
                    });
                    painted.extend(indices.into_iter().zip(latents.split(1, 0)));
                }
                painted
            })
        })?
    }

    /// The pictures that are finite.
    fn decode(
        &mut self,
        painted: Vec<(usize, Tensor<4>)>,
    ) -> Result<Vec<(usize, Option<Picture>)>, ModelError> {
        let (slice, tiles, scaling) = (self.slice, self.tiles(), self.scaling);
        self.autoencoder.with(|autoencoder| {
            let picture = |latents: Tensor<4>| {
                let latents = (latents / scaling).cast(autoencoder.dtype());
                let decoded = match tiles {
                    Some(tiles) => autoencoder.decode_tiled(latents, tiles, slice),
                    None => autoencoder.decode(latents, slice),
                };
                Picture::new(decoded.cast(DType::F32))
            };
            let pictures = painted.into_iter();
            pictures
                .map(|(index, latents)| (index, picture(latents)))
                .collect()
        })
    }
}

/// Parts of at most `most` pictures whose descriptions are equally long to the U-net.
fn batches(begun: Vec<Begun>, most: usize) -> Vec<Vec<Begun>> {
    let mut parts: Vec<Vec<Begun>> = vec![];
    for begun in begun {
        match parts.last_mut() {
            Some(part) if part.len() < most && part[0].context.dims() == begun.context.dims() => {
                part.push(begun);
            }
            _ => parts.push(vec![begun]),
        }
    }
    parts
}
