//! Attention of the decoder: every new position looks at the past, which may lie in a cache.

use burn::module::Module;
use burn::tensor::Tensor;

use super::cache::KvCache;
use super::rope::Rope;
use crate::attention::{attend, merge_heads};
use crate::linear::Linear;

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

/// What the new positions of one forward pass share: rotations and who may look at whom.
#[derive(Debug, Clone)]
pub struct Positions {
    /// Rotation tables of the new positions.
    pub rope: Rope,
    /// Added to the attention scores, broadcastable to `[rows, heads, new, all]`.
    pub bias: Option<Tensor<4>>,
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

/// `[rows, length, heads * width]` -> `[rows, length, heads, width]`.
fn into_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [rows, length, width] = x.dims();
    x.reshape([rows, length, heads, width / heads])
}

/// The part of `x` from `from` on along `dim`.
pub(super) fn tail<const D: usize>(x: Tensor<D>, dim: usize, from: usize) -> Tensor<D> {
    let length = x.dims()[dim];
    if from == 0 {
        x
    } else {
        x.narrow(dim, from, length - from)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, Int};

    use super::*;
    use crate::init;
    use crate::llama::tests::{close, config, whole};

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
}
