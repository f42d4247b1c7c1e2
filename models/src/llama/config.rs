//! Shape of the decoder and how one is made from it.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::rope::{RopeScaling, inverse_frequencies};
use super::{LlamaAttention, LlamaDecoderLayer, LlamaForCausalLm, LlamaMlp, LlamaModel, TokenEmbedding};
use crate::init::{self, stream_seed};
use crate::linear::LinearConfig;
use crate::norm::RmsNorm;

/// Shape of the decoder, under the names of a Hugging Face `text_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Rows of the embedding table and of the head; at least the tokenizer's size.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads; divides `hidden_size` into heads of even width.
    pub num_attention_heads: usize,
    /// Key-value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Longest sequence, prompt with image tokens and completion.
    pub max_position_embeddings: usize,
    /// Epsilon of the normalisations.
    pub rms_norm_eps: f64,
    /// Base of the rotary angles.
    #[serde(default = "theta")]
    pub rope_theta: f64,
    /// How the rotary angles are stretched; not at all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
}

fn theta() -> f64 {
    10_000.0
}

impl LlamaConfig {
    /// Width of one head.
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Rotary angle per position of each pair of channels of a head.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        inverse_frequencies(self.rope_theta, self.head_width(), self.rope_scaling.as_ref())
    }

    /// Fresh weights: linear layers from N(0, 1 / fan-in), the output projections of the two residual branches scaled
    /// down by sqrt(2 layers) (GPT-2), the token table from N(0, 1) as PyTorch's, the head from N(0, 0.02²).
    pub fn init(&self, device: &Device, seed: u64) -> LlamaForCausalLm {
        let (hidden, vocab) = (self.hidden_size, self.vocab_size);
        let layers = (0..self.num_hidden_layers)
            .map(|index| self.init_layer(device, stream_seed(seed, &format!("layers.{index}"))));
        LlamaForCausalLm {
            model: LlamaModel {
                embed_tokens: TokenEmbedding {
                    weight: init::normal_param(
                        [vocab, hidden],
                        1.0,
                        stream_seed(seed, "embed_tokens"),
                        device,
                    ),
                },
                layers: layers.collect(),
                norm: RmsNorm::init(hidden, self.rms_norm_eps, device),
            },
            lm_head: LinearConfig::new(hidden, vocab).init(0.02, stream_seed(seed, "lm_head"), device),
        }
    }

    /// One decoder layer with fresh weights.
    pub fn init_layer(&self, device: &Device, seed: u64) -> LlamaDecoderLayer {
        let (hidden, middle) = (self.hidden_size, self.intermediate_size);
        let narrow = self.num_key_value_heads * self.head_width();
        let residual = (2.0 * self.num_hidden_layers as f64).powf(-0.5);
        let linear = |name: &str, input: usize, output: usize, gain: f64| {
            let std = gain * (input as f64).powf(-0.5);
            LinearConfig::new(input, output).init(std, stream_seed(seed, name), device)
        };
        LlamaDecoderLayer {
            input_layernorm: RmsNorm::init(hidden, self.rms_norm_eps, device),
            self_attn: LlamaAttention {
                q_proj: linear("q_proj", hidden, hidden, 1.0),
                k_proj: linear("k_proj", hidden, narrow, 1.0),
                v_proj: linear("v_proj", hidden, narrow, 1.0),
                o_proj: linear("o_proj", hidden, hidden, residual),
                heads: self.num_attention_heads,
                kv_heads: self.num_key_value_heads,
            },
            post_attention_layernorm: RmsNorm::init(hidden, self.rms_norm_eps, device),
            mlp: LlamaMlp {
                gate_proj: linear("gate_proj", hidden, middle, 1.0),
                up_proj: linear("up_proj", hidden, middle, 1.0),
                down_proj: linear("down_proj", middle, hidden, residual),
            },
        }
    }
}
