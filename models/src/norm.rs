//! The two normalisations of the networks: RMSNorm of the decoder, LayerNorm of the encoders.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, module};

use crate::init;

/// Root-mean-square normalisation ([arXiv 1910.07467](https://arxiv.org/abs/1910.07467)):
/// `y = x / sqrt(mean(x²) + epsilon) * weight`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl RmsNorm {
    /// Scale one.
    pub fn init(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: init::constant_param([width], 1.0, device),
            epsilon,
        }
    }

    /// Normalises the last dimension; the mean square is taken in f32 whatever the input's type.
    ///
    /// # Shapes
    /// `[.., width]` -> `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let mean_square = x.clone().cast(DType::F32).square().mean_dim(D - 1);
        // The reciprocal of a narrow column: the gradient of a division by it would cost two more passes over `x`.
        let inverse = (mean_square + self.epsilon).sqrt().recip().cast(dtype);
        x * inverse * self.weight.val().unsqueeze()
    }
}

/// Layer normalisation ([arXiv 1607.06450](https://arxiv.org/abs/1607.06450)):
/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[width]`.
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Scale one, shift zero.
    pub fn init(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: init::constant_param([width], 1.0, device),
            bias: init::constant_param([width], 0.0, device),
            epsilon,
        }
    }

    /// Normalises the last dimension.
    ///
    /// # Shapes
    /// `[.., width]` -> `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    const ROWS: [[f32; 3]; 2] = [[3.0, -4.0, 0.5], [10.0, 30.0, -20.0]];
    const WEIGHT: [f32; 3] = [2.0, -0.5, 3.0];
    const BIAS: [f32; 3] = [0.25, 1.0, -7.0];
    /// As large as the numbers it is added to.
    const EPSILON: f64 = 4.0;

    fn param(values: [f32; 3]) -> Param<Tensor<1>> {
        Param::from_data(TensorData::from(values), &Device::flex())
    }

    /// `f(i, (x - centre) / scale)` of every entry `i`, centre and scale those of its row.
    fn rows(statistics: fn(&[f64; 3]) -> (f64, f64), f: impl Fn(usize, f64) -> f64) -> TensorData {
        let expected: [[f32; 3]; 2] = ROWS.map(|row| {
            let row = row.map(f64::from);
            let (centre, scale) = statistics(&row);
            std::array::from_fn(|i| f(i, (row[i] - centre) / scale) as f32)
        });
        TensorData::from(expected)
    }

    fn assert_close(found: Tensor<2>, expected: &TensorData) {
        found
            .into_data()
            .assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn rms_norm_is_its_closed_form_with_epsilon_and_weight() {
        let norm = RmsNorm {
            weight: param(WEIGHT),
            epsilon: EPSILON,
        };
        let found = norm.forward(Tensor::<2>::from_data(ROWS, &Device::flex()));
        let statistics = |row: &[f64; 3]| {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / 3.0;
            (0.0, (mean_square + EPSILON).sqrt())
        };
        assert_close(found, &rows(statistics, |i, x| x * f64::from(WEIGHT[i])));
    }

    #[test]
    fn layer_norm_is_its_closed_form_with_epsilon_weight_and_bias() {
        let norm = LayerNorm {
            weight: param(WEIGHT),
            bias: param(BIAS),
            epsilon: EPSILON,
        };
        let found = norm.forward(Tensor::<2>::from_data(ROWS, &Device::flex()));
        let statistics = |row: &[f64; 3]| {
            let mean = row.iter().sum::<f64>() / 3.0;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 3.0;
            (mean, (variance + EPSILON).sqrt())
        };
        let scaled = |i: usize, x: f64| x * f64::from(WEIGHT[i]) + f64::from(BIAS[i]);
        assert_close(found, &rows(statistics, scaled));
    }
}
