//! Named shapes of models, for checkpoints with fresh weights: one that can be trained from nothing, and those of large
//! checkpoints, for trying machines and programs without a download.

use burn::tensor::Device;

use crate::clip::ClipVisionConfig;
use crate::error::ModelError;
use crate::llama::LlamaConfig;
use crate::llava::LlavaConfig;
use crate::policy::Policy;
use crate::processor::{AnyRes, Fit, ImageProcessor, Unpad};
use crate::template::PromptTemplate;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// The aspect ratios of LLaVA 1.6, `[height, width]` in pixels.
const LLAVA_1_6_SHAPES: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];

/// Entries of a fresh tokenizer; a small corpus fills fewer.
const WORDS: usize = 8000;

/// A named shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Half a million parameters, for two CPU cores: the one that can be trained from nothing.
    Tiny,
    /// LLaVA-1.5-7B, as llava-hf/llava-1.5-7b-hf.
    Llava15,
    /// LLaVA-v1.6-Vicuna-7B, as llava-hf/llava-v1.6-vicuna-7b-hf.
    Llava16,
    /// CAIG's reward model: the body of the latter with a head for two classes and one of click-through rates.
    CaigReward,
}

impl Preset {
    /// Parses the name of one that can be trained from nothing: `tiny`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for anything else.
    pub fn parse_trainable(name: &str) -> Result<Self, ModelError> {
        match name {
            "tiny" => Ok(Self::Tiny),
            _ => Err(ModelError::Config {
                key: "preset",
                value: format!("{name:?}"),
                expected: "tiny, the shape that can be trained from nothing; a larger policy is loaded from paths.policy",
            }),
        }
    }

    /// A tokenizer for a fresh model of this shape, trained on `corpus`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the library fails.
    pub fn tokenizer<S: AsRef<str> + Send>(
        self,
        corpus: impl Iterator<Item = S> + Send,
    ) -> Result<Tokenizer, ModelError> {
        let spelled = |pad: &str, image: &str| SpecialTokens {
            pad: pad.into(),
            begin: "<s>".into(),
            end: "</s>".into(),
            image: image.into(),
        };
        let special = match self {
            Self::Tiny => SpecialTokens::default(),
            Self::Llava15 | Self::Llava16 => spelled("<pad>", "<image>"),
            // The LLaVA repository has no token for the image: the place is the unknown token's.
            Self::CaigReward => spelled("<pad>", "<unk>"),
        };
        Tokenizer::train(corpus, WORDS, special)
    }

    /// A policy with fresh weights, a function of preset, tokenizer and `seed` alone. They are drawn at first use. Of
    /// CAIG's reward model, the body.
    pub fn policy(self, tokenizer: Tokenizer, device: &Device, seed: u64) -> Policy {
        let image = tokenizer.image_id();
        let config = match self {
            Self::Tiny => tiny(tokenizer.vocab_size(), image),
            Self::Llava15 => LlavaConfig {
                image_token_id: image,
                ..LlavaConfig::llava_1_5_7b()
            },
            Self::Llava16 => LlavaConfig {
                image_token_id: image,
                ..LlavaConfig::llava_1_6_7b()
            },
            Self::CaigReward => {
                let mut config = LlavaConfig::llava_1_6_7b();
                config.text.vocab_size = 32_000;
                config
            }
        };
        let (fit, template) = match self {
            Self::Tiny => (Fit::Pad, PromptTemplate::short()),
            Self::Llava15 => (Fit::CentreCrop, PromptTemplate::vicuna_v1()),
            Self::Llava16 => (tiles(Unpad::Transformers), PromptTemplate::vicuna_v1()),
            Self::CaigReward => (tiles(Unpad::Original), PromptTemplate::vicuna_v1()),
        };
        Policy {
            model: config.init(device, seed),
            processor: ImageProcessor {
                fit,
                ..ImageProcessor::clip(config.vision.image_size)
            },
            config,
            tokenizer,
            template,
        }
    }
}

