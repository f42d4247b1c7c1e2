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

    #[test]
    fn rms_norm_leaves_a_unit_root_mean_square() {
        let device = Device::flex();
        let norm = RmsNorm::init(2, 0.0, &device);
        let y = norm.forward(Tensor::<2>::from_data([[3.0, 4.0]], &device));
        let rms = 12.5f32.sqrt();
        let expected = TensorData::from([[3.0 / rms, 4.0 / rms]]);
        y.into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }

    #[test]
    fn layer_norm_centres_and_scales_each_row() {
        let device = Device::flex();
        let norm = LayerNorm::init(2, 0.0, &device);
        let y = norm.forward(Tensor::<2>::from_data([[1.0, 3.0], [10.0, 30.0]], &device));
        let expected = TensorData::from([[-1.0, 1.0], [-1.0, 1.0]]);
        y.into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }
}
