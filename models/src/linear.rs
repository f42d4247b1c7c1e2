//! The affine layer that every network here is made of, with an optional low-rank branch beside it.
//!
//! It never folds the branch into the weight: see [`crate::lora`].

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module};

use crate::init;
use crate::lora::LoraBranch;

/// Shape of a [`Linear`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearConfig {
    /// Width of the input.
    pub input: usize,
    /// Width of the output.
    pub output: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// `y = x W + b`, plus `scale * (x A) B` while a LoRA branch is attached.
///
/// The weight lies `[input, output]`, as Burn multiplies it; checkpoint files hold the transpose.
#[derive(Module, Debug)]
pub struct Linear {
    /// `W`, `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// `b`, `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The low-rank branch, when an adapter is attached.
    pub lora: Option<LoraBranch>,
}

impl LinearConfig {
    /// A layer from `input` to `output` without a bias.
    pub fn new(input: usize, output: usize) -> Self {
        Self {
            input,
            output,
            bias: false,
        }
    }

    /// The same with a bias.
    pub fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Weights from N(0, `std`²), bias zero.
    pub fn init(&self, std: f64, seed: u64, device: &Device) -> Linear {
        Linear {
            weight: init::normal_param([self.input, self.output], std, seed, device),
            bias: self
                .bias
                .then(|| init::constant_param([self.output], 0.0, device)),
            lora: None,
        }
    }
}

impl Linear {
    /// Applies the layer to the last dimension.
    ///
    /// # Shapes
    /// `[.., input]` -> `[.., output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut shape = x.dims();
        let input = shape[D - 1];
        let rows = shape[..D - 1].iter().product();
        let x: Tensor<2> = x.reshape([rows, input]);
        let bias = self.bias.as_ref().map(Param::val);
        let y = match &self.lora {
            None => module::linear(x, self.weight.val(), bias),
            Some(lora) => module::linear(x.clone(), self.weight.val(), bias) + lora.forward(x),
        };
        shape[D - 1] = y.dims()[1];
        y.reshape(shape)
    }

    /// Widths `(input, output)`, known without touching the values.
    pub fn widths(&self) -> (usize, usize) {
        let shape = self.weight.lazy_shape();
        (shape[0], shape[1])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    #[test]
    fn a_batch_is_multiplied_row_by_row_and_the_bias_added() {
        let device = Device::flex();
        let mut layer = LinearConfig::new(2, 2).with_bias().init(1.0, 7, &device);
        layer.weight = Param::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
        layer.bias = Some(Param::from_data([10.0, 20.0], &device));
        let x = Tensor::<3>::from_data([[[1.0, 0.0]], [[1.0, 1.0]]], &device);
        let expected = TensorData::from([[[11.0, 22.0]], [[14.0, 26.0]]]);
        layer
            .forward(x)
            .into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }

    #[test]
    fn widths_are_known_before_anything_is_allocated() {
        let layer = LinearConfig::new(1 << 20, 1 << 20).init(1.0, 7, &Device::flex());
        assert_eq!(layer.widths(), (1 << 20, 1 << 20));
    }
}
