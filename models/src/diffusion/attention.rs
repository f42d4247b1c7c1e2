//! Attention over a picture's pixels, in slices where the scores of all of them would not fit.

use burn::module::Module;
use burn::tensor::Tensor;

use super::fresh::Fresh;
use crate::attention::{attend, merge_heads, split_heads};
use crate::linear::Linear;

/// The most scores that are held at once, in bytes of f32. How many queries that leaves to a slice depends on the shapes
/// alone, so that the same picture is always computed in the same slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceBytes(pub usize);

impl Default for SliceBytes {
    /// 512 MiB: half of what a 512x512 picture's largest layer of Stable Diffusion 1.5 has with guidance.
    fn default() -> Self {
        Self(512 << 20)
    }
}

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

/// [`attend`], some queries at a time.
fn in_slices(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
    let ([rows, heads, queries, width], keys) = (q.dims(), k.dims()[2]);
    let of_one_query = rows * heads * keys * size_of::<f32>();
    let queries_at_once = (slice.0 / of_one_query.max(1)).max(1);
    if queries_at_once >= queries {
        return attend(q, k, v, None);
    }
    let slices = (0..queries).step_by(queries_at_once).map(|first| {
        let last = (first + queries_at_once).min(queries);
        let part = q.clone().slice([0..rows, 0..heads, first..last, 0..width]);
        attend(part, k.clone(), v.clone(), None)
    });
    Tensor::cat(slices.collect(), 2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

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
        let whole = layer.forward(x.clone(), context.clone(), SliceBytes::default());
        // Of 2 rows, 2 heads and 5 keys, three queries have 240 bytes of scores; fewer bytes than one needs still do one.
        for bytes in [240, 1] {
            let sliced = layer.forward(x.clone(), context.clone(), SliceBytes(bytes));
            sliced
                .into_data()
                .assert_approx_eq::<f32>(&whole.to_data(), Tolerance::absolute(1e-6));
        }
    }
}
