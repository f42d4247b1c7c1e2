//! The language model: a Llama decoder with grouped-query attention, whole sequences or one position at a time.
//!
//! It sees embeddings and returns hidden states; what the tokens are, where images go and which positions need logits is
//! the caller's business.

mod cache;
mod config;
mod rope;

pub use cache::{KvCache, KvCacheShape};
pub use config::LlamaConfig;
pub use rope::{Rope, RopeScaling};

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, activation};

use crate::attention::{attend, merge_heads};
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

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
pub struct LlamaDecoderLayer {
    /// Before attention.
    pub input_layernorm: RmsNorm,
    /// Attention to the past.
    pub self_attn: LlamaAttention,
    /// Before the feed-forward block.
    pub post_attention_layernorm: RmsNorm,
    /// The feed-forward block.
    pub mlp: LlamaMlp,
}

/// Grouped-query attention ([arXiv 2305.13245](https://arxiv.org/abs/2305.13245)): `heads / kv_heads` query heads share
/// a key-value head.
#[derive(Module, Debug)]
pub struct LlamaAttention {
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Output.
    pub o_proj: Linear,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
}

/// SwiGLU ([arXiv 2002.05202](https://arxiv.org/abs/2002.05202)): `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct LlamaMlp {
    /// Into the wide middle, through SiLU.
    pub gate_proj: Linear,
    /// Into the wide middle.
    pub up_proj: Linear,
    /// Back.
    pub down_proj: Linear,
}

