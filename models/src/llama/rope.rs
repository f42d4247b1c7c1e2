//! Rotary position embedding in the rotate-half form of Hugging Face's Llama checkpoints.
//!
//! Positions are indices into the padded row. Rotation is relative: the score of a query and a key depends on the
//! difference of their positions only, so padding on the left shifts both and changes nothing, and one table serves
//! every row of a batch.

use std::f64::consts::TAU;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

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
    /// Tables for `positions`, computed on the host in f64. `inverse_frequencies` has the angle per position of every
    /// pair of channels: half as many as a head is wide.
    ///
    /// # Shapes
    /// Cosines and sines `[1, positions, 1, width]`
    pub fn new(positions: Range<usize>, inverse_frequencies: &[f64], dtype: DType, device: &Device) -> Self {
        let (length, width) = (positions.len(), 2 * inverse_frequencies.len());
        let angle = |position: usize, channel: usize| {
            position as f64 * inverse_frequencies[channel % inverse_frequencies.len()]
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

/// How rotary angles are stretched beyond the length that a model was first trained for, under the names of a Hugging
/// Face configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Every angle is divided by `factor` ([arXiv 2306.15595](https://arxiv.org/abs/2306.15595)).
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Slow angles are divided by `factor`, fast ones kept, those between blended (Llama 3.1,
    /// [arXiv 2407.21783](https://arxiv.org/abs/2407.21783), and transformers' `rope_type = "llama3"`).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Turns within the original length below which an angle is slow.
        low_freq_factor: f64,
        /// Turns within the original length above which an angle is fast.
        high_freq_factor: f64,
        /// The original length.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// Whether every number is in its range.
    pub(crate) fn is_sound(&self) -> bool {
        let stretches = |factor: &f64| *factor >= 1.0 && factor.is_finite();
        match self {
            Self::Linear { factor } => stretches(factor),
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => stretches(factor) && *low > 0.0 && *high > *low && high.is_finite() && *length > 0,
        }
    }
}

/// Angle per position of each pair of channels of a head of `width` channels: `theta^(-2 i / width)`, stretched.
pub(super) fn inverse_frequencies(theta: f64, width: usize, scaling: Option<&RopeScaling>) -> Vec<f64> {
    let plain = |pair: usize| theta.powf(-2.0 * pair as f64 / width as f64);
    let stretched = |angle: f64| match scaling {
        None => angle,
        Some(RopeScaling::Linear { factor }) => angle / factor,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: length,
        }) => {
            let turns = *length as f64 * angle / TAU;
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 - kept) * angle / factor + kept * angle
        }
    };
    (0..width / 2).map(plain).map(stretched).collect()
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
        Rope::new(
            positions,
            &inverse_frequencies(10_000.0, 4, None),
            DType::F32,
            &Device::flex(),
        )
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
