//! Diffusion models of known shapes with fresh weights, laid out as diffusers does: what a deployment is tried out with before
//! real weights are there.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{DType, Device};
use serde_json::{Map, Value, json};

use super::clip_tokenizer::ClipTokenizer;
use super::config::{AutoencoderConfig, PerLevel, UnetConfig};
use super::naming;
use super::schedule::SamplerConfig;
use super::text_encoder::TextEncoderConfig;
use crate::checkpoint::{Spelling, write_weights};
use crate::directory::{begin, to_json, write};
use crate::error::ModelError;
use crate::init::stream_seed;
use crate::weights::streaming::elements;

/// A shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffusionPreset {
    /// Stable Diffusion 1.5: U-net, autoencoder, text encoder, tokenizer and scheduler.
    StableDiffusion15,
    /// The ControlNet of its U-net that was published for edges.
    ControlNetCanny,
    /// The same in miniature, with its ControlNet in `controlnet/`: paints in seconds on a CPU, for trying things out.
    Tiny,
}

/// What a directory holds.
struct Shapes {
    unet: UnetConfig,
    autoencoder: AutoencoderConfig,
    text_encoder: TextEncoderConfig,
}

/// The marker of a whole model's directory.
pub(crate) const MODEL_INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
const SCHEDULER: &str = "scheduler_config.json";

/// Entries of a fresh tokenizer's vocabulary.
const WORDS: usize = 1024;

/// Told the weights written so far and of all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Writes a preset's directory. Its tokenizer is trained on `corpus`.
///
/// # Errors
/// [`ModelError::File`] with the file that could not be written.
pub fn init<S: AsRef<str> + Send>(
    preset: DiffusionPreset,
    corpus: impl Iterator<Item = S> + Send,
    seed: u64,
    dtype: DType,
    out: &Path,
    progress: Progress<'_>,
) -> Result<(), ModelError> {
    let shapes = match preset {
        DiffusionPreset::StableDiffusion15 => Shapes::stable_diffusion_15(),
        DiffusionPreset::Tiny => Shapes::tiny(),
        DiffusionPreset::ControlNetCanny => {
            let config = UnetConfig::stable_diffusion_15().with_control();
            return Writer::new(seed, dtype, progress).controlnet(&config, out);
        }
    };
    let mut writer = Writer::new(seed, dtype, progress);
    begin(out, MODEL_INDEX)?;
    if preset == DiffusionPreset::Tiny {
        let config = UnetConfig {
            conditioning_embedding_out_channels: vec![4, 8, 8, 16],
            ..shapes.unet.with_control()
        };
        writer.controlnet(&config, &out.join("controlnet"))?;
    }
    writer.model(&shapes, ClipTokenizer::train(corpus, WORDS)?, out)
}

impl Shapes {
    fn stable_diffusion_15() -> Self {
        Self {
            unet: UnetConfig::stable_diffusion_15(),
            autoencoder: AutoencoderConfig::stable_diffusion_15(),
            text_encoder: TextEncoderConfig::stable_diffusion_15(),
        }
    }

    fn tiny() -> Self {
        Self {
            unet: UnetConfig {
                block_out_channels: vec![16, 32, 32, 32],
                attention_head_dim: PerLevel::Same(2),
                cross_attention_dim: 32,
                norm_num_groups: 8,
                ..UnetConfig::stable_diffusion_15()
            },
            autoencoder: AutoencoderConfig {
                block_out_channels: vec![8, 16, 16, 16],
                layers_per_block: 1,
                norm_num_groups: 8,
                ..AutoencoderConfig::stable_diffusion_15()
            },
            text_encoder: TextEncoderConfig {
                vocab_size: WORDS,
                hidden_size: 32,
                intermediate_size: 64,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                ..TextEncoderConfig::stable_diffusion_15()
            },
        }
    }
}

/// Draws networks and writes them.
struct Writer<'a> {
    seed: u64,
    dtype: DType,
    progress: Progress<'a>,
}

