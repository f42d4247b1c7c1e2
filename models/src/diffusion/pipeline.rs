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
use super::clip_tokenizer::ClipTokenizer;
use super::controlnet::ControlNet;
use super::lora::DiffusionLora;
use super::noise::NoiseStream;
use super::part::Part;
use super::prompt::PromptStyle;
use super::schedule::{Sampler, Schedule};
use super::text_encoder::TextEncoder;
use super::unet::Unet;
use crate::error::ModelError;

mod canvas;
mod picture;
mod text;

pub use canvas::Canvas;
pub use picture::Picture;
use text::Texts;

/// Products whose latents and edges are kept for the next picture. One takes about 6 MiB at 512x512.
const KEPT_CANVASES: NonZero<usize> = NonZero::new(8).expect("not zero");

/// How pictures are made.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfig {
    /// The sampler.
    pub sampler: Sampler,
    /// Its steps.
    pub steps: usize,
    /// How strongly the description is followed; at most 1 means no guidance, which halves the work.
    pub guidance: f64,
    /// How strongly the edges are followed.
    pub control_scale: f64,
    /// What is not wanted.
    pub negative_prompt: String,
    /// How descriptions are read.
    pub prompts: PromptStyle,
    /// Descriptions painted at once. 1 gives every picture the same bits whatever is painted beside it; more are faster on a
    /// card that one does not fill.
    pub batch: usize,
    /// The most scores of attention held at once.
    pub slice: SliceBytes,
    /// Side of the autoencoder's tiles in latents; none reads and paints pictures whole.
    pub tile: Option<usize>,
    /// Whether a network's memory is given back after its part of every picture.
    pub release: bool,
}

