//! Descriptions to the tokens that the U-net attends to: CLIP's text encoder.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation, module};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::attention::causal_bias;
use crate::clip::{ClipEncoder, ClipEncoderLayer, ClipLayerShape, quick_gelu};
use crate::error::ModelError;
use crate::foreign::{complete, parse, require};
use crate::init::{normal_param, stream_seed};
use crate::limits;
use crate::norm::LayerNorm;

/// What is between the two matrices of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextActivation {
    /// CLIP's own, in Stable Diffusion 1.
    QuickGelu,
    /// OpenCLIP's, in Stable Diffusion 2.
    Gelu,
}

/// `CLIPTextModel`'s configuration, under its names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextEncoderConfig {
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The most tokens of a text, begin and end included.
    pub max_position_embeddings: usize,
    /// Epsilon of the layer normalisations.
    pub layer_norm_eps: f64,
    /// The activation.
    pub hidden_act: TextActivation,
}

impl TextEncoderConfig {
    /// Stable Diffusion 1.5's: the text encoder of CLIP ViT-L/14.
    pub fn stable_diffusion_15() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 77,
            layer_norm_eps: 1e-5,
            hidden_act: TextActivation::QuickGelu,
        }
    }

    /// Reads `CLIPTextModel`'s configuration.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] for a key that asks for another network, [`ModelError::Config`] for one out of range.
    pub fn read(mut json: Map<String, Value>) -> Result<Self, ModelError> {
        require(&json, "", &[("model_type", json!("clip_text_model"))])?;
        complete(
            &mut json,
            json!({
                "vocab_size": 49408,
                "hidden_size": 512,
                "intermediate_size": 2048,
                "num_hidden_layers": 12,
                "num_attention_heads": 8,
                "max_position_embeddings": 77,
                "layer_norm_eps": 1e-5,
                "hidden_act": "quick_gelu",
            }),
        );
        let config: Self = parse(json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let heads = self.num_attention_heads;
        limits::check([
            limits::entries("vocab_size", self.vocab_size),
            limits::entries("hidden_size", self.hidden_size),
            limits::entries("intermediate_size", self.intermediate_size),
            limits::layers("num_hidden_layers", self.num_hidden_layers),
            (
                heads > 0 && self.hidden_size.is_multiple_of(heads),
                "num_attention_heads",
                heads.to_string(),
                "a divisor of hidden_size",
            ),
            (
                (3..=1 << 16).contains(&self.max_position_embeddings),
                "max_position_embeddings",
                self.max_position_embeddings.to_string(),
                "from 3 to 65536",
            ),
            limits::positive("layer_norm_eps", self.layer_norm_eps),
        ])
    }

    /// Fresh weights: linear layers from N(0, 1 / fan-in), tables from N(0, 0.02²).
    pub fn init(&self, device: &Device, seed: u64) -> TextEncoder {
        let table = |name: &str, entries: usize| Table {
            weight: normal_param([entries, self.hidden_size], 0.02, stream_seed(seed, name), device),
        };
        let shape = ClipLayerShape {
            hidden: self.hidden_size,
            middle: self.intermediate_size,
            heads: self.num_attention_heads,
            epsilon: self.layer_norm_eps,
        };
        let layer = |index| shape.init(device, stream_seed(seed, &format!("layers.{index}")));
        TextEncoder {
            text_model: TextTransformer {
                embeddings: TextEmbeddings {
                    token_embedding: table("token_embedding", self.vocab_size),
                    position_embedding: table("position_embedding", self.max_position_embeddings),
                },
                encoder: ClipEncoder {
                    layers: (0..self.num_hidden_layers).map(layer).collect(),
                },
                final_layer_norm: LayerNorm::init(self.hidden_size, self.layer_norm_eps, device),
                activation: self.hidden_act,
            },
        }
    }
}

/// CLIP's text encoder ([arXiv 2103.00020](https://arxiv.org/abs/2103.00020)), named as in a checkpoint.
#[derive(Module, Debug)]
pub struct TextEncoder {
    /// The transformer.
    pub text_model: TextTransformer,
}

/// Tokens with learned positions, pre-LN layers that look back only, a last normalisation.
#[derive(Module, Debug)]
pub struct TextTransformer {
    /// Ids to tokens.
    pub embeddings: TextEmbeddings,
    /// The layers.
    pub encoder: ClipEncoder,
    /// The last normalisation.
    pub final_layer_norm: LayerNorm,
    #[module(skip)]
    activation: TextActivation,
}

/// The tables.
#[derive(Module, Debug)]
pub struct TextEmbeddings {
    /// `[vocabulary, hidden]`.
    pub token_embedding: Table,
    /// `[positions, hidden]`.
    pub position_embedding: Table,
}

/// A vector for each entry.
#[derive(Module, Debug)]
pub struct Table {
    /// `[entries, width]`.
    pub weight: Param<Tensor<2>>,
}

impl TextEncoder {
    /// The last layer's tokens, normalised.
    ///
    /// # Shapes
    /// `rows` of equal length, at most the positions, each id below the vocabulary's size
    /// -> `[rows, tokens, hidden]`
    pub fn forward(&self, rows: &[Vec<u32>], device: &Device) -> Tensor<3> {
        let model = &self.text_model;
        let x = model.embeddings.forward(rows, device);
        let bias = causal_bias(&[0], x.dims()[1], device).cast(x.dtype());
        let layers = model.encoder.layers.iter();
        let x = layers.fold(x, |x, layer| model.through(layer, x, &bias));
        model.final_layer_norm.forward(x)
    }

    /// The number format that it computes in.
    pub fn dtype(&self) -> DType {
        self.text_model.final_layer_norm.weight.val().dtype()
    }
}

impl TextTransformer {
    pub(super) fn through(&self, layer: &ClipEncoderLayer, x: Tensor<3>, bias: &Tensor<4>) -> Tensor<3> {
        let activation = match self.activation {
            TextActivation::QuickGelu => quick_gelu,
            TextActivation::Gelu => activation::gelu,
        };
        layer.forward_with(x, Some(bias.clone()), activation)
    }
}

impl TextEmbeddings {
    pub(super) fn forward(&self, rows: &[Vec<u32>], device: &Device) -> Tensor<3> {
        let length = rows.first().map_or(0, Vec::len);
        let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows.len(), length]), device);
        let tokens = module::embedding(self.token_embedding.weight.val(), ids);
        let width = tokens.dims()[2];
        let positions = self.position_embedding.weight.val().slice([0..length, 0..width]);
        tokens + positions.unsqueeze()
    }
}
