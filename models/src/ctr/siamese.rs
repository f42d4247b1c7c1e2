//! The siamese reward network: one creative and its product's caption to one score.
//!
//! Creatives never see each other, so a preference between two of them is antisymmetric by construction and a group of
//! n costs n passes, not n². What the score means (log-odds of a click up to a constant per product) is decided by the
//! losses it is trained with, which are not here.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::texts::TokenRectangle;
use crate::attention::{attend, merge_heads, split_heads};
use crate::clip::{ClipEncoderLayer, ClipVisionConfig, PatchEmbedding, PositionEmbedding, quick_gelu};
use crate::dropout::Dropout;
use crate::error::ModelError;
use crate::init::{self, stream_seed};
use crate::limits;
use crate::linear::{Linear, LinearConfig};
use crate::llama::TokenEmbedding;
use crate::norm::LayerNorm;

/// Shape of a [`Siamese`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiameseConfig {
    /// Side of the square creative in pixels; a multiple of `patch_size`.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of a token; a multiple of `num_attention_heads`.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Caption tokens that are read; a longer caption is cut.
    pub max_caption_tokens: usize,
    /// Epsilon of the layer normalisations.
    pub layer_norm_eps: f64,
}

/// Patches of the creative and tokens of the caption in one pre-LN encoder; the mean over all real positions is scored
/// by one linear layer.
///
/// An early-fusion ranker in the manner of ViLT ("Vision-and-language transformer", [arXiv
/// 2102.03334](https://arxiv.org/abs/2102.03334)), with CLIP's encoder layers.
#[derive(Module, Debug)]
pub struct Siamese {
    /// Pixels to tokens.
    pub patch_embedding: PatchEmbedding,
    /// Caption to tokens.
    pub embed_tokens: TokenEmbedding,
    /// One vector per position: the patches row by row, then the caption.
    pub position_embedding: PositionEmbedding,
    /// The encoder, first layer to last.
    pub layers: Vec<ClipEncoderLayer>,
    /// Normalisation before pooling.
    pub post_layernorm: LayerNorm,
    /// Pooled state to score.
    pub score: Linear,
}

impl SiameseConfig {
    /// Patches of one creative.
    pub fn num_patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Fresh weights, a function of the configuration and `seed` alone: the encoder as [`ClipVisionConfig::init`]
    /// makes it, tokens from N(0, 0.25²), positions from N(0, 0.02²), the score from zero, so that training starts
    /// without a preference.
    pub fn init(&self, device: &Device, seed: u64) -> Siamese {
        let (hidden, patch) = (self.hidden_size, self.patch_size);
        let seed_of = |name: &str| stream_seed(seed, name);
        let pixels = 3 * patch * patch;
        let positions = [self.num_patches() + self.max_caption_tokens, hidden];
        let encoder = self
            .encoder()
            .init(device, seed_of("encoder"))
            .vision_model
            .encoder;
        let mut score = LinearConfig::new(hidden, 1).init(0.0, seed_of("score"), device);
        score.weight = init::constant_param([hidden, 1], 0.0, device);
        Siamese {
            patch_embedding: PatchEmbedding {
                weight: init::normal_param(
                    [hidden, 3, patch, patch],
                    (pixels as f64).powf(-0.5),
                    seed_of("patch_embedding"),
                    device,
                ),
            },
            embed_tokens: TokenEmbedding {
                weight: init::normal_param([self.vocab_size, hidden], 0.25, seed_of("embed_tokens"), device),
            },
            position_embedding: PositionEmbedding {
                weight: init::normal_param(positions, 0.02, seed_of("position_embedding"), device),
            },
            layers: encoder.layers,
            post_layernorm: LayerNorm::init(hidden, self.layer_norm_eps, device),
            score,
        }
    }

    /// Refuses shapes that cannot be built.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        limits::check([
            limits::layers("num_hidden_layers", self.num_hidden_layers),
            limits::entries("image_size", self.image_size),
            limits::entries("patch_size", self.patch_size),
            limits::entries("hidden_size", self.hidden_size),
            limits::entries("intermediate_size", self.intermediate_size),
            limits::entries("num_attention_heads", self.num_attention_heads),
            limits::entries("vocab_size", self.vocab_size),
            limits::entries("max_caption_tokens", self.max_caption_tokens),
            limits::positive("layer_norm_eps", self.layer_norm_eps),
        ])?;
        let (side, width) = (self.image_size, self.hidden_size);
        limits::check([
            (
                side.is_multiple_of(self.patch_size),
                "image_size",
                side.to_string(),
                "a multiple of patch_size",
            ),
            (
                width.is_multiple_of(self.num_attention_heads),
                "hidden_size",
                width.to_string(),
                "a multiple of num_attention_heads",
            ),
        ])
    }

    /// The encoder's layers as a vision tower has them.
    fn encoder(&self) -> ClipVisionConfig {
        ClipVisionConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_channels: 3,
            image_size: self.image_size,
            patch_size: self.patch_size,
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}

impl Siamese {
    /// Scores creatives; row `i` of `captions` is the caption of creative `i`, empty where there is none. `dropout` is
    /// given while training only.
    ///
    /// # Shapes
    /// `[creatives, 3, side, side]` -> `[creatives]`
    pub fn forward(
        &self,
        pixels: Tensor<4>,
        captions: &TokenRectangle,
        mut dropout: Option<&mut Dropout>,
    ) -> Tensor<1> {
        let patches = self.patch_embedding.forward(pixels);
        let before = patches.dims()[1];
        let device = patches.device().without_autodiff();
        let bias = captions.key_bias(before, &device);
        let mut x = self.embed(patches, captions, &device);
        x = drop(&mut dropout, x);
        for layer in &self.layers {
            let attended = attention(layer, layer.layer_norm1.forward(x.clone()), bias.clone());
            x = x + drop(&mut dropout, attended);
            let widened = quick_gelu(layer.mlp.fc1.forward(layer.layer_norm2.forward(x.clone())));
            x = x + drop(&mut dropout, layer.mlp.fc2.forward(widened));
        }
        let weights = captions.mean_weights(before, &device);
        let pooled: Tensor<2> = weights.matmul(self.post_layernorm.forward(x)).squeeze_dim(1);
        self.score.forward(pooled).squeeze_dim(1)
    }

