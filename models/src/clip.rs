//! The vision tower: CLIP's image encoder, read at an inner layer.
//!
//! It holds what a checkpoint of the tower holds, also the parts that patch features do not use (the layers behind the
//! selected one, the last normalisation); those are carried, never run.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::attention::{attend, merge_heads, split_heads};
use crate::init::{self, stream_seed};
use crate::linear::{Linear, LinearConfig};
use crate::norm::LayerNorm;

/// Shape of the tower, under the names of a Hugging Face `vision_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipVisionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of encoder layers in the checkpoint.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Colour channels of the input.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Side of the square input in pixels; a multiple of `patch_size`.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Epsilon of the layer normalisations.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

fn three() -> usize {
    3
}

fn epsilon() -> f64 {
    1e-5
}

/// CLIP's image encoder ("Learning transferable visual models from natural language supervision",
/// [arXiv 2103.00020](https://arxiv.org/abs/2103.00020)), named as in a checkpoint: everything lies below
/// `vision_model`.
#[derive(Module, Debug)]
pub struct ClipVisionTower {
    /// The transformer.
    pub vision_model: ClipVisionTransformer,
}

/// Patches and a class token, learned positions, pre-LN encoder layers.
#[derive(Module, Debug)]
pub struct ClipVisionTransformer {
    /// Pixels to tokens.
    pub embeddings: ClipVisionEmbeddings,
    /// Normalisation before the first layer (the misspelling is the checkpoints').
    pub pre_layrnorm: LayerNorm,
    /// The layers.
    pub encoder: ClipEncoder,
    /// Normalisation of the class token; not part of patch features.
    pub post_layernorm: LayerNorm,
}

/// `[class; patches W] + positions`.
#[derive(Module, Debug)]
pub struct ClipVisionEmbeddings {
    /// The class token, `[hidden]`.
    pub class_embedding: Param<Tensor<1>>,
    /// The patch projection.
    pub patch_embedding: PatchEmbedding,
    /// The position table.
    pub position_embedding: PositionEmbedding,
}

/// A convolution whose stride is its kernel: every patch times one matrix.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// `[hidden, channels, patch, patch]`.
    pub weight: Param<Tensor<4>>,
}

/// One learned vector per token position.
#[derive(Module, Debug)]
pub struct PositionEmbedding {
    /// `[1 + patches, hidden]`.
    pub weight: Param<Tensor<2>>,
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct ClipEncoder {
    /// The layers, first to last.
    pub layers: Vec<ClipEncoderLayer>,
}

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct ClipEncoderLayer {
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// Attention of every token to every token.
    pub self_attn: ClipAttention,
    /// Before the feed-forward block.
    pub layer_norm2: LayerNorm,
    /// The feed-forward block.
    pub mlp: ClipMlp,
}

/// Multi-head attention with biases.
#[derive(Module, Debug)]
pub struct ClipAttention {
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Output.
    pub out_proj: Linear,
    /// Number of heads.
    pub heads: usize,
}

/// `fc2(quick_gelu(fc1(x)))`.
#[derive(Module, Debug)]
pub struct ClipMlp {
    /// Into the wide middle.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
}

impl ClipVisionConfig {
    /// Patches of one image, the class token not counted.
    pub fn num_patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Fresh weights: linear layers and tokens from N(0, 1 / fan-in), positions from N(0, 0.02²).
    pub fn init(&self, device: &Device, seed: u64) -> ClipVisionTower {
        let layers = (0..self.num_hidden_layers)
            .map(|index| self.init_layer(device, stream_seed(seed, &format!("layers.{index}"))));
        ClipVisionTower {
            vision_model: ClipVisionTransformer {
                embeddings: self.init_embeddings(device, stream_seed(seed, "embeddings")),
                pre_layrnorm: LayerNorm::init(self.hidden_size, self.layer_norm_eps, device),
                encoder: ClipEncoder {
                    layers: layers.collect(),
                },
                post_layernorm: LayerNorm::init(self.hidden_size, self.layer_norm_eps, device),
            },
        }
    }

    fn init_embeddings(&self, device: &Device, seed: u64) -> ClipVisionEmbeddings {
        let (hidden, patch) = (self.hidden_size, self.patch_size);
        let kernel = [hidden, self.num_channels, patch, patch];
        let fan_in = (self.num_channels * patch * patch) as f64;
        let positions = [1 + self.num_patches(), hidden];
        ClipVisionEmbeddings {
            class_embedding: init::normal_param([hidden], 0.02, stream_seed(seed, "class"), device),
            patch_embedding: PatchEmbedding {
                weight: init::normal_param(kernel, fan_in.powf(-0.5), stream_seed(seed, "patch"), device),
            },
            position_embedding: PositionEmbedding {
                weight: init::normal_param(positions, 0.02, stream_seed(seed, "position"), device),
            },
        }
    }

    fn init_layer(&self, device: &Device, seed: u64) -> ClipEncoderLayer {
        ClipLayerShape {
            hidden: self.hidden_size,
            middle: self.intermediate_size,
            heads: self.num_attention_heads,
            epsilon: self.layer_norm_eps,
        }
        .init(device, seed)
    }
}

/// The shape of an encoder layer, of pictures or of text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClipLayerShape {
    pub(crate) hidden: usize,
    pub(crate) middle: usize,
    pub(crate) heads: usize,
    pub(crate) epsilon: f64,
}

