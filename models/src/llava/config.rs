//! Shape of a LLaVA and how one is made from it.

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Llava, Projector};
use crate::batch::RowLimits;
use crate::clip::ClipVisionConfig;
use crate::error::ModelError;
use crate::init::{self, stream_seed};
use crate::limits;
use crate::linear::LinearConfig;
use crate::llama::{LlamaConfig, RopeScaling};

/// Shape of a LLaVA, under the names of a Hugging Face `config.json`. Keys that are not ours are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlavaConfig {
    /// `llava` (1.5) or `llava_next` (1.6); the latter has an `image_newline`.
    pub model_type: String,
    /// The vision tower.
    #[serde(rename = "vision_config")]
    pub vision: ClipVisionConfig,
    /// The language model.
    #[serde(rename = "text_config")]
    pub text: LlamaConfig,
    /// Id of the image placeholder, at most the vocabulary size.
    #[serde(rename = "image_token_index", alias = "image_token_id")]
    pub image_token_id: u32,
    /// Layer of the tower whose output is read: `-1` the last, `-2` the one before.
    #[serde(default = "second_to_last")]
    pub vision_feature_layer: i64,
}

fn second_to_last() -> i64 {
    -2
}

impl LlavaConfig {
    /// LLaVA-1.5-7B as `llava-hf/llava-1.5-7b-hf` configures it.
    pub fn llava_1_5_7b() -> Self {
        Self {
            model_type: "llava".into(),
            ..Self::llava_1_6_7b()
        }
    }

    /// LLaVA-v1.6-Vicuna-7B as `llava-hf/llava-v1.6-vicuna-7b-hf` configures it.
    pub fn llava_1_6_7b() -> Self {
        Self {
            model_type: "llava_next".into(),
            vision: ClipVisionConfig {
                hidden_size: 1024,
                intermediate_size: 4096,
                num_hidden_layers: 24,
                num_attention_heads: 16,
                num_channels: 3,
                image_size: 336,
                patch_size: 14,
                layer_norm_eps: 1e-5,
            },
            text: LlamaConfig {
                vocab_size: 32064,
                hidden_size: 4096,
                intermediate_size: 11008,
                num_hidden_layers: 32,
                num_attention_heads: 32,
                num_key_value_heads: 32,
                max_position_embeddings: 4096,
                rms_norm_eps: 1e-5,
                rope_theta: 10_000.0,
                rope_scaling: None,
            },
            image_token_id: 32000,
            vision_feature_layer: -2,
        }
    }

    /// A model with fresh weights, a function of the configuration and `seed` alone. Weights are drawn at first use.
    ///
    /// # Panics
    /// When the configuration does not pass [`check`](Self::check).
    pub fn init(&self, device: &Device, seed: u64) -> Llava {
        let hidden = self.text.hidden_size;
        let projection = |name: &str, input: usize| {
            let std = (input as f64).powf(-0.5);
            LinearConfig::new(input, hidden)
                .with_bias()
                .init(std, stream_seed(seed, name), device)
        };
        Llava {
            vision_tower: self.vision.init(device, stream_seed(seed, "vision_tower")),
            multi_modal_projector: Projector {
                linear_1: projection("linear_1", self.vision.hidden_size),
                linear_2: projection("linear_2", hidden),
            },
            language_model: self.text.init(device, stream_seed(seed, "language_model")),
            image_newline: (self.model_type == "llava_next").then(|| {
                let std = (hidden as f64).powf(-0.5);
                init::normal_param([hidden], std, stream_seed(seed, "image_newline"), device)
            }),
            vision_feature_layer: self.vision_feature_layer,
            inverse_frequencies: self.text.inverse_frequencies(),
        }
    }

    /// Parameters of the model, counted over shapes; nothing is allocated.
    pub fn num_parameters(&self) -> u64 {
        self.init(&Device::flex(), 0).num_params() as u64
    }

    /// What rows of tokens must respect.
    pub fn row_limits(&self) -> RowLimits {
        RowLimits {
            image_token_id: self.image_token_id,
            vocab_size: self.text.vocab_size,
            max_length: self.text.max_position_embeddings,
        }
    }

