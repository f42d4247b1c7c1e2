//! The language model: a Llama decoder with grouped-query attention, whole sequences or one position at a time.
//!
//! It sees embeddings and returns hidden states; what the tokens are, where images go and which positions need logits is
//! the caller's business.

mod attention;
mod cache;
mod config;
mod decoder_layer;
mod rope;

pub use attention::{LlamaAttention, Positions};
pub use cache::{KvCache, KvCacheShape};
pub use config::LlamaConfig;
pub use decoder_layer::{LlamaDecoderLayer, LlamaMlp};
pub use rope::{Rope, RopeScaling};

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use crate::linear::Linear;
use crate::norm::RmsNorm;

/// A Llama with its head ("LLaMA", [arXiv 2302.13971](https://arxiv.org/abs/2302.13971)).
#[derive(Module, Debug)]
pub struct LlamaForCausalLm {
    /// Embeddings, layers, last normalisation.
    pub model: LlamaModel,
    /// Hidden state to logits.
    pub lm_head: Linear,
}

/// The decoder without its head.
#[derive(Module, Debug)]
pub struct LlamaModel {
    /// The token table.
    pub embed_tokens: TokenEmbedding,
    /// The layers, first to last.
    pub layers: Vec<LlamaDecoderLayer>,
    /// Normalisation before the head.
    pub norm: RmsNorm,
}

/// One vector per token.
#[derive(Module, Debug)]
pub struct TokenEmbedding {
    /// `[vocabulary, hidden]`.
    pub weight: Param<Tensor<2>>,
}

impl TokenEmbedding {
    /// # Shapes
    /// `[tokens]` -> `[tokens, hidden]`
    pub fn forward(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.weight.val().select(0, ids)
    }
}

impl LlamaModel {
    /// The layers, without the last normalisation, for the positions from `keep` on: the last layer computes keys and
    /// values for all, the rest only for those. With a cache, `x` holds the positions behind those cached, and the
    /// cache grows by them.
    ///
    /// # Shapes
    /// `[rows, new, hidden]` -> `[rows, new - keep, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        keep: usize,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let new = x.dims()[1];
        let mut x = x;
        for (index, layer) in self.layers.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|cache| (index, cache));
            x = layer.forward(x, positions, self.first_kept(index, keep), cache);
        }
        if let Some(cache) = cache {
            cache.advance(new);
        }
        x
    }

    /// The first position that layer `index` returns where the last one returns those from `keep` on.
    pub(crate) fn first_kept(&self, index: usize, keep: usize) -> usize {
        if index + 1 == self.layers.len() { keep } else { 0 }
    }
}

impl LlamaForCausalLm {
    /// Normalises hidden states and multiplies them with the head.
    ///
    /// # Shapes
    /// `[.., hidden]` -> `[.., vocabulary]`
    pub fn logits<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.lm_head.forward(self.model.norm.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Tolerance};

    use super::*;
    use crate::attention::causal_bias;
    use crate::init;

    pub(super) fn config(kv_heads: usize) -> LlamaConfig {
        LlamaConfig {
            vocab_size: 11,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: kv_heads,
            max_position_embeddings: 32,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
        }
    }

    fn rope(config: &LlamaConfig, length: usize) -> Rope {
        Rope::new(
            0..length,
            &config.inverse_frequencies(),
            DType::F32,
            &Device::flex(),
        )
    }

    /// Positions of rows that are seen whole.
    pub(super) fn whole(config: &LlamaConfig, length: usize) -> Positions {
        Positions {
            rope: rope(config, length),
            bias: Some(causal_bias(&[0], length, &Device::flex())),
        }
    }

    pub(super) fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f32) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(tolerance));
    }

    #[test]
    fn cached_decoding_equals_the_full_forward() {
        let (config, device) = (config(2), Device::flex());
        let model = config.init(&device, 1).model;
        let x: Tensor<3> = init::normal([2, 6, 16], 1.0, 2, &device);
        let full = model.forward(x.clone(), &whole(&config, 6), 0, None);

        let shape = KvCacheShape {
            layers: 2,
            rows: 2,
            heads: 2,
            capacity: 6,
            width: 4,
        };
        let mut cache = KvCache::new(shape, DType::F32, &device);
        let first = model.forward(x.clone().narrow(1, 0, 3), &whole(&config, 3), 0, Some(&mut cache));
        close(first, full.clone().narrow(1, 0, 3), 1e-5);
        for index in 3..6 {
            let positions = Positions {
                rope: rope(&config, 6).narrow(index, 1),
                bias: None,
            };
            let step = model.forward(x.clone().narrow(1, index, 1), &positions, 0, Some(&mut cache));
            close(step, full.clone().narrow(1, index, 1), 1e-5);
        }
        assert_eq!(cache.length(), cache.capacity());
    }

    #[test]
    fn keeping_the_last_positions_gives_what_the_full_forward_gives_there() {
        let (config, device) = (config(4), Device::flex());
        let model = config.init(&device, 1).model;
        let x: Tensor<3> = init::normal([2, 6, 16], 1.0, 2, &device);
        let full = model.forward(x.clone(), &whole(&config, 6), 0, None);
        close(
            model.forward(x, &whole(&config, 6), 4, None),
            full.narrow(1, 4, 2),
            1e-6,
        );
    }

    #[test]
    fn no_position_sees_the_future() {
        let (config, device) = (config(4), Device::flex());
        let model = config.init(&device, 1).model;
        let x: Tensor<3> = init::normal([1, 4, 16], 1.0, 2, &device);
        let changed = x
            .clone()
            .slice_assign([0..1, 3..4, 0..16], Tensor::zeros([1, 1, 16], &device));
        let read = |x| {
            model
                .forward(x, &whole(&config, 4), 0, None)
                .narrow(1, 0, 3)
                .into_data()
        };
        assert_eq!(read(x), read(changed));
    }
}
