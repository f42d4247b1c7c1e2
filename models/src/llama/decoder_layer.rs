//! One layer of the decoder: attention and the feed-forward block, each behind its normalisation and beside a residual.

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::attention::{LlamaAttention, Positions, tail};
use super::cache::KvCache;
use crate::linear::Linear;
use crate::norm::RmsNorm;

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

impl LlamaMlp {
    /// # Shapes
    /// `[rows, new, hidden]` -> the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = activation::silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::init;
    use crate::llama::tests::whole;

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
