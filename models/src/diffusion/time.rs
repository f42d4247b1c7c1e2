//! How a network is told how noisy its input is.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData, activation};

use super::fresh::Fresh;
use crate::linear::Linear;

/// The sinusoids of a timestep ("Attention is all you need", [arXiv 1706.03762](https://arxiv.org/abs/1706.03762), section 3.5,
/// with half of the width for the sines and half for the cosines).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sinusoids {
    /// Number of sinusoids.
    pub width: usize,
    /// Whether the cosines come first.
    pub cosines_first: bool,
    /// Taken from the number of frequencies before they are spread: 0 or 1.
    pub freq_shift: f64,
}

impl Sinusoids {
    /// # Shapes
    /// `[1, width]`
    pub fn of(&self, timestep: f64, device: &Device) -> Tensor<2> {
        const LONGEST_PERIOD: f64 = 10_000.0;
        let half = self.width / 2;
        let angle = |i: usize| {
            let exponent = -LONGEST_PERIOD.ln() * i as f64 / (half as f64 - self.freq_shift);
            timestep * exponent.exp()
        };
        let sines = (0..half).map(|i| angle(i).sin());
        let cosines = (0..half).map(|i| angle(i).cos());
        let mut values: Vec<f32> = match self.cosines_first {
            true => cosines.chain(sines).map(|value| value as f32).collect(),
            false => sines.chain(cosines).map(|value| value as f32).collect(),
        };
        values.resize(self.width, 0.0);
        Tensor::from_data(TensorData::new(values, [1, self.width]), device)
    }
}

/// `linear_2(silu(linear_1(sinusoids)))`.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// To the embedding's width.
    pub linear_1: Linear,
    /// Within it.
    pub linear_2: Linear,
}

impl TimestepEmbedding {
    pub(super) fn fresh(fresh: Fresh<'_>, input: usize, width: usize) -> Self {
        Self {
            linear_1: fresh.linear("linear_1", input, width),
            linear_2: fresh.linear("linear_2", width, width),
        }
    }

    /// # Shapes
    /// `[1, input]` -> `[1, width]`
    pub fn forward(&self, sinusoids: Tensor<2>, dtype: DType) -> Tensor<2> {
        let x = self.linear_1.forward(sinusoids.cast(dtype));
        self.linear_2.forward(activation::silu(x))
    }
}
