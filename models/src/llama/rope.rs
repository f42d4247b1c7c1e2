//! Rotary position embedding in the rotate-half form of Hugging Face's Llama checkpoints.
//!
//! Positions are indices into the padded row. Rotation is relative: the score of a query and a key depends on the
//! difference of their positions only, so padding on the left shifts both and changes nothing, and one table serves
//! every row of a batch.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Cosines, sines and the signed permutation of one stretch of positions ("RoFormer",
/// [arXiv 2104.09864](https://arxiv.org/abs/2104.09864), eq. 34): `x cos + rotate_half(x) sin` with
/// `rotate_half([a; b]) = [-b; a]`.
///
/// `rotate_half` is written as a product with a constant matrix of 0 and ±1: one tensor operation in place of four,
/// forward and backward.
#[derive(Debug, Clone)]
pub struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
    rotate_half: Tensor<2>,
}

impl Rope {
    /// Tables for `positions` with base `theta` and heads of `width` (even), computed on the host in f64.
    ///
    /// # Shapes
    /// Cosines and sines `[1, positions, 1, width]`
    pub fn new(positions: Range<usize>, theta: f64, width: usize, dtype: DType, device: &Device) -> Self {
        let length = positions.len();
        let angle = |position: usize, channel: usize| {
            position as f64 * theta.powf(-2.0 * (channel % (width / 2)) as f64 / width as f64)
        };
        let table = |f: fn(f64) -> f64| {
            let values = positions
                .clone()
                .flat_map(|position| (0..width).map(move |channel| f(angle(position, channel)) as f32));
            let data = TensorData::new(values.collect::<Vec<f32>>(), [1, length, 1, width]);
            Tensor::from_data(data, (device, dtype))
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
            rotate_half: rotate_half(width, dtype, device),
        }
    }

    /// The tables of `length` positions from the `start`-th of this stretch.
    pub fn narrow(&self, start: usize, length: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(1, start, length),
            sin: self.sin.clone().narrow(1, start, length),
            rotate_half: self.rotate_half.clone(),
        }
    }

    /// The tables from the `start`-th position of this stretch on.
    pub fn from(&self, start: usize) -> Self {
        self.narrow(start, self.cos.dims()[1] - start)
    }

    /// Rotates every head of `x`.
    ///
    /// # Shapes
    /// `[rows, positions, heads, width]` -> the same
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [rows, length, heads, width] = x.dims();
        let flat: Tensor<2> = x.clone().reshape([rows * length * heads, width]);
        let half = flat
            .matmul(self.rotate_half.clone())
            .reshape([rows, length, heads, width]);
        x * self.cos.clone() + half * self.sin.clone()
    }
}

/// The matrix `R` with `x R = [-x_second; x_first]`.
fn rotate_half(width: usize, dtype: DType, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let mut values = vec![0f32; width * width];
    for channel in 0..half {
        values[(channel + half) * width + channel] = -1.0;
        values[channel * width + channel + half] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [width, width]), (device, dtype))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;
    use crate::init;

    fn rope(positions: Range<usize>) -> Rope {
        Rope::new(positions, 10_000.0, 4, DType::F32, &Device::flex())
    }

    #[test]
    fn rotation_is_the_rotate_half_form() {
        let x = Tensor::<4>::from_data([[[[1.0, 2.0, 3.0, 4.0]]]], &Device::flex());
        let (a, b) = (3.0f32, 0.03f32);
        let expected = [
            a.cos() - 3.0 * a.sin(),
            2.0 * b.cos() - 4.0 * b.sin(),
            3.0 * a.cos() + a.sin(),
            4.0 * b.cos() + 2.0 * b.sin(),
        ];
        let rotated = rope(3..4).rotate(x).reshape([4]).into_data();
        rotated.assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-5));
    }

    #[test]
    fn scores_depend_on_the_distance_only() {
        let device = Device::flex();
        let score = |shift: usize| {
            let q = rope(shift + 5..shift + 6).rotate(init::normal([1, 1, 1, 4], 1.0, 1, &device));
            let k = rope(shift..shift + 1).rotate(init::normal([1, 1, 1, 4], 1.0, 2, &device));
            (q * k).sum().into_scalar::<f32>()
        };
        assert!((score(0) - score(40)).abs() < 1e-5);
    }

    #[test]
    fn a_narrowed_table_is_the_table_of_those_positions() {
        let x: Tensor<4> = init::normal([2, 2, 3, 4], 1.0, 1, &Device::flex());
        let narrowed = rope(0..10).narrow(4, 2).rotate(x.clone()).into_data();
        assert_eq!(narrowed, rope(4..6).rotate(x).into_data());
    }
}