impl<'a> Writer<'a> {
    fn new(seed: u64, dtype: DType, progress: Progress<'a>) -> Self {
        Self {
            seed,
            dtype,
            progress,
        }
    }

    fn model(&mut self, shapes: &Shapes, tokenizer: ClipTokenizer, out: &Path) -> Result<(), ModelError> {
        let device = Device::flex();
        let of = |name: &str| stream_seed(self.seed, name);
        let (unet, vae) = (
            shapes.unet.init_unet(&device, of("unet")),
            shapes.autoencoder.init(&device, of("vae")),
        );
        let text_encoder = shapes.text_encoder.init(&device, of("text_encoder"));
        let all = elements(&unet) + elements(&vae) + elements(&text_encoder);
        let mut before = 0;
        self.network(unet, &UNET, &out.join("unet"), &mut before, all)?;
        self.network(vae, &AUTOENCODER, &out.join("vae"), &mut before, all)?;
        self.network(
            text_encoder,
            &TEXT_ENCODER,
            &out.join("text_encoder"),
            &mut before,
            all,
        )?;
        let described =
            |part: &str, file: &str, json: Value| write(&out.join(part).join(file), &to_json(&json));
        described("unet", CONFIG, unet_json(&shapes.unet))?;
        described("vae", CONFIG, autoencoder_json(&shapes.autoencoder))?;
        described("text_encoder", CONFIG, text_encoder_json(&shapes.text_encoder))?;
        begin(&out.join("scheduler"), SCHEDULER)?;
        begin(&out.join("tokenizer"), "vocab.json")?;
        described("scheduler", SCHEDULER, scheduler_json())?;
        tokenizer.write(&out.join("tokenizer"))?;
        write(&out.join(MODEL_INDEX), &to_json(&model_index_json()))
    }

    fn controlnet(&mut self, config: &UnetConfig, out: &Path) -> Result<(), ModelError> {
        begin(out, CONFIG)?;
        let network = config.init_controlnet(&Device::flex(), stream_seed(self.seed, "controlnet"));
        let all = elements(&network);
        self.network(network, &UNET, out, &mut 0, all)?;
        write(&out.join(CONFIG), &to_json(&controlnet_json(config)))
    }

    fn network<M: Module>(
        &mut self,
        network: M,
        files: &Files,
        out: &Path,
        before: &mut u64,
        all: u64,
    ) -> Result<(), ModelError> {
        begin(out, CONFIG)?;
        let count = elements(&network);
        let spelling = Spelling {
            theirs: Box::new(files.naming),
            stem: files.stem,
            is_convolution: &files.is_convolution,
        };
        let progress = &mut self.progress;
        write_weights(network, spelling, self.dtype, out, &mut |done, _| {
            progress(*before + done, all);
        })?;
        *before += count;
        Ok(())
    }
}

/// How diffusers calls the files of a network and what is in them.
struct Files {
    stem: &'static str,
    naming: fn(&str) -> String,
    is_convolution: fn(&str) -> bool,
}

const UNET: Files = Files {
    stem: "diffusion_pytorch_model",
    naming: naming::unet,
    // Stable Diffusion 1 has them around its transformers.
    is_convolution: |ours| ours.ends_with(".proj_in.weight") || ours.ends_with(".proj_out.weight"),
};

const AUTOENCODER: Files = Files {
    stem: "diffusion_pytorch_model",
    naming: naming::autoencoder,
    is_convolution: |_| false,
};

const TEXT_ENCODER: Files = Files {
    stem: "model",
    naming: |ours| ours.to_owned(),
    is_convolution: |_| false,
};

/// A configuration under its class's name, without the keys that belong to another class.
fn of_class(class: &str, config: impl serde::Serialize, without: &[&str], more: Value) -> Value {
    let mut json = Map::from_iter([("_class_name".to_owned(), json!(class))]);
    if let Ok(Value::Object(keys)) = serde_json::to_value(config) {
        json.extend(
            keys.into_iter()
                .filter(|(key, _)| !without.contains(&key.as_str())),
        );
    }
    if let Value::Object(keys) = more {
        json.extend(keys);
    }
    Value::Object(json)
}