    /// # Shapes
    /// `[creatives, patches, hidden]` -> `[creatives, patches + caption, hidden]`
    fn embed(&self, patches: Tensor<3>, captions: &TokenRectangle, device: &Device) -> Tensor<3> {
        let [rows, before, hidden] = patches.dims();
        let width = captions.width();
        let tokens = match width {
            0 => patches,
            _ => {
                let text = self
                    .embed_tokens
                    .forward(captions.ids(device))
                    .reshape([rows, width, hidden]);
                Tensor::cat(vec![patches, text], 1)
            }
        };
        tokens
            + self
                .position_embedding
                .weight
                .val()
                .narrow(0, 0, before + width)
                .unsqueeze()
    }
}

fn drop<const D: usize>(dropout: &mut Option<&mut Dropout>, x: Tensor<D>) -> Tensor<D> {
    match dropout {
        Some(dropout) => dropout.apply(x),
        None => x,
    }
}

/// The layer's attention with positions hidden by `bias`, which [`crate::clip::ClipAttention`] does not know.
fn attention(layer: &ClipEncoderLayer, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
    let attention = &layer.self_attn;
    let scale = ((x.dims()[2] / attention.heads) as f64).powf(-0.5);
    let q = split_heads(
        attention.q_proj.forward(x.clone()).mul_scalar(scale),
        attention.heads,
    );
    let k = split_heads(attention.k_proj.forward(x.clone()), attention.heads);
    let v = split_heads(attention.v_proj.forward(x), attention.heads);
    attention.out_proj.forward(merge_heads(attend(q, k, v, bias)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SiameseConfig {
        SiameseConfig {
            image_size: 8,
            patch_size: 4,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            vocab_size: 12,
            max_caption_tokens: 4,
            layer_norm_eps: 1e-5,
        }
    }

    /// A network whose score layer is not zero.
    fn network(device: &Device) -> Siamese {
        let mut network = config().init(device, 3);
        network.score.weight = init::normal_param([8, 1], 1.0, 9, device);
        network
    }

    fn scores(network: &Siamese, pixels: Tensor<4>, captions: &[&[u32]]) -> Vec<f32> {
        let captions = TokenRectangle::new(captions.iter().copied(), 4);
        network
            .forward(pixels, &captions, None)
            .into_data()
            .try_to_vec()
            .unwrap()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn a_creative_is_scored_alike_alone_and_beside_longer_captions() {
        let device = Device::flex();
        let network = network(&device);
        let pixels: Tensor<4> = init::normal([3, 3, 8, 8], 1.0, 5, &device);
        let captions: [&[u32]; 3] = [&[1, 2, 3, 4], &[5], &[]];
        let together = scores(&network, pixels.clone(), &captions);
        for row in 0..3 {
            let alone = scores(&network, pixels.clone().narrow(0, row, 1), &captions[row..=row]);
            assert!(
                close(together[row], alone[0]),
                "row {row}: {} is not {}",
                together[row],
                alone[0]
            );
        }
    }

    #[test]
    fn picture_and_caption_both_matter() {
        let device = Device::flex();
        let network = network(&device);
        let pixels: Tensor<4> = init::normal([2, 3, 8, 8], 1.0, 5, &device);
        let same_caption = scores(&network, pixels.clone(), &[&[1, 2], &[1, 2]]);
        assert!(!close(same_caption[0], same_caption[1]));
        let other_caption = scores(&network, pixels, &[&[3, 2], &[1, 2]]);
        assert!(!close(same_caption[0], other_caption[0]));
        assert!(close(same_caption[1], other_caption[1]));
    }

    #[test]
    fn a_fresh_network_has_no_preference() {
        let device = Device::flex();
        let pixels: Tensor<4> = init::normal([2, 3, 8, 8], 1.0, 5, &device);
        assert_eq!(
            scores(&config().init(&device, 3), pixels, &[&[1], &[2]]),
            [0.0, 0.0]
        );
    }

    #[test]
    fn every_parameter_gets_a_gradient() {
        let network = network(&Device::flex().autodiff());
        let pixels: Tensor<4> = init::normal([2, 3, 8, 8], 1.0, 5, &Device::flex());
        let captions = TokenRectangle::new([&[1, 2][..], &[3]], 4);
        let mut dropout = Dropout::new(0.1, 1);
        let loss = network.forward(pixels, &captions, Some(&mut dropout)).sum();
        let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &network);
        assert_eq!(gradients.len(), crate::weights::collect(&network, |_| true).len());
    }

    #[test]
    fn shapes_that_cannot_be_built_are_refused_with_their_key() {
        assert!(config().check().is_ok());
        let cases = [
            (
                SiameseConfig {
                    image_size: 9,
                    ..config()
                },
                "image_size",
            ),
            (
                SiameseConfig {
                    patch_size: 0,
                    ..config()
                },
                "patch_size",
            ),
            (
                SiameseConfig {
                    hidden_size: 9,
                    ..config()
                },
                "hidden_size",
            ),
            (
                SiameseConfig {
                    num_hidden_layers: 0,
                    ..config()
                },
                "num_hidden_layers",
            ),
        ];
        for (config, key) in cases {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