    /// Refuses shapes that cannot be built or run, and sizes that no model has: they are read from files.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        let (vision, text) = (&self.vision, &self.text);
        self.check_sizes()?;
        let rules = [
            (
                ["llava", "llava_next"].contains(&self.model_type.as_str()),
                "model_type",
                self.model_type.clone(),
                "llava or llava_next",
            ),
            (
                divides(vision.patch_size, vision.image_size),
                "vision_config.image_size",
                vision.image_size.to_string(),
                "a multiple of vision_config.patch_size",
            ),
            (
                divides(vision.num_attention_heads, vision.hidden_size),
                "vision_config.hidden_size",
                vision.hidden_size.to_string(),
                "a multiple of vision_config.num_attention_heads",
            ),
            (
                divides(text.num_attention_heads.saturating_mul(2), text.hidden_size),
                "text_config.hidden_size",
                text.hidden_size.to_string(),
                "an even multiple of text_config.num_attention_heads",
            ),
            (
                divides(text.num_key_value_heads, text.num_attention_heads),
                "text_config.num_attention_heads",
                text.num_attention_heads.to_string(),
                "a multiple of text_config.num_key_value_heads",
            ),
            (
                vision.num_channels == 3,
                "vision_config.num_channels",
                vision.num_channels.to_string(),
                "3: pictures are red, green and blue",
            ),
            (
                text.max_position_embeddings > vision.num_patches() + 1,
                "text_config.max_position_embeddings",
                text.max_position_embeddings.to_string(),
                "more than an image's patches and its begin token",
            ),
            (
                // The LLaVA repository's vocabulary has no token for it: there it is the number behind the last one.
                (self.image_token_id as usize) <= text.vocab_size,
                "image_token_index",
                self.image_token_id.to_string(),
                "at most text_config.vocab_size",
            ),
            (
                text.rope_scaling.as_ref().is_none_or(RopeScaling::is_sound),
                "text_config.rope_scaling",
                format!("{:?}", text.rope_scaling),
                "a factor of at least 1, and low_freq_factor below high_freq_factor",
            ),
            (
                (-(vision.num_hidden_layers as i64)..0).contains(&self.vision_feature_layer),
                "vision_feature_layer",
                self.vision_feature_layer.to_string(),
                "from -vision_config.num_hidden_layers to -1",
            ),
        ];
        limits::check(rules)
    }

    fn check_sizes(&self) -> Result<(), ModelError> {
        let (vision, text) = (&self.vision, &self.text);
        limits::check([
            limits::layers("vision_config.num_hidden_layers", vision.num_hidden_layers),
            limits::layers("text_config.num_hidden_layers", text.num_hidden_layers),
            limits::entries("vision_config.image_size", vision.image_size),
            limits::entries("vision_config.patch_size", vision.patch_size),
            limits::entries("vision_config.hidden_size", vision.hidden_size),
            limits::entries("vision_config.intermediate_size", vision.intermediate_size),
            limits::entries("text_config.hidden_size", text.hidden_size),
            limits::entries("text_config.intermediate_size", text.intermediate_size),
            limits::entries(
                "text_config.max_position_embeddings",
                text.max_position_embeddings,
            ),
            limits::entries("text_config.vocab_size", text.vocab_size),
            limits::positive("vision_config.layer_norm_eps", vision.layer_norm_eps),
            limits::positive("text_config.rms_norm_eps", text.rms_norm_eps),
            limits::positive("text_config.rope_theta", text.rope_theta),
        ])
    }
}

fn divides(divisor: usize, number: usize) -> bool {
    divisor > 0 && number > 0 && number.is_multiple_of(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hugging_face_config_is_read_and_foreign_keys_are_ignored() {
        let json = r#"{
            "architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next",
            "image_token_index": 32000, "projector_hidden_act": "gelu", "vision_feature_layer": -2,
            "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "model_type": "clip_vision_model"},
            "text_config": {"vocab_size": 32064, "hidden_size": 4096, "intermediate_size": 11008,
                "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
                "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "torch_dtype": "float16"}
        }"#;
        assert_eq!(
            serde_json::from_str::<LlavaConfig>(json).unwrap(),
            LlavaConfig::llava_1_6_7b()
        );
    }

    #[test]
    fn a_shape_that_cannot_be_built_is_refused_with_its_key() {
        let refused = |change: fn(&mut LlavaConfig)| {
            let mut config = LlavaConfig::llava_1_6_7b();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.model_type = "gpt".into()).contains("model_type = gpt"));
        assert!(refused(|c| c.vision.image_size = 337).contains("vision_config.image_size = 337"));
        assert!(refused(|c| c.vision.num_attention_heads = 0).contains("vision_config.hidden_size"));
        assert!(refused(|c| c.text.num_key_value_heads = 5).contains("text_config.num_attention_heads = 32"));
        assert!(refused(|c| c.text.hidden_size = 33).contains("text_config.hidden_size = 33"));
        assert!(refused(|c| c.image_token_id = 32065).contains("image_token_index"));
        assert!(refused(|c| c.vision_feature_layer = 0).contains("vision_feature_layer = 0"));
        assert!(refused(|c| c.vision_feature_layer = -25).contains("vision_feature_layer = -25"));
        for layers in [0, 1_000_000_000] {
            let mut config = LlavaConfig::llava_1_6_7b();
            config.vision.num_hidden_layers = layers;
            let message = config.check().unwrap_err().to_string();
            assert!(
                message.contains(&format!("vision_config.num_hidden_layers = {layers}")),
                "{message}"
            );
        }
        assert!(refused(|c| c.vision.num_channels = 4).contains("vision_config.num_channels = 4"));
        assert!(refused(|c| c.vision.intermediate_size = 0).contains("vision_config.intermediate_size = 0"));
        assert!(refused(|c| c.text.intermediate_size = 0).contains("text_config.intermediate_size = 0"));
        assert!(refused(|c| c.text.max_position_embeddings = 577).contains("max_position_embeddings = 577"));
        assert!(refused(|c| c.text.rope_theta = f64::NAN).contains("text_config.rope_theta = NaN"));
    }

    #[test]
    fn only_1_6_has_a_newline() {
        let mut config = crate::presets::tiny(300, 3);
        let plain = config.num_parameters();
        config.model_type = "llava_next".into();
        assert_eq!(config.num_parameters(), plain + config.text.hidden_size as u64);
    }
}