fn unet_json(config: &UnetConfig) -> Value {
    let without = ["conditioning_embedding_out_channels", "conditioning_channels"];
    let more = json!({"sample_size": 64, "use_linear_projection": false});
    of_class("UNet2DConditionModel", config, &without, more)
}

fn controlnet_json(config: &UnetConfig) -> Value {
    let without = ["out_channels", "up_block_types"];
    let more = json!({"controlnet_conditioning_channel_order": "rgb", "use_linear_projection": false});
    of_class(UnetConfig::CONTROLNET, config, &without, more)
}

fn autoencoder_json(config: &AutoencoderConfig) -> Value {
    let levels = config.block_out_channels.len();
    let more = json!({
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "act_fn": "silu",
        "sample_size": 512,
    });
    of_class("AutoencoderKL", config, &[], more)
}

fn text_encoder_json(config: &TextEncoderConfig) -> Value {
    let mut json = of_class(
        "CLIPTextModel",
        config,
        &[],
        json!({"model_type": "clip_text_model"}),
    );
    if let Value::Object(keys) = &mut json {
        keys.remove("_class_name");
        keys.insert("architectures".into(), json!(["CLIPTextModel"]));
    }
    json
}

/// As in the published directory of Stable Diffusion 1.5, whose sampler is PNDM.
fn scheduler_json() -> Value {
    let SamplerConfig {
        num_train_timesteps,
        beta_start,
        beta_end,
        beta_schedule,
        clip_sample,
        set_alpha_to_one,
        steps_offset,
        ..
    } = SamplerConfig::stable_diffusion_15();
    json!({
        "_class_name": "PNDMScheduler",
        "num_train_timesteps": num_train_timesteps,
        "beta_start": beta_start,
        "beta_end": beta_end,
        "beta_schedule": beta_schedule,
        "clip_sample": clip_sample,
        "set_alpha_to_one": set_alpha_to_one,
        "steps_offset": steps_offset,
        "skip_prk_steps": true,
        "trained_betas": null,
    })
}

fn model_index_json() -> Value {
    json!({
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [null, null],
        "requires_safety_checker": false,
        "safety_checker": [null, null],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::checkpoint::{ControlNetFiles, StableDiffusion};
    use crate::presets::tests::corpus;
    use crate::weights::collect;

    #[test]
    fn a_fresh_model_in_miniature_is_read_again_as_it_was_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("sd");
        let mut last = (0, 0);
        init(
            DiffusionPreset::Tiny,
            corpus().iter(),
            7,
            DType::F32,
            &out,
            &mut |done, all| last = (done, all),
        )
        .unwrap();
        assert!(last.0 == last.1 && last.0 > 0, "{last:?}");
        let model = StableDiffusion::open(&out).unwrap();
        let device = Device::flex();
        let unet = model.read_unet(&device, DType::F32, None).unwrap();
        let drawn = Shapes::tiny().unet.init_unet(&device, stream_seed(7, "unet"));
        assert_eq!(collect(&unet, |_| true), collect(&drawn, |_| true));
        model.read_autoencoder(&device, DType::F32).unwrap();
        model.read_text_encoder(&device, DType::F32, None).unwrap();
        let controlnet = ControlNetFiles::open(&out.join("controlnet"), &model.unet).unwrap();
        controlnet.read(&device, DType::F32).unwrap();
        let ids = model.tokenizer.encode("a lamp on a wooden desk").unwrap();
        assert!(
            ids.len() > 1 && ids.iter().all(|&id| (id as usize) < WORDS),
            "{ids:?}"
        );
        assert_eq!(
            model.tokenizer.encode("Zürich 🙂").unwrap(),
            model.tokenizer.encode("zürich  🙂").unwrap()
        );
    }
}