fn tiles(unpad: Unpad) -> Fit {
    Fit::AnyRes(AnyRes {
        shapes: LLAVA_1_6_SHAPES.to_vec(),
        unpad,
    })
}

/// The demo's shape: pictures of 32 x 32 pixels as 16 patches; two tower layers run (the third is behind the selected
/// one, as in the large model); three decoder layers.
pub fn tiny(vocab_size: usize, image_token_id: u32) -> LlavaConfig {
    LlavaConfig {
        model_type: "llava".into(),
        vision: ClipVisionConfig {
            hidden_size: 64,
            intermediate_size: 256,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_channels: 3,
            image_size: 32,
            patch_size: 8,
            layer_norm_eps: 1e-5,
        },
        text: LlamaConfig {
            vocab_size,
            hidden_size: 96,
            intermediate_size: 256,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 4,
            max_position_embeddings: 512,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
        },
        image_token_id,
        vision_feature_layer: -2,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::module::Module;
    use image::{Rgba, RgbaImage};

    use super::*;
    use crate::init;
    use crate::lora::LoraConfig;

    /// What a small vocabulary is learned from.
    pub(crate) fn corpus() -> [&'static str; 2] {
        [
            "wooden desk, warm light, ceramic vase",
            "sandy beach, morning light, sea shells",
        ]
    }

    /// A tiny policy with a small vocabulary.
    pub(crate) fn policy(seed: u64) -> Policy {
        let tokenizer = Tokenizer::train(corpus().iter(), 300, SpecialTokens::default()).unwrap();
        Preset::Tiny.policy(tokenizer, &Device::flex(), seed)
    }

    /// The same with two query heads to a key-value head and an adapter, beside the head too, of which both factors are on.
    pub(crate) fn grouped_and_adapted(seed: u64) -> Policy {
        let policy = policy(seed);
        let mut config = policy.config.clone();
        config.text.num_key_value_heads = 2;
        let lora = LoraConfig::new(4, 8.0).with_head();
        let model = config
            .init(&Device::flex(), seed)
            .with_adapter(&lora, seed)
            .unwrap();
        let noise = model
            .adapter()
            .into_iter()
            .enumerate()
            .map(|(seed, (name, data))| {
                let shape: [usize; 2] = data.shape().dims();
                let noise = init::normal(shape, 0.1, seed as u64, &Device::flex());
                (name, noise.into_data())
            });
        Policy {
            model: model.load_adapter(&noise.collect()).unwrap(),
            config,
            ..policy
        }
    }

    /// A picture of one colour.
    pub(crate) fn picture(red: u8, green: u8, blue: u8) -> RgbaImage {
        RgbaImage::from_pixel(32, 32, Rgba([red, green, blue, 255]))
    }

    #[test]
    fn the_large_preset_has_the_parameters_that_transformers_counts() {
        // transformers 5.23: LlavaNextForConditionalGeneration built on the meta device with the values of
        // llava-v1.6-vicuna-7b-hf, sum of p.numel() over named_parameters().
        assert_eq!(LlavaConfig::llava_1_6_7b().num_parameters(), 7_063_431_168);
    }

    #[test]
    fn counting_agrees_with_a_model_in_memory() {
        let policy = policy(1);
        assert_eq!(policy.config.num_parameters(), policy.model.num_params() as u64);
    }

    #[test]
    fn every_preset_passes_its_own_check() {
        tiny(300, 3).check().unwrap();
        LlavaConfig::llava_1_5_7b().check().unwrap();
        LlavaConfig::llava_1_6_7b().check().unwrap();
    }

    #[test]
    fn an_unknown_preset_says_what_there_is() {
        for name in ["huge", "llava-1.6-7b"] {
            let message = Preset::parse_trainable(name).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("preset = {name:?}: expected tiny")),
                "{message}"
            );
            assert!(message.contains("paths.policy"), "{message}");
        }
    }
}
