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
use super::cpu;
use super::lora::DiffusionLora;
use super::noise::NoiseStream;
use super::part::Part;
use super::prompt::{PromptStyle, chunks};
use super::schedule::{Sampler, Schedule};
use super::text_encoder::TextEncoder;
use super::unet::Unet;
use crate::error::ModelError;

mod canvas;
mod given_noise;
mod picture;
mod text;

pub use canvas::Canvas;
pub use given_noise::GivenNoise;
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
    /// Descriptions painted at once. 1 gives every picture the same bits whatever is painted beside it, on a CPU any number does; more
    /// are faster on a card that one does not fill.
    pub batch: usize,
    /// The most scores of attention held at once; none leaves it to the device.
    pub slice: Option<SliceBytes>,
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
            slice: None,
            tile: None,
            release: false,
        }
    }
}

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

/// What one picture begins with.
struct Begun {
    /// Its place among those that are wanted.
    index: usize,
    /// Its description beside what is not wanted.
    context: Tensor<3>,
    stream: NoiseStream,
    /// The product's latents.
    product: Tensor<4>,
    noise: Tensor<4>,
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

    /// The tokenizer of its descriptions.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        self.texts.tokenizer()
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
        let (mut done, all) = (0, begun.len() * self.schedule.steps.len());
        for part in batches(begun, self.config.batch) {
            let indices: Vec<usize> = part.iter().map(|begun| begun.index).collect();
            let mut stepped = || {
                done += indices.len();
                progress(StepsDone { done, all });
            };
            let latents = self.denoise(&prepared, part, &mut stepped)?;
            for (latents, &index) in latents.split(1, 0).into_iter().zip(&indices) {
                if let Some(picture) = self.decode(latents)? {
                    pictures[index] = Ok(picture);
                }
            }
        }
        Ok(pictures)
    }

    /// Each description beside what is not wanted, `[2, tokens, width]`.
    fn contexts(&mut self, wanted: &[Wanted]) -> Result<Vec<Result<Tensor<3>, ModelError>>, ModelError> {
        let (texts, device, negative) = (&mut self.texts, &self.device, &self.config.negative_prompt);
        self.text_encoder.with(|encoder| {
            let negative = texts.embed(negative, encoder, device)?;
            let empty = texts.embed("", encoder, device)?;
            let context = |wanted: &Wanted| {
                let tokens = texts.embed(&wanted.description, encoder, device)?;
                Ok(text::beside(&negative, tokens, &empty))
            };
            Ok(wanted.iter().map(context).collect())
        })?
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

    /// From noise to latents of pictures.
    ///
    /// # Shapes
    /// `[descriptions, 4, height, width]`
    fn denoise(
        &mut self,
        prepared: &Prepared,
        mut begun: Vec<Begun>,
        stepped: &mut dyn FnMut(),
    ) -> Result<Tensor<4>, ModelError> {
        let all = |of: &dyn Fn(&Begun) -> Tensor<4>| Tensor::cat(begun.iter().map(of).collect(), 0);
        let (product, noise) = (
            all(&|begun| begun.product.clone()),
            all(&|begun| begun.noise.clone()),
        );
        let (guidance, device) = (Guidance(self.config.guidance), &self.device);
        let context = guidance.context(&begun);
        let keep = prepared.repaint.clone().neg() + 1.0;
        let (scale, slice, steps) = (self.config.control_scale, self.slice, &self.schedule.steps);
        let unet = &mut self.unet;
        let mut latents = noise.clone() * self.schedule.initial;
        self.controlnet.with(|controlnet| {
            unet.with(|unet| {
                let networks = Networks {
                    unet,
                    controlnet,
                    control: prepared.control.clone(),
                    scale,
                    slice,
                };
                let mut before = None;
                for step in steps {
                    let input = guidance.both(latents.clone() * step.input);
                    let output = networks.noise(input, step.timestep, context.clone(), device);
                    let fresh = step.draws_noise().then(|| {
                        let shape = begun[0].noise.dims();
                        let drawn = begun.iter_mut().map(|begun| begun.stream.normal(shape, device));
                        Tensor::cat(drawn.collect(), 0)
                    });
                    let (next, estimate) =
                        step.apply(latents.clone(), guidance.guided(output), before.take(), fresh);
                    let reference = step.behind.of(product.clone(), noise.clone());
                    latents = reference * keep.clone() + next * prepared.repaint.clone();
                    before = Some(estimate);
                    stepped();
                }
                latents
            })
        })?
    }

    /// The picture, unless it is not finite.
    fn decode(&mut self, latents: Tensor<4>) -> Result<Option<Picture>, ModelError> {
        let (slice, tiles, scaling) = (self.slice, self.tiles(), self.scaling);
        let decoded = self.autoencoder.with(|autoencoder| {
            let latents = (latents / scaling).cast(autoencoder.dtype());
            match tiles {
                Some(tiles) => autoencoder.decode_tiled(latents, tiles, slice),
                None => autoencoder.decode(latents, slice),
            }
        })?;
        Ok(Picture::new(decoded.cast(DType::F32)))
    }
}

/// The networks of a step, with what stays the same from step to step.
struct Networks<'a> {
    unet: &'a Unet,
    controlnet: &'a ControlNet,
    control: Tensor<4>,
    scale: f64,
    slice: SliceBytes,
}

impl Networks<'_> {
    /// What the U-net tells of each row under the ControlNet, in f32. On a CPU each row is a pass of its own.
    ///
    /// # Shapes
    /// - `input`: `[rows, 4, height, width]`
    /// - `context`: `[rows, tokens, width]`
    fn noise(&self, input: Tensor<4>, timestep: f64, context: Tensor<3>, device: &Device) -> Tensor<4> {
        if !cpu::is_it(device) {
            return self.pass(input, timestep, context);
        }
        let row = |row: usize| {
            let (input, context) = (input.clone().narrow(0, row, 1), context.clone().narrow(0, row, 1));
            self.pass(input, timestep, context)
        };
        Tensor::cat(cpu::map((0..input.dims()[0]).collect(), device, row), 0)
    }

    fn pass(&self, input: Tensor<4>, timestep: f64, context: Tensor<3>) -> Tensor<4> {
        let (controlnet, unet, slice) = (self.controlnet, self.unet, self.slice);
        let dtype = unet.dtype();
        let (input, context) = (input.cast(dtype), context.cast(dtype));
        let control = self.control.clone();
        let residuals = controlnet.forward(
            input.clone(),
            timestep,
            context.clone(),
            control,
            self.scale,
            slice,
        );
        unet.forward(input, timestep, context, Some(residuals), slice)
            .cast(DType::F32)
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

    /// The contexts as rows of one pass: first all without the description, then all with it.
    fn context(self, begun: &[Begun]) -> Tensor<3> {
        let rows = |row: usize| {
            begun
                .iter()
                .map(move |begun| begun.context.clone().narrow(0, row, 1))
        };
        match self.is_on() {
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
