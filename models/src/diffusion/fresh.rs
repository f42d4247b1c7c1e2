//! First values of a network's layers: each layer draws from the stream of its own path.

use burn::tensor::Device;

use super::layers::{Conv2d, GroupNorm};
use crate::init::{constant_param, normal_param, stream_seed};
use crate::linear::{Linear, LinearConfig};
use crate::norm::LayerNorm;

/// Where in a network layers are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh<'a> {
    pub(super) device: &'a Device,
    pub(super) seed: u64,
}

impl Fresh<'_> {
    /// The part of this name.
    pub(super) fn at(self, name: &str) -> Self {
        Self {
            seed: stream_seed(self.seed, name),
            ..self
        }
    }

    /// The part of this name and number.
    pub(super) fn nth(self, name: &str, index: usize) -> Self {
        self.at(&format!("{name}.{index}"))
    }

    /// A convolution with a square kernel of odd side `kernel`, weights from N(0, 1 / fan-in), that keeps the size.
    pub(super) fn conv(self, name: &str, input: usize, output: usize, kernel: usize) -> Conv2d {
        let fan_in = (input * kernel * kernel) as f64;
        Conv2d {
            weight: normal_param(
                [output, input, kernel, kernel],
                fan_in.powf(-0.5),
                self.at(name).seed,
                self.device,
            ),
            bias: constant_param([output], 0.0, self.device),
            stride: 1,
            padding: kernel / 2,
        }
    }

    /// A convolution that begins as zero, as ControlNet's connections do.
    pub(super) fn zero_conv(self, input: usize, output: usize, kernel: usize) -> Conv2d {
        Conv2d {
            weight: constant_param([output, input, kernel, kernel], 0.0, self.device),
            bias: constant_param([output], 0.0, self.device),
            stride: 1,
            padding: kernel / 2,
        }
    }

    /// A linear layer with a bias, weights from N(0, 1 / fan-in).
    pub(super) fn linear(self, name: &str, input: usize, output: usize) -> Linear {
        let std = (input as f64).powf(-0.5);
        LinearConfig::new(input, output)
            .with_bias()
            .init(std, self.at(name).seed, self.device)
    }

    /// The same without a bias.
    pub(super) fn linear_without_bias(self, name: &str, input: usize, output: usize) -> Linear {
        let std = (input as f64).powf(-0.5);
        LinearConfig::new(input, output).init(std, self.at(name).seed, self.device)
    }

    /// Scale one, shift zero.
    pub(super) fn group_norm(self, groups: usize, channels: usize, epsilon: f64) -> GroupNorm {
        GroupNorm {
            weight: constant_param([channels], 1.0, self.device),
            bias: constant_param([channels], 0.0, self.device),
            groups,
            epsilon,
        }
    }

    /// Scale one, shift zero, PyTorch's epsilon.
    pub(super) fn layer_norm(self, width: usize) -> LayerNorm {
        LayerNorm::init(width, 1e-5, self.device)
    }
}
