//! Diffusion models on disk: a directory as diffusers writes it, or a single file with that directory's descriptions beside
//! it, and a ControlNet in either form.
//!
//! Opening reads descriptions and headers only and compares every name and shape, so that all that is wrong is said before
//! the first weight is read.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{DType, Device};
use serde_json::{Map, Value};

use super::autoencoder::Autoencoder;
use super::clip_tokenizer::ClipTokenizer;
use super::config::{AutoencoderConfig, UnetConfig};
use super::lora::DiffusionLora;
use super::naming;
use super::schedule::SamplerConfig;
use super::text_encoder::{TextEncoder, TextEncoderConfig};
use super::unet::Unet;
use crate::directory::read_json;
use crate::error::ModelError;
use crate::weights::shards::Shards;
use crate::weights::streaming::{Comparison, WeightSource, elements};

mod compared;
mod controlnet;
mod weight_files;

pub(crate) use compared::{Compared, Held};
pub use controlnet::ControlNetFiles;

/// What diffusers calls the weights of its own networks.
const DIFFUSERS: &[&str] = &["diffusion_pytorch_model"];

/// What transformers calls them.
const TRANSFORMERS: &[&str] = &["model", "pytorch_model"];

/// Pixels of a side that make one of the latents: what the ControlNet and the masks are made for.
const FACTOR: usize = 8;

/// What both call a network's configuration.
const CONFIG: &str = "config.json";

/// Tables that are computed from the configuration.
const COMPUTED: &str = "embeddings.position_ids";

/// What published single files still hold of a training below a network's name, and what no network here has.
const LEFTOVERS: [&str; 5] = [
    "model_ema.",
    "loss.",
    "vision_model.",
    "text_projection",
    "logit_scale",
];

/// A Stable Diffusion model on disk, described and checked.
#[derive(Debug, Clone)]
pub struct StableDiffusion {
    place: PathBuf,
    /// The U-net's shape.
    pub unet: UnetConfig,
    /// The autoencoder's shape.
    pub autoencoder: AutoencoderConfig,
    /// The text encoder's shape.
    pub text_encoder: TextEncoderConfig,
    /// Noise levels.
    pub sampler: SamplerConfig,
    /// Its tokenizer.
    pub tokenizer: ClipTokenizer,
}

impl StableDiffusion {
    /// Opens a directory with `unet/`, `vae/`, `text_encoder/`, `tokenizer/` and `scheduler/`; or a single
    /// `.safetensors` or `.ckpt` file, beside which `tokenizer/` lies, and those of the others whose `config.json` says something else than
    /// Stable Diffusion 1.5's.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file and key, or all tensors at fault.
    pub fn open(place: &Path) -> Result<Self, ModelError> {
        let model = Self::described(place)?;
        for (_, shards, comparison) in model.compared()? {
            check_same(&shards, comparison)?;
        }
        Ok(model)
    }

    /// The same, its weights not looked at.
    fn described(place: &Path) -> Result<Self, ModelError> {
        let beside = Self::descriptions(place);
        let read = |part: &str, file: &str| -> Result<Option<Map<String, Value>>, ModelError> {
            let path = beside.join(part).join(file);
            if place.is_file() && !path.exists() {
                return Ok(None);
            }
            read_json(&path).map(Some)
        };
        let of = |part: &str, file: &str, error: ModelError| error.in_file(&beside.join(part).join(file));
        let model = Self {
            place: place.to_owned(),
            unet: match read("unet", CONFIG)? {
                Some(json) => UnetConfig::of_unet(json).map_err(|error| of("unet", CONFIG, error))?,
                None => UnetConfig::stable_diffusion_15(),
            },
            autoencoder: match read("vae", CONFIG)? {
                Some(json) => AutoencoderConfig::read(json).map_err(|error| of("vae", CONFIG, error))?,
                None => AutoencoderConfig::stable_diffusion_15(),
            },
            text_encoder: match read("text_encoder", CONFIG)? {
                Some(json) => {
                    TextEncoderConfig::read(json).map_err(|error| of("text_encoder", CONFIG, error))?
                }
                None => TextEncoderConfig::stable_diffusion_15(),
            },
            sampler: match beside.join("scheduler").join("scheduler_config.json") {
                path if place.is_file() && !path.exists() => SamplerConfig::stable_diffusion_15(),
                path => SamplerConfig::load(&path)?,
            },
            tokenizer: ClipTokenizer::load(&beside.join("tokenizer"))?,
        };
        model.check_parts(&beside)?;
        Ok(model)
    }

    /// Where the descriptions lie.
    fn descriptions(place: &Path) -> PathBuf {
        match place.is_file() {
            true => place.parent().unwrap_or(Path::new("")).to_owned(),
            false => place.to_owned(),
        }
    }