impl ClipLayerShape {
    /// Fresh weights: linear layers from N(0, 1 / fan-in).
    pub(crate) fn init(self, device: &Device, seed: u64) -> ClipEncoderLayer {
        let Self {
            hidden,
            middle,
            heads,
            epsilon,
        } = self;
        let linear = |name: &str, input: usize, output: usize| {
            let std = (input as f64).powf(-0.5);
            LinearConfig::new(input, output)
                .with_bias()
                .init(std, stream_seed(seed, name), device)
        };
        ClipEncoderLayer {
            layer_norm1: LayerNorm::init(hidden, epsilon, device),
            self_attn: ClipAttention {
                q_proj: linear("q_proj", hidden, hidden),
                k_proj: linear("k_proj", hidden, hidden),
                v_proj: linear("v_proj", hidden, hidden),
                out_proj: linear("out_proj", hidden, hidden),
                heads,
            },
            layer_norm2: LayerNorm::init(hidden, epsilon, device),
            mlp: ClipMlp {
                fc1: linear("fc1", hidden, middle),
                fc2: linear("fc2", middle, hidden),
            },
        }
    }
}

impl ClipVisionTower {
    /// Patch features after layer `layer` (counted as Hugging Face counts hidden states: `-1` is the last layer's
    /// output, `-2` the one before), class token dropped. Layers behind it are not run.
    ///
    /// # Shapes
    /// `[images, channels, side, side]` -> `[images, patches, hidden]`
    pub fn patch_features(&self, pixels: Tensor<4>, layer: i64) -> Tensor<3> {
        let model = &self.vision_model;
        let count = (model.encoder.layers.len() as i64 + 1 + layer) as usize;
        let tokens = model.pre_layrnorm.forward(model.embeddings.forward(pixels));
        let tokens = model.encoder.layers[..count]
            .iter()
            .fold(tokens, |x, layer| layer.forward(x));
        let [images, length, hidden] = tokens.dims();
        tokens.slice([0..images, 1..length, 0..hidden])
    }
}

impl ClipVisionEmbeddings {
    /// # Shapes
    /// `[images, channels, side, side]` -> `[images, 1 + patches, hidden]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(pixels);
        let [images, _, hidden] = patches.dims();
        let class = self
            .class_embedding
            .val()
            .reshape([1, 1, hidden])
            .expand([images, 1, hidden]);
        Tensor::cat(vec![class, patches], 1) + self.position_embedding.weight.val().unsqueeze()
    }
}

impl PatchEmbedding {
    /// # Shapes
    /// `[images, channels, side, side]` -> `[images, patches, hidden]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [hidden, channels, patch, _] = self.weight.dims();
        let [images, _, height, width] = pixels.dims();
        let (down, across) = (height / patch, width / patch);
        let patches = pixels
            .reshape([images, channels, down, patch, across, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([images * down * across, channels * patch * patch]);
        let kernel = self
            .weight
            .val()
            .reshape([hidden, channels * patch * patch])
            .transpose();
        patches.matmul(kernel).reshape([images, down * across, hidden])
    }
}

impl ClipEncoderLayer {
    /// # Shapes
    /// `[images, tokens, hidden]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.forward_with(x, None, quick_gelu)
    }

    /// The same with a bias of the attention's scores and another activation, as text encoders have.
    ///
    /// # Shapes
    /// `bias` is broadcastable to `[rows, heads, tokens, tokens]`.
    pub(crate) fn forward_with(
        &self,
        x: Tensor<3>,
        bias: Option<Tensor<4>>,
        activation: fn(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), bias);
        let widened = activation(self.mlp.fc1.forward(self.layer_norm2.forward(x.clone())));
        x + self.mlp.fc2.forward(widened)
    }
}

impl ClipAttention {
    /// # Shapes
    /// `[images, tokens, hidden]` -> the same
    fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let scale = ((x.dims()[2] / self.heads) as f64).powf(-0.5);
        let q = split_heads(self.q_proj.forward(x.clone()).mul_scalar(scale), self.heads);
        let k = split_heads(self.k_proj.forward(x.clone()), self.heads);
        let v = split_heads(self.v_proj.forward(x), self.heads);
        self.out_proj.forward(merge_heads(attend(q, k, v, bias)))
    }
}

/// `x σ(1.702 x)`, CLIP's approximation of GELU.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * activation::sigmoid(x.mul_scalar(1.702))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    fn config() -> ClipVisionConfig {
        ClipVisionConfig {
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            num_channels: 3,
            image_size: 8,
            patch_size: 4,
            layer_norm_eps: 1e-5,
        }
    }

    #[test]
    fn patch_embedding_is_the_strided_convolution() {
        let device = Device::flex();
        let layer = config().init(&device, 3).vision_model.embeddings.patch_embedding;
        let pixels = init::normal([2, 3, 8, 8], 1.0, 5, &device);
        let options = burn::tensor::ops::ConvOptions::new([4, 4], [0, 0], [1, 1], 1);
        let convolved = burn::tensor::module::conv2d(pixels.clone(), layer.weight.val(), None, options);
        let expected = convolved.reshape([2, 8, 4]).swap_dims(1, 2).into_data();
        layer
            .forward(pixels)
            .into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn the_selected_layer_does_not_depend_on_the_layers_behind_it() {
        let device = Device::flex();
        let tower = config().init(&device, 3);
        let mut cut = tower.clone();
        cut.vision_model.encoder.layers.pop();
        let pixels: Tensor<4> = init::normal([1, 3, 8, 8], 1.0, 5, &device);
        let inner = tower.patch_features(pixels.clone(), -2);
        assert_eq!(inner.dims(), [1, 4, 8]);
        assert_eq!(inner.into_data(), cut.patch_features(pixels, -1).into_data());
    }

    #[test]
    fn quick_gelu_has_its_closed_form() {
        let y = quick_gelu(Tensor::<1>::from_data([-1.0, 0.0, 2.0], &Device::flex())).into_data();
        let expected = [-1.0f32, 0.0, 2.0].map(|x| x / (1.0 + (-1.702 * x).exp()));
        y.assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-6));
    }
}