/// What the new positions of one forward pass share: rotations and who may look at whom.
#[derive(Debug, Clone)]
pub struct Positions {
    /// Rotation tables of the new positions.
    pub rope: Rope,
    /// Added to the attention scores, broadcastable to `[rows, heads, new, all]`.
    pub bias: Option<Tensor<4>>,
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

impl LlamaDecoderLayer {
    /// The layer's output at the positions from `from` on.
    ///
    /// # Shapes
    /// `[rows, new, hidden]` -> `[rows, new - from, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        from: usize,
        cache: Option<(usize, &mut KvCache)>,
    ) -> Tensor<3> {
        let attended =
            self.self_attn
                .forward(self.input_layernorm.forward(x.clone()), positions, from, cache);
        let x = tail(x, 1, from) + attended;
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

impl LlamaAttention {
    /// Every new position is a key, those from `from` on are queries.
    ///
    /// # Shapes
    /// `[rows, new, hidden]` -> `[rows, new - from, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        from: usize,
        cache: Option<(usize, &mut KvCache)>,
    ) -> Tensor<3> {
        let width = x.dims()[2] / self.heads;
        let q = into_heads(self.q_proj.forward(tail(x.clone(), 1, from)), self.heads);
        let k = into_heads(self.k_proj.forward(x.clone()), self.kv_heads);
        let v = into_heads(self.v_proj.forward(x), self.kv_heads).swap_dims(1, 2);
        let q = q.mul_scalar((width as f64).powf(-0.5));
        let q = positions.rope.from(from).rotate(q).swap_dims(1, 2);
        let k = positions.rope.rotate(k).swap_dims(1, 2);
        let (k, v) = match cache {
            Some((layer, cache)) => cache.extend(layer, k, v),
            None => (k, v),
        };
        let bias = positions.bias.clone().map(|bias| {
            if bias.dims()[2] == 1 {
                bias
            } else {
                tail(bias, 2, from)
            }
        });
        self.o_proj.forward(merge_heads(attend(
            q,
            self.share_heads(k),
            self.share_heads(v),
            bias,
        )))
    }

    /// Repeats each key-value head for the query heads that share it.
    fn share_heads(&self, x: Tensor<4>) -> Tensor<4> {
        let group = self.heads / self.kv_heads;
        if group == 1 {
            return x;
        }
        let [rows, heads, length, width] = x.dims();
        let repeated: Tensor<5> = x
            .unsqueeze_dim::<5>(2)
            .expand([rows, heads, group, length, width]);
        repeated.reshape([rows, heads * group, length, width])
    }
}

impl LlamaMlp {
    /// # Shapes
    /// `[rows, new, hidden]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = activation::silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}

/// `[rows, length, heads * width]` -> `[rows, length, heads, width]`.
fn into_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [rows, length, width] = x.dims();
    x.reshape([rows, length, heads, width / heads])
}

/// The part of `x` from `from` on along `dim`.
fn tail<const D: usize>(x: Tensor<D>, dim: usize, from: usize) -> Tensor<D> {
    let length = x.dims()[dim];
    if from == 0 {
        x
    } else {
        x.narrow(dim, from, length - from)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData, Tolerance};

    use super::*;
    use crate::attention::causal_bias;
    use crate::init;

    fn config(kv_heads: usize) -> LlamaConfig {
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

    fn whole(config: &LlamaConfig, length: usize) -> Positions {
        Positions {
            rope: rope(config, length),
            bias: Some(causal_bias(&[0], length, &Device::flex())),
        }
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f32) {
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
    fn grouped_queries_equal_full_attention_with_repeated_key_value_heads() {
        let (config, device) = (config(2), Device::flex());
        let grouped = config.init(&device, 1).model.layers[0].self_attn.clone();
        let repeat = |linear: &Linear| {
            // Columns of head 0, 0, 1, 1.
            let columns =
                Tensor::<1, Int>::from_data([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7], &device);
            let weight = linear.weight.val().select(1, columns);
            Linear {
                weight: Param::from_tensor(weight),
                bias: None,
                lora: None,
            }
        };
        let full = LlamaAttention {
            k_proj: repeat(&grouped.k_proj),
            v_proj: repeat(&grouped.v_proj),
            kv_heads: 4,
            ..grouped.clone()
        };
        let x: Tensor<3> = init::normal([2, 5, 16], 1.0, 2, &device);
        let positions = whole(&config, 5);
        let expected = full.forward(x.clone(), &positions, 0, None);
        close(grouped.forward(x, &positions, 0, None), expected, 1e-5);
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

    #[test]
    fn the_feed_forward_block_has_its_closed_form() {
        let device = Device::flex();
        let one = |value: f32| Linear {
            weight: Param::from_data(TensorData::from([[value]]), &device),
            bias: None,
            lora: None,
        };
        let mlp = LlamaMlp {
            gate_proj: one(2.0),
            up_proj: one(3.0),
            down_proj: one(0.5),
        };
        let y = mlp
            .forward(Tensor::<3>::from_data([[[1.5]]], &device))
            .into_scalar::<f32>();
        let gate = 3.0f32;
        assert!((y - 0.5 * 4.5 * gate / (1.0 + (-gate).exp())).abs() < 1e-5);
    }

    /// A matrix of rank 2 and its two factors on the host: random in every entry, yet cheap to make and to multiply with in
    /// 64 bits at any width.
    struct Rank2 {
        /// `[input][2]`.
        left: Vec<f64>,
        /// `[2][output]`.
        right: Vec<f64>,
    }

    impl Rank2 {
        fn new(input: usize, output: usize, seed: u64) -> (Self, Linear) {
            let device = Device::flex();
            let left: Tensor<2> = init::normal([input, 2], (input as f64).powf(-0.5), seed, &device);
            let right: Tensor<2> = init::normal([2, output], 1.0, seed + 1, &device);
            let host = |tensor: &Tensor<2>| tensor.clone().into_data().iter::<f64>().collect();
            let factors = Self {
                left: host(&left),
                right: host(&right),
            };
            let linear = Linear {
                weight: Param::from_tensor(left.matmul(right)),
                bias: None,
                lora: None,
            };
            (factors, linear)
        }

        fn apply(&self, x: &[f64]) -> Vec<f64> {
            let narrow = |k: usize| -> f64 {
                x.iter()
                    .zip(self.left[k..].iter().step_by(2))
                    .map(|(x, l)| x * l)
                    .sum()
            };
            let (first, second) = self.right.split_at(self.right.len() / 2);
            let narrow = [narrow(0), narrow(1)];
            first
                .iter()
                .zip(second)
                .map(|(a, b)| narrow[0] * a + narrow[1] * b)
                .collect()
        }
    }

    /// Root-mean-square normalisation with weight one.
    fn normalised(x: &[f64], epsilon: f64) -> Vec<f64> {
        let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x / (mean_square + epsilon).sqrt()).collect()
    }

    /// Rotates the two halves of each head of `width` against each other.
    fn rotated(x: &[f64], position: usize, width: usize, theta: f64) -> Vec<f64> {
        let half = width / 2;
        (0..x.len())
            .map(|i| {
                let (head, place) = (i / width * width, i % width);
                let angle = position as f64 * theta.powf(-2.0 * (place % half) as f64 / width as f64);
                let other = if place < half {
                    -x[head + place + half]
                } else {
                    x[head + place - half]
                };
                x[i] * angle.cos() + other * angle.sin()
            })
            .collect()
    }

    /// LLaVA 1.6's decoder layer at its full width, against the same layer in 64 bits on the host.
    #[test]
    fn one_layer_at_7b_width_is_the_layer_of_the_paper() {
        let (config, device) = (crate::llava::LlavaConfig::llava_1_6_7b().text, Device::flex());
        let (hidden, middle, width) = (config.hidden_size, config.intermediate_size, config.head_width());
        let (q, q_proj) = Rank2::new(hidden, hidden, 1);
        let (k, k_proj) = Rank2::new(hidden, hidden, 3);
        let (v, v_proj) = Rank2::new(hidden, hidden, 5);
        let (o, o_proj) = Rank2::new(hidden, hidden, 7);
        let (gate, gate_proj) = Rank2::new(hidden, middle, 9);
        let (up, up_proj) = Rank2::new(hidden, middle, 11);
        let (down, down_proj) = Rank2::new(middle, hidden, 13);
        let mut layer = config.init_layer(&device, 0);
        layer.self_attn = LlamaAttention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            ..layer.self_attn
        };
        layer.mlp = LlamaMlp {
            gate_proj,
            up_proj,
            down_proj,
        };
        let x: Tensor<3> = init::normal([1, 2, hidden], 1.0, 15, &device);
        let found: Vec<f64> = layer
            .forward(x.clone(), &whole(&config, 2), 0, None)
            .into_data()
            .iter::<f64>()
            .collect();

        let x: Vec<f64> = x.into_data().iter::<f64>().collect();
        let epsilon = config.rms_norm_eps;
        let inputs: Vec<Vec<f64>> = x.chunks(hidden).map(|x| normalised(x, epsilon)).collect();
        let turned = |factors: &Rank2, position: usize| {
            rotated(
                &factors.apply(&inputs[position]),
                position,
                width,
                config.rope_theta,
            )
        };
        let keys = [turned(&k, 0), turned(&k, 1)];
        let values = [v.apply(&inputs[0]), v.apply(&inputs[1])];
        for position in 0..2 {
            let query = turned(&q, position);
            let attended: Vec<f64> = (0..hidden)
                .map(|i| {
                    let head = i / width * width..(i / width + 1) * width;
                    let weight = |key: usize| -> f64 {
                        let dot: f64 = head.clone().map(|j| query[j] * keys[key][j]).sum();
                        (dot / (width as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = (0..=position).map(weight).collect();
                    let sum: f64 = weights.iter().zip(&values).map(|(w, v)| w * v[i]).sum();
                    sum / weights.iter().sum::<f64>()
                })
                .collect();
            let add = |x: &[f64], y: Vec<f64>| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
            let x = add(&x[position * hidden..][..hidden], o.apply(&attended));
            let read = normalised(&x, epsilon);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let gated: Vec<f64> = gate
                .apply(&read)
                .iter()
                .zip(up.apply(&read))
                .map(|(g, u)| silu(*g) * u)
                .collect();
            let expected = add(&x, down.apply(&gated));
            for (found, expected) in found[position * hidden..].iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                    "{found} is not {expected}"
                );
            }
        }
    }
}