    /// Whether the parts fit each other.
    fn check_parts(&self, beside: &Path) -> Result<(), ModelError> {
        let tokens = self.tokenizer.check_fits(self.text_encoder.vocab_size);
        tokens.map_err(|error| error.in_file(&beside.join("tokenizer")))?;
        let factor = self.autoencoder.factor();
        if factor != FACTOR {
            return Err(ModelError::Content {
                path: beside.join("vae").join(CONFIG),
                reason: format!(
                    "block_out_channels = {:?}: expected four levels, which make one of the latents of {FACTOR} pixels a side",
                    self.autoencoder.block_out_channels
                ),
            });
        }
        let (width, expected) = (self.text_encoder.hidden_size, self.unet.cross_attention_dim);
        if width != expected {
            return Err(ModelError::Content {
                path: beside.join("text_encoder").join(CONFIG),
                reason: format!(
                    "hidden_size = {width}: expected {expected}, the U-net's cross_attention_dim"
                ),
            });
        }
        Ok(())
    }

    /// Compares the names and shapes of all weights, each network's files under its directory.
    fn compared(&self) -> Result<[(&'static str, Shards, Comparison); 3], ModelError> {
        // Nothing is drawn.
        let device = Device::flex();
        let unet = self.unet.init_unet(&device, 0);
        let (unet, of_unet) = self.unet_source()?.compared(&unet);
        let vae = self.autoencoder.init(&device, 0);
        let (vae, of_vae) = self.autoencoder_source()?.compared(&vae);
        let text = self.text_encoder.init(&device, 0);
        let (text, of_text) = self.text_encoder_source()?.compared(&text);
        Ok([
            ("unet", unet, of_unet),
            ("vae", vae, of_vae),
            ("text_encoder", text, of_text),
        ])
    }

    /// Reads the U-net, with an adapter where one is given.
    ///
    /// # Errors
    /// [`ModelError::Content`] with the file and tensor that cannot be read, or is not finite.
    pub fn read_unet(
        &self,
        device: &Device,
        dtype: DType,
        lora: Option<&DiffusionLora>,
    ) -> Result<Unet, ModelError> {
        let unet = self.unet_source()?.load(self.unet.init_unet(device, 0), dtype)?;
        match lora {
            Some(lora) => lora.fold_into_unet(unet),
            None => Ok(unet),
        }
    }

    /// Reads the autoencoder.
    ///
    /// # Errors
    /// As [`read_unet`](Self::read_unet).
    pub fn read_autoencoder(&self, device: &Device, dtype: DType) -> Result<Autoencoder, ModelError> {
        self.autoencoder_source()?
            .load(self.autoencoder.init(device, 0), dtype)
    }

    /// Reads the text encoder, with an adapter where one is given.
    ///
    /// # Errors
    /// As [`read_unet`](Self::read_unet).
    pub fn read_text_encoder(
        &self,
        device: &Device,
        dtype: DType,
        lora: Option<&DiffusionLora>,
    ) -> Result<TextEncoder, ModelError> {
        let encoder = self
            .text_encoder_source()?
            .load(self.text_encoder.init(device, 0), dtype)?;
        match lora {
            Some(lora) => lora.fold_into_text_encoder(encoder),
            None => Ok(encoder),
        }
    }

    /// Refuses an adapter of another model.
    ///
    /// # Errors
    /// [`ModelError::Content`] with the layers that this model does not have.
    pub fn check_lora(&self, lora: &DiffusionLora) -> Result<(), ModelError> {
        // Nothing is drawn.
        let device = Device::flex();
        lora.check(
            &self.unet.init_unet(&device, 0),
            &self.text_encoder.init(&device, 0),
        )
    }

    fn unet_source(&self) -> Result<Source, ModelError> {
        if self.place.is_file() {
            let config = self.unet.clone();
            let naming = move |ours: &str| naming::single_unet(&config, ours);
            return Source::of_single(&self.place, naming::SINGLE_UNET, naming);
        }
        unet_directory(&self.place.join("unet"))
    }

    fn autoencoder_source(&self) -> Result<Source, ModelError> {
        if self.place.is_file() {
            let config = self.autoencoder.clone();
            let naming = move |ours: &str| naming::single_autoencoder(&config, ours);
            return Source::of_single(&self.place, naming::SINGLE_AUTOENCODER, naming);
        }
        autoencoder_directory(&self.place.join("vae"))
    }

    fn text_encoder_source(&self) -> Result<Source, ModelError> {
        if self.place.is_file() {
            let source = Source::of_single(&self.place, naming::SINGLE_TEXT_ENCODER, str::to_owned)?;
            return Ok(source.bare_or_not());
        }
        text_encoder_directory(&self.place.join("text_encoder"))
    }
}

fn unet_directory(dir: &Path) -> Result<Source, ModelError> {
    Source::of_directory(dir, DIFFUSERS, naming::unet)
}

fn autoencoder_directory(dir: &Path) -> Result<Source, ModelError> {
    let source = Source::of_directory(dir, DIFFUSERS, naming::autoencoder)?;
    let is_old = source
        .shards
        .tensors()
        .keys()
        .any(|name| name.contains(".proj_attn."));
    Ok(match is_old {
        true => Source {
            naming: Box::new(naming::autoencoder_before_018),
            ..source
        },
        false => source,
    })
}

fn text_encoder_directory(dir: &Path) -> Result<Source, ModelError> {
    Ok(Source::of_directory(dir, TRANSFORMERS, str::to_owned)?.bare_or_not())
}

/// The files of one network and what they call its weights.
struct Source {
    shards: Shards,
    naming: Box<dyn Fn(&str) -> String>,
}

impl Source {
    fn of_directory(
        dir: &Path,
        names: &[&str],
        naming: impl Fn(&str) -> String + 'static,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            shards: Shards::open_named(dir, names)?,
            naming: Box::new(naming),
        })
    }

    fn of_single(
        file: &Path,
        prefix: &str,
        naming: impl Fn(&str) -> String + 'static,
    ) -> Result<Self, ModelError> {
        let is_leftover = |name: &str| LEFTOVERS.iter().any(|leftover| name.starts_with(leftover));
        let below = |name: &str| {
            let name = name.strip_prefix(prefix)?;
            (!is_leftover(name)).then(|| name.to_owned())
        };
        let shards = Shards::open_part(file, below)?;
        if shards.tensors().is_empty() {
            return Err(ModelError::Content {
                path: file.to_owned(),
                reason: format!(
                    "no tensor is called {prefix}..: expected a whole Stable Diffusion checkpoint"
                ),
            });
        }
        Ok(Self {
            shards,
            naming: Box::new(naming),
        })
    }

    /// A text encoder's, whose outermost level transformers 5 and some single files leave out.
    fn bare_or_not(self) -> Self {
        const LEVEL: &str = "text_model.";
        let is_bare = self.shards.tensors().keys().all(|name| !name.starts_with(LEVEL));
        match is_bare {
            true => Self {
                naming: Box::new(|ours| ours.trim_start_matches(LEVEL).to_owned()),
                ..self
            },
            false => self,
        }
    }

    fn compared<M: Module>(mut self, fresh: &M) -> (Shards, Comparison) {
        let comparison = self.weights(None, &mut |_, _| ()).compare(fresh);
        (self.shards, comparison)
    }

    fn load<M: Module>(mut self, fresh: M, dtype: DType) -> Result<M, ModelError> {
        let (place, count) = (self.shards.place().to_owned(), elements(&fresh));
        tracing::debug!(file = %place.display(), weights = count, "reading a network");
        let loaded = self.weights(Some(dtype), &mut |_, _| ()).load(fresh);
        loaded.map_err(|error| error.in_file(&place))
    }

    fn weights<'a>(
        &'a mut self,
        dtype: Option<DType>,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> WeightSource<'a> {
        let naming = &self.naming;
        WeightSource {
            shards: &mut self.shards,
            theirs: Box::new(move |ours| naming(ours)),
            ignored: &is_computed,
            dtype,
            progress,
        }
    }
}

/// Refuses files that differ from their network.
fn check_same(shards: &Shards, comparison: Comparison) -> Result<(), ModelError> {
    let same = comparison.into_result();
    same.map_err(|error| error.in_file(shards.place()))
}

fn is_computed(name: &str) -> bool {
    name.ends_with(COMPUTED)
}

#[cfg(test)]
pub(super) fn read_unet_of(dir: &Path, config: &UnetConfig) -> Result<Unet, ModelError> {
    unet_directory(dir)?.load(config.init_unet(&Device::flex(), 0), DType::F32)
}

#[cfg(test)]
pub(super) fn read_autoencoder_of(dir: &Path, config: &AutoencoderConfig) -> Result<Autoencoder, ModelError> {
    autoencoder_directory(dir)?.load(config.init(&Device::flex(), 0), DType::F32)
}

#[cfg(test)]
pub(super) fn read_text_encoder_of(
    dir: &Path,
    config: &TextEncoderConfig,
) -> Result<TextEncoder, ModelError> {
    text_encoder_directory(dir)?.load(config.init(&Device::flex(), 0), DType::F32)
}
