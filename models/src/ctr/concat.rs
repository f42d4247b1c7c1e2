//! CAIG's reward network: two creatives side by side in front of a language model that answers which one attracts more
//! clicks.
//!
//! It compares, so a group of n creatives costs a pass per ordered pair, and nothing makes its two answers for the two
//! orders agree; averaging both is the caller's business.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::texts::TokenRectangle;
use crate::attention::causal_bias;
use crate::clip::{ClipVisionConfig, ClipVisionTower};
use crate::error::ModelError;
use crate::init::stream_seed;
use crate::limits;
use crate::linear::{Linear, LinearConfig};
use crate::llama::{LlamaConfig, LlamaModel, Positions, Rope};
use crate::llava::{LlavaConfig, Projector};

/// Shape of a [`Concat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatConfig {
    /// The vision tower, which sees one creative at a time.
    pub vision: ClipVisionConfig,
    /// The language model; it has no head of its own here.
    pub text: LlamaConfig,
    /// Layer of the tower whose output is read: `-1` the last, `-2` the one before.
    pub vision_feature_layer: i64,
    /// Text tokens that are read; a longer text is cut.
    pub max_text_tokens: usize,
}

/// The body of LLaVA with two small heads (`LlavaLlamaForClassNew` of the reference implementation of "CTR-driven
/// advertising image generation with multimodal large language models", [arXiv
/// 2502.06823](https://arxiv.org/abs/2502.06823), section 3.2).
///
/// The reference pastes two square creatives into one picture of ratio 2:1. LLaVA 1.6 cuts such a picture into its two
/// squares again and lays their patches out row by row over the whole width; that is what is done here, without the
/// detour and without the extra overview tile.
#[derive(Module, Debug)]
pub struct Concat {
    /// Pixels to patch features.
    pub vision_tower: ClipVisionTower,
    /// Patch features to the language model's width.
    pub multi_modal_projector: Projector,
    /// The decoder.
    pub model: LlamaModel,
    /// Pooled state to the two class logits, left and right.
    pub score: Linear,
    /// Pooled state to the two click-through rates; a list of one, as the reference names it
    /// `sku_ctr_linear_fc.0.weight`.
    pub sku_ctr_linear_fc: Vec<Linear>,
    /// Layer of the tower whose output is read, counted from the end.
    pub vision_feature_layer: i64,
    /// Rotary angle per position of each pair of channels of a head.
    #[module(skip)]
    pub inverse_frequencies: Vec<f64>,
}

/// What the network says of pairs of creatives.
#[derive(Debug, Clone)]
pub struct PairPrediction {
    /// Logits of "the left one is clicked more" and "the right one is", `[pairs, 2]`.
    pub logits: Tensor<2>,
    /// Click-through rates of left and right, raw outputs without a squashing function, `[pairs, 2]`.
    pub ctr: Tensor<2>,
}

impl ConcatConfig {
    /// Fresh weights, a function of the configuration and `seed` alone: the body as LLaVA's, the two heads from
    /// N(0, 0.02²).
    pub fn init(&self, device: &Device, seed: u64) -> Concat {
        let body = self.body().init(device, seed);
        let hidden = self.text.hidden_size;
        let head = |name: &str| LinearConfig::new(hidden, 2).init(0.02, stream_seed(seed, name), device);
        Concat {
            vision_tower: body.vision_tower,
            multi_modal_projector: body.multi_modal_projector,
            model: body.language_model.model,
            score: head("score"),
            sku_ctr_linear_fc: vec![head("sku_ctr_linear_fc.0")],
            vision_feature_layer: self.vision_feature_layer,
            inverse_frequencies: self.text.inverse_frequencies(),
        }
    }

    /// Refuses shapes that cannot be built.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        self.body().check()?;
        limits::check([limits::entries("max_text_tokens", self.max_text_tokens)])?;
        let (longest, given) = (
            2 * self.vision.num_patches() + self.max_text_tokens,
            self.text.max_position_embeddings,
        );
        limits::check([(
            longest <= given,
            "text.max_position_embeddings",
            given.to_string(),
            "both images' patches and max_text_tokens",
        )])
    }

    fn body(&self) -> LlavaConfig {
        LlavaConfig {
            model_type: "llava".into(),
            vision: self.vision.clone(),
            text: self.text.clone(),
            image_token_id: 0,
            vision_feature_layer: self.vision_feature_layer,
        }
    }
}

impl Concat {
    /// Features of creatives, as [`compare`](Self::compare) takes them.
    ///
    /// # Shapes
    /// `[creatives, 3, side, side]` -> `[creatives, patches, hidden]`
    pub fn encode_images(&self, pixels: Tensor<4>) -> Tensor<3> {
        let features = self
            .vision_tower
            .patch_features(pixels, self.vision_feature_layer);
        self.multi_modal_projector.forward(features)
    }

