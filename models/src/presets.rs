//! Named shapes of policies that can be trained from nothing.

use burn::tensor::Device;

use crate::clip::ClipVisionConfig;
use crate::error::ModelError;
use crate::llama::LlamaConfig;
use crate::llava::LlavaConfig;
use crate::policy::Policy;
use crate::processor::ImageProcessor;
use crate::template::PromptTemplate;
use crate::tokenizer::Tokenizer;

/// A named shape. Large policies have none: nobody trains them from nothing, they are loaded from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Half a million parameters, for two CPU cores.
    Tiny,
}

impl Preset {
    /// Parses `tiny`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for anything else.
    pub fn parse(name: &str) -> Result<Self, ModelError> {
        match name {
            "tiny" => Ok(Self::Tiny),
            _ => Err(ModelError::Config {
                key: "preset",
                value: format!("{name:?}"),
                expected: "tiny, the shape that can be trained from nothing; a larger policy is loaded from paths.policy",
            }),
        }
    }

    /// A policy with fresh weights, a function of preset, tokenizer and `seed` alone. The vocabulary is the tokenizer's.
    pub fn policy(self, tokenizer: Tokenizer, device: &Device, seed: u64) -> Policy {
        let (config, template) = match self {
            Self::Tiny => (
                tiny(tokenizer.vocab_size(), tokenizer.image_id()),
                PromptTemplate::short(),
            ),
        };
        Policy {
            model: config.init(device, seed),
            processor: ImageProcessor::clip(config.vision.image_size),
            config,
            tokenizer,
            template,
        }
    }
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
    use crate::tokenizer::SpecialTokens;

    /// A tiny policy with a small vocabulary.
    pub(crate) fn policy(seed: u64) -> Policy {
        let corpus = [
            "wooden desk, warm light, ceramic vase",
            "sandy beach, morning light, sea shells",
        ];
        let tokenizer = Tokenizer::train(corpus.iter(), 300, SpecialTokens::default()).unwrap();
        Preset::Tiny.policy(tokenizer, &Device::flex(), seed)
    }

    /// The same with two query heads to a key-value head and an adapter of which both factors are on.
    pub(crate) fn grouped_and_adapted(seed: u64) -> Policy {
        let policy = policy(seed);
        let mut config = policy.config.clone();
        config.text.num_key_value_heads = 2;
        let lora = LoraConfig::new(4, 8.0);
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
        LlavaConfig::llava_1_6_7b().check().unwrap();
    }

    #[test]
    fn an_unknown_preset_says_what_there_is() {
        for name in ["huge", "llava-1.6-7b"] {
            let message = Preset::parse(name).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("preset = {name:?}: expected tiny")),
                "{message}"
            );
            assert!(message.contains("paths.policy"), "{message}");
        }
    }
}
