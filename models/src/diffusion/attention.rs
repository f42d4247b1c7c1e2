//! Attention over a picture's pixels, in slices where the scores of all of them would not fit.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::cpu;
use super::fresh::Fresh;
use crate::attention::{attend, merge_heads, split_heads};
use crate::linear::Linear;

/// The most scores that are held at once, in bytes of f32. What that leaves to a slice depends on the shapes alone, so that the
/// same picture is always computed in the same slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceBytes(pub usize);

impl SliceBytes {
    /// What is fastest: on a CPU little enough for its cache, on a card enough to fill it. A layer of Stable Diffusion 1.5 at
    /// 512x512 has 1 GiB of scores with guidance.
    pub fn for_device(device: &Device) -> Self {
        match cpu::is_it(device) {
            true => Self(1 << 20),
            false => Self(1 << 30),
        }
    }
}

/// Queries that a slice has at least of each head, as far as there are: fewer make a slow product.
const QUERIES: usize = 64;

/// Multi-head attention of `x` to `context`.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries.
    pub to_q: Linear,
    /// Keys.
    pub to_k: Linear,
    /// Values.
    pub to_v: Linear,
    /// Output: one layer; a list because checkpoints call it `to_out.0`.
    pub to_out: Vec<Linear>,
    /// Number of heads.
    pub heads: usize,
}

impl Attention {
    /// Queries, keys and values without a bias.
    pub(super) fn fresh(fresh: Fresh<'_>, width: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: fresh.linear_without_bias("to_q", width, width),
            to_k: fresh.linear_without_bias("to_k", context, width),
            to_v: fresh.linear_without_bias("to_v", context, width),
            to_out: vec![fresh.linear("to_out.0", width, width)],
            heads,
        }
    }

    /// All layers with a bias, one head: as the autoencoder has it.
    pub(super) fn fresh_with_bias(fresh: Fresh<'_>, width: usize) -> Self {
        Self {
            to_q: fresh.linear("to_q", width, width),
            to_k: fresh.linear("to_k", width, width),
            to_v: fresh.linear("to_v", width, width),
            to_out: vec![fresh.linear("to_out.0", width, width)],
            heads: 1,
        }
    }

    /// # Shapes
    /// - `x`: `[rows, queries, width]`
    /// - `context`: `[rows, keys, context]`
    /// - output: `[rows, queries, width]`
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>, slice: SliceBytes) -> Tensor<3> {
        let scale = ((x.dims()[2] / self.heads) as f64).powf(-0.5);
        let q = split_heads(self.to_q.forward(x).mul_scalar(scale), self.heads);
        let k = split_heads(self.to_k.forward(context.clone()), self.heads);
        let v = split_heads(self.to_v.forward(context), self.heads);
        let attended = merge_heads(in_slices(q, k, v, slice));
        self.to_out.iter().fold(attended, |x, layer| layer.forward(x))
    }
}

/// [`attend`], some heads and some of their queries at a time.
fn in_slices(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
    let ([rows, heads, queries, width], keys) = (q.dims(), k.dims()[2]);
    let of_a_query = (keys * size_of::<f32>()).max(1);
    let least = (of_a_query * QUERIES.min(queries)).max(1);
    let heads_at_once = (slice.0 / least).clamp(1, rows * heads);
    let queries_at_once = (slice.0 / (heads_at_once * of_a_query)).max(1);
    if heads_at_once == rows * heads && queries_at_once >= queries {
        return attend(q, k, v, None);
    }
    let flat = |x: Tensor<4>, length: usize| x.reshape([1, rows * heads, length, width]);
    let (q, k, v) = (flat(q, queries), flat(k, keys), flat(v, keys));
    let of_heads = |first: usize| {
        let count = heads_at_once.min(rows * heads - first);
        let part = |x: &Tensor<4>| x.clone().narrow(1, first, count);
        let (q, k, v) = (part(&q), part(&k), part(&v));
        let of_queries = (0..queries).step_by(queries_at_once).map(|first| {
            let count = queries_at_once.min(queries - first);
            attend(q.clone().narrow(2, first, count), k.clone(), v.clone(), None)
        });
        Tensor::cat(of_queries.collect(), 2)
    };
    let firsts: Vec<usize> = (0..rows * heads).step_by(heads_at_once).collect();
    Tensor::cat(cpu::map(firsts, &q.device(), of_heads), 1).reshape([rows, heads, queries, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;
    use crate::init;

    #[test]
    fn slices_change_nothing_but_the_memory() {
        let device = Device::flex();
        let fresh = Fresh {
            device: &device,
            seed: 3,
        };
        let layer = Attention::fresh(fresh, 8, 6, 2);
        let x = init::normal([2, 7, 8], 1.0, 5, &device);
        let context = init::normal([2, 5, 6], 1.0, 6, &device);
        let whole = layer.forward(x.clone(), context.clone(), SliceBytes(1 << 20));
        // Of 2 rows, 2 heads, 7 queries and 5 keys: two heads at once, one, three queries of one, one; the last with too few bytes.
        for bytes in [280, 140, 60, 20, 1] {
            let sliced = layer.forward(x.clone(), context.clone(), SliceBytes(bytes));
            sliced
                .into_data()
                .assert_approx_eq::<f32>(&whole.to_data(), Tolerance::absolute(1e-6));
        }
    }
}