    /// Compares pairs. Row `i` of `texts` is what is asked about pair `i`: at least one token, its first stands before
    /// the pictures (the begin token), the others behind them.
    ///
    /// The pooled state is that of the last real token. The reference pools the last position, which for a padded row
    /// is padding.
    ///
    /// # Shapes
    /// `left`, `right`: `[pairs, patches, hidden]`
    ///
    /// # Panics
    /// When a text is empty.
    pub fn compare(&self, left: Tensor<3>, right: Tensor<3>, texts: &TokenRectangle) -> PairPrediction {
        assert!(
            texts.lengths().iter().all(|&length| length > 0),
            "every text has its begin token"
        );
        let pictures = side_by_side(left, right);
        let device = pictures.device().without_autodiff();
        let [rows, patches, hidden] = pictures.dims();
        let text = self
            .model
            .embed_tokens
            .forward(texts.ids(&device))
            .reshape([rows, texts.width(), hidden]);
        let begin = text.clone().narrow(1, 0, 1);
        let rest = text.narrow(1, 1, texts.width() - 1);
        let x = Tensor::cat(vec![begin, pictures, rest], 1);
        // Padding stands behind everything a row pools, so the causal mask hides it already.
        let positions = self.positions(patches + texts.width(), &device);
        let states = self
            .model
            .forward(x, &positions, 0, None)
            .reshape([-1, hidden as i64]);
        let pooled = self
            .model
            .norm
            .forward(states.select(0, texts.last_positions(patches, &device)));
        PairPrediction {
            logits: self.score.forward(pooled.clone()),
            ctr: self
                .sku_ctr_linear_fc
                .iter()
                .fold(pooled, |x, layer| layer.forward(x)),
        }
    }

    fn positions(&self, length: usize, device: &Device) -> Positions {
        let dtype = self.model.embed_tokens.weight.val().dtype();
        Positions {
            rope: Rope::new(0..length, &self.inverse_frequencies, dtype, device),
            bias: Some(causal_bias(&[0], length, device).cast(dtype)),
        }
    }
}

/// Patches of two square pictures, row by row over the width of both.
///
/// # Shapes
/// two of `[pairs, patches, hidden]` -> `[pairs, 2 * patches, hidden]`
fn side_by_side(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    let [pairs, patches, hidden] = left.dims();
    let side = patches.isqrt();
    let grid = |features: Tensor<3>| features.reshape([pairs, side, side, hidden]);
    Tensor::cat(vec![grid(left), grid(right)], 2).reshape([pairs, 2 * patches, hidden])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init;
    use burn::tensor::Int;

    fn config() -> ConcatConfig {
        ConcatConfig {
            vision: ClipVisionConfig {
                hidden_size: 8,
                intermediate_size: 16,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                num_channels: 3,
                image_size: 8,
                patch_size: 4,
                layer_norm_eps: 1e-5,
            },
            text: LlamaConfig {
                vocab_size: 12,
                hidden_size: 8,
                intermediate_size: 16,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                num_key_value_heads: 1,
                max_position_embeddings: 32,
                rms_norm_eps: 1e-5,
                rope_theta: 10_000.0,
                rope_scaling: None,
            },
            vision_feature_layer: -1,
            max_text_tokens: 8,
        }
    }

    fn compare(network: &Concat, features: Tensor<3>, texts: &[&[u32]]) -> Vec<f32> {
        let pairs = texts.len();
        let (left, right) = (
            features.clone().narrow(0, 0, pairs),
            features.narrow(0, pairs, pairs),
        );
        let texts = TokenRectangle::new(texts.iter().copied(), 8);
        network
            .compare(left, right, &texts)
            .logits
            .into_data()
            .try_to_vec()
            .unwrap()
    }

    #[test]
    fn a_row_of_any_length_is_pooled_at_its_own_last_token() {
        let device = Device::flex();
        let network = config().init(&device, 3);
        let pixels: Tensor<4> = init::normal([4, 3, 8, 8], 1.0, 5, &device);
        let features = network.encode_images(pixels);
        let rows = |index: &[i64]| {
            features
                .clone()
                .select(0, Tensor::<1, Int>::from_data(index, &device))
        };
        let together = compare(&network, rows(&[0, 1, 2, 3]), &[&[1, 5, 6, 7, 8], &[1, 9]]);
        let short_alone = compare(&network, rows(&[1, 3]), &[&[1, 9]]);
        let long_alone = compare(&network, rows(&[0, 2]), &[&[1, 5, 6, 7, 8]]);
        for (padded, alone) in together.iter().zip(long_alone.iter().chain(&short_alone)) {
            assert!(
                (padded - alone).abs() < 1e-5,
                "{together:?} {long_alone:?} {short_alone:?}"
            );
        }
    }

    #[test]
    fn patches_of_both_pictures_alternate_row_by_row() {
        let device = Device::flex();
        let patch_numbers = |first: i64| {
            Tensor::<1, Int>::arange(first..first + 4, &device)
                .float()
                .reshape([1, 4, 1])
        };
        let laid_out: Vec<f32> = side_by_side(patch_numbers(0), patch_numbers(10))
            .into_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(laid_out, [0.0, 1.0, 10.0, 11.0, 2.0, 3.0, 12.0, 13.0]);
    }

    #[test]
    fn weights_are_named_as_in_the_reference_checkpoint() {
        let names = crate::weights::collect(&config().init(&Device::flex(), 3), |_| true);
        for name in [
            "score.weight",
            "sku_ctr_linear_fc.0.weight",
            "model.layers.0.mlp.up_proj.weight",
        ] {
            assert!(names.contains_key(name), "{name}");
        }
        assert!(!names.keys().any(|name| name.contains("lm_head")));
    }

    #[test]
    fn shapes_that_cannot_be_built_are_refused_with_their_key() {
        assert!(config().check().is_ok());
        let mut short = config();
        short.text.max_position_embeddings = 15;
        assert!(
            short
                .check()
                .unwrap_err()
                .to_string()
                .contains("max_position_embeddings")
        );
        assert!(
            ConcatConfig {
                max_text_tokens: 0,
                ..config()
            }
            .check()
            .is_err()
        );
    }
}