impl Default for PipelineConfig {
    /// CAIG's settings: 30 steps of Euler a, guidance 7.5, edges at full strength, no negative prompt.
    fn default() -> Self {
        Self {
            sampler: Sampler::EulerA,
            steps: 30,
            guidance: 7.5,
            control_scale: 1.0,
            negative_prompt: String::new(),
            prompts: PromptStyle::default(),
            batch: 1,
            slice: SliceBytes::default(),
            tile: None,
            release: false,
        }
    }
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

/// What one picture begins with.
struct Begun {
    stream: NoiseStream,
    /// The product's latents.
    product: Tensor<4>,
    noise: Tensor<4>,
}

impl Inpainting {
    /// Reads nothing yet: each network is read when it is first needed.
    ///
    /// # Errors
    /// [`ModelError::Config`] for steps that the sampler cannot take, [`ModelError::Content`] for an adapter of another model.
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
        let keeps = !config.release;
        let texts = Texts::new(
            model.tokenizer.clone(),
            model.text_encoder.max_position_embeddings,
            config.prompts,
        );
        let (of_text, of_unet) = (
            (model.clone(), lora.clone(), device.clone()),
            (model.clone(), lora, device.clone()),
        );
        let of_autoencoder = (model.clone(), device.clone());
        let of_controlnet = (controlnet.clone(), device.clone());
        Ok(Self {
            schedule,
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

    /// The tokenizer of its descriptions.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        self.texts.tokenizer()
    }

    /// One picture per description, all from the noise of `seed`, or from `latents` where they are given: `[1, 4, height / 8,
    /// width / 8]` for all, or as many as there are descriptions.
    ///
    /// # Errors
    /// [`ModelError::Prompt`] for a description that is too long, [`ModelError::Canvas`] for latents of another size,
    /// [`ModelError::PictureNotFinite`], and what reading a network can fail with.
    pub fn paint(
        &mut self,
        canvas: &Canvas,
        descriptions: &[String],
        seed: u64,
        latents: Option<Tensor<4>>,
        progress: &mut dyn FnMut(StepsDone),
    ) -> Result<Vec<Picture>, ModelError> {
        let count = descriptions.len();
        if let Some(latents) = &latents {
            self.check_latents(latents, canvas, count)?;
        }
        let texts = &mut self.texts;
        let contexts = self.text_encoder.with(|encoder| {
            let negative = texts.embed(&self.config.negative_prompt, encoder, &self.device)?;
            let embedded: Result<Vec<Tensor<3>>, ModelError> = descriptions
                .iter()
                .map(|text| texts.embed(text, encoder, &self.device))
                .collect();
            texts.beside(&negative, embedded?, encoder, &self.device)
        })??;
        let prepared = self.prepare(canvas)?;
        let begun: Vec<Begun> = (0..count)
            .map(|index| self.begin(&prepared, seed, latents.as_ref(), index))
            .collect();
        let mut done = 0;
        let all = count * self.schedule.steps.len();
        let mut pictures = vec![];
        for part in batches(begun, contexts, self.config.batch) {
            let size = part.0.len();
            let mut stepped = || {
                done += size;
                progress(StepsDone { done, all });
            };
            let latents = self.denoise(&prepared, part, &mut stepped)?;
            for latents in latents.split(1, 0) {
                pictures.push(self.decode(latents, pictures.len())?);
            }
        }
        Ok(pictures)
    }

    fn check_latents(&self, latents: &Tensor<4>, canvas: &Canvas, count: usize) -> Result<(), ModelError> {
        let (width, height) = canvas.dimensions();
        let (wide, tall) = (width as usize / self.factor, height as usize / self.factor);
        let [rows, channels, ..] = latents.dims();
        if [channels, latents.dims()[2], latents.dims()[3]] == [4, tall, wide] && (rows == 1 || rows == count)
        {
            return Ok(());
        }
        let reason = format!(
            "latents of shape {:?}, expected [1 or {count}, 4, {tall}, {wide}] for a picture of {width}x{height}",
            latents.dims()
        );
        Err(ModelError::Canvas { reason })
    }

    /// The canvas through the autoencoder and the ControlNet's first layers.
    fn prepare(&mut self, canvas: &Canvas) -> Result<Prepared, ModelError> {
        let digest = canvas.digest();
        if let Some(known) = self.canvases.get(&digest) {
            return Ok(known.clone());
        }
        let (slice, tiles) = (self.config.slice, self.tiles());
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
    fn begin(&self, prepared: &Prepared, seed: u64, latents: Option<&Tensor<4>>, index: usize) -> Begun {
        let mut stream = NoiseStream::new(seed);
        let shape = prepared.latents.mean.dims();
        let product = prepared
            .latents
            .clone()
            .sample(stream.normal(shape, &self.device))
            * self.scaling;
        let noise = match latents {
            Some(latents) => {
                let row = if latents.dims()[0] == 1 { 0 } else { index };
                latents.clone().narrow(0, row, 1)
            }
            None => stream.normal(shape, &self.device),
        };
        // The masked product's latents: only a U-net of 9 channels uses them.
        stream.normal(shape, &self.device);
        Begun {
            stream,
            product,
            noise,
        }
    }

    /// From noise to latents of pictures.
    ///
    /// # Shapes
    /// `[descriptions, 4, height, width]`
    fn denoise(
        &mut self,
        prepared: &Prepared,
        (mut begun, contexts): (Vec<Begun>, Vec<Tensor<3>>),
        stepped: &mut dyn FnMut(),
    ) -> Result<Tensor<4>, ModelError> {
        let all = |of: &dyn Fn(&Begun) -> Tensor<4>| Tensor::cat(begun.iter().map(of).collect(), 0);
        let (product, noise) = (
            all(&|begun| begun.product.clone()),
            all(&|begun| begun.noise.clone()),
        );
        let context = Guidance::context(contexts, self.config.guidance);
        let guidance = Guidance(self.config.guidance);
        let (slice, scale) = (self.config.slice, self.config.control_scale);
        let keep = prepared.repaint.clone().neg() + 1.0;
        let mut latents = noise.clone() * self.schedule.initial;
        let mut before = None;
        for step in &self.schedule.steps {
            let input = guidance.both(latents.clone() * step.input);
            let residuals = self.controlnet.with(|controlnet| {
                let dtype = controlnet.dtype();
                let (input, context) = (input.clone().cast(dtype), context.clone().cast(dtype));
                controlnet.forward(
                    input,
                    step.timestep,
                    context,
                    prepared.control.clone(),
                    scale,
                    slice,
                )
            })?;
            let output = self.unet.with(|unet| {
                let (input, context) = (input.cast(unet.dtype()), context.clone().cast(unet.dtype()));
                unet.forward(input, step.timestep, context, Some(residuals), slice)
            })?;
            let output = guidance.guided(output.cast(DType::F32));
            let fresh = step.draws_noise().then(|| {
                let shape = begun[0].noise.dims();
                let drawn = begun
                    .iter_mut()
                    .map(|begun| begun.stream.normal(shape, &self.device));
                Tensor::cat(drawn.collect(), 0)
            });
            let (next, estimate) = step.apply(latents, output, before.take(), fresh);
            let reference = step.behind.of(product.clone(), noise.clone());
            latents = reference * keep.clone() + next * prepared.repaint.clone();
            before = Some(estimate);
            stepped();
        }
        Ok(latents)
    }

    fn decode(&mut self, latents: Tensor<4>, index: usize) -> Result<Picture, ModelError> {
        let (slice, tiles, scaling) = (self.config.slice, self.tiles(), self.scaling);
        let decoded = self.autoencoder.with(|autoencoder| {
            let latents = (latents / scaling).cast(autoencoder.dtype());
            match tiles {
                Some(tiles) => autoencoder.decode_tiled(latents, tiles, slice),
                None => autoencoder.decode(latents, slice),
            }
        })?;
        Picture::new(decoded.cast(DType::F32)).ok_or(ModelError::PictureNotFinite { index })
    }
}

/// Classifier-free guidance ([arXiv 2207.12598](https://arxiv.org/abs/2207.12598)): without the description and with it, side
/// by side in one pass.
#[derive(Clone, Copy)]
struct Guidance(f64);

impl Guidance {
    fn is_on(self) -> bool {
        self.0 > 1.0
    }

    /// Contexts of descriptions, `[2, tokens, width]` each, as rows of one pass: first all without, then all with.
    fn context(contexts: Vec<Tensor<3>>, strength: f64) -> Tensor<3> {
        let rows = |row: usize| {
            contexts
                .iter()
                .map(move |context| context.clone().narrow(0, row, 1))
        };
        match Self(strength).is_on() {
            true => Tensor::cat(rows(0).chain(rows(1)).collect(), 0),
            false => Tensor::cat(rows(1).collect(), 0),
        }
    }

    fn both(self, latents: Tensor<4>) -> Tensor<4> {
        match self.is_on() {
            true => Tensor::cat(vec![latents.clone(), latents], 0),
            false => latents,
        }
    }

    fn guided(self, output: Tensor<4>) -> Tensor<4> {
        if !self.is_on() {
            return output;
        }
        let rows = output.dims()[0] / 2;
        let without = output.clone().narrow(0, 0, rows);
        let with = output.narrow(0, rows, rows);
        without.clone() + (with - without) * self.0
    }
}

/// Parts of at most `most` pictures whose descriptions are equally long to the U-net.
fn batches(begun: Vec<Begun>, contexts: Vec<Tensor<3>>, most: usize) -> Vec<(Vec<Begun>, Vec<Tensor<3>>)> {
    let mut parts: Vec<(Vec<Begun>, Vec<Tensor<3>>)> = vec![];
    for (begun, context) in begun.into_iter().zip(contexts) {
        match parts.last_mut() {
            Some((others, beside)) if others.len() < most && beside[0].dims() == context.dims() => {
                others.push(begun);
                beside.push(context);
            }
            _ => parts.push((vec![begun], vec![context])),
        }
    }
    parts
}
