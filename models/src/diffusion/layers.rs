//! The layers over pictures that all networks here are made of: convolution, group normalisation, halving and doubling.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Int, Tensor, TensorData, activation, module};

use super::fresh::Fresh;

/// A convolution with a square kernel and a bias.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[output, input, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[output]`.
    pub bias: Param<Tensor<1>>,
    /// Step in pixels.
    pub stride: usize,
    /// Zeros added at each edge.
    pub padding: usize,
}

impl Conv2d {
    /// # Shapes
    /// `[rows, input, height, width]` -> `[rows, output, height / stride, width / stride]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let options = ConvOptions::new(stride, padding, [1, 1], 1);
        module::conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }

    /// The same with another step and padding.
    pub(super) fn with(self, stride: usize, padding: usize) -> Self {
        Self {
            stride,
            padding,
            ..self
        }
    }
}

/// Group normalisation ([arXiv 1803.08494](https://arxiv.org/abs/1803.08494)): every group of channels of a picture to mean 0
/// and variance 1, then a scale and a shift per channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl GroupNorm {
    /// Statistics are taken in f32 whatever the input's type.
    ///
    /// # Shapes
    /// `[rows, channels, height, width]` -> the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let ([rows, channels, height, width], dtype) = (x.dims(), x.dtype());
        let members = channels / self.groups * height * width;
        let x = x.cast(DType::F32).reshape([rows * self.groups, members]);
        let centred = x.clone() - x.mean_dim(1);
        let inverse = (centred.clone().square().mean_dim(1) + self.epsilon)
            .sqrt()
            .recip();
        let normed = (centred * inverse)
            .reshape([rows, channels, height, width])
            .cast(dtype);
        let per_channel = |param: &Param<Tensor<1>>| param.val().reshape([1, channels, 1, 1]);
        normed * per_channel(&self.weight) + per_channel(&self.bias)
    }

    /// Normalisation, then SiLU: what stands before nearly every convolution.
    pub(super) fn silu(&self, x: Tensor<4>) -> Tensor<4> {
        activation::silu(self.forward(x))
    }
}

/// Halves height and width.
#[derive(Module, Debug)]
pub struct Downsample {
    /// A 3x3 convolution of stride 2.
    pub conv: Conv2d,
    /// Whether a row and a column of zeros are added at the lower right instead of zeros all around, as in the autoencoder.
    pub one_sided: bool,
}

impl Downsample {
    pub(super) fn fresh(fresh: Fresh<'_>, channels: usize, one_sided: bool) -> Self {
        Self {
            conv: fresh
                .conv("conv", channels, channels, 3)
                .with(2, if one_sided { 0 } else { 1 }),
            one_sided,
        }
    }

    /// # Shapes
    /// `[rows, channels, height, width]` -> `[rows, channels, ceil(height / 2), ceil(width / 2)]`, floor when one-sided
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match self.one_sided {
            true => x.pad((0, 1, 0, 1), 0.0),
            false => x,
        };
        self.conv.forward(x)
    }
}

/// Repeats every pixel, then convolves.
#[derive(Module, Debug)]
pub struct Upsample {
    /// A 3x3 convolution.
    pub conv: Conv2d,
}

impl Upsample {
    pub(super) fn fresh(fresh: Fresh<'_>, channels: usize) -> Self {
        Self {
            conv: fresh.conv("conv", channels, channels, 3),
        }
    }

    /// To twice the size.
    ///
    /// # Shapes
    /// `[rows, channels, height, width]` -> `[rows, channels, 2 height, 2 width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        self.forward_to(x, [2 * height, 2 * width])
    }

    /// To a given size: that of the skip connection it is joined with, where halving had rounded up.
    ///
    /// # Shapes
    /// `[rows, channels, ..]` -> `[rows, channels, height, width]`
    pub fn forward_to(&self, x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
        self.conv.forward(nearest(x, size))
    }
}

/// The pixel whose place is `floor(i * input / output)`, as PyTorch's `nearest`.
fn nearest(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [rows, channels, from_height, from_width] = x.dims();
    if [height, width] == [2 * from_height, 2 * from_width] {
        return x
            .reshape([rows * channels, from_height, 1, from_width, 1])
            .expand([rows * channels, from_height, 2, from_width, 2])
            .reshape([rows, channels, height, width]);
    }
    let device = x.device();
    let places = |from: usize, to: usize| {
        let places: Vec<i32> = (0..to).map(|i| (i * from / to) as i32).collect();
        Tensor::<1, Int>::from_data(TensorData::new(places, [to]), &device)
    };
    x.select(2, places(from_height, height))
        .select(3, places(from_width, width))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::init;

    fn fresh(device: &Device) -> Fresh<'_> {
        Fresh { device, seed: 3 }
    }

    #[test]
    fn groups_are_normalised_each_for_itself() {
        let device = Device::flex();
        let norm = fresh(&device).group_norm(2, 4, 1e-6);
        let x = init::normal([2, 4, 3, 5], 2.0, 7, &device) + 3.0;
        let groups: Tensor<3> = norm.forward(x).reshape([2, 2, 2 * 3 * 5]);
        let mean: Vec<f32> = groups.clone().mean_dim(2).into_data().try_to_vec().unwrap();
        let square: Vec<f32> = groups.square().mean_dim(2).into_data().try_to_vec().unwrap();
        assert!(mean.iter().all(|mean| mean.abs() < 1e-5), "{mean:?}");
        assert!(
            square.iter().all(|square| (square - 1.0).abs() < 1e-3),
            "{square:?}"
        );
    }

    #[test]
    fn doubling_repeats_and_any_other_size_takes_the_nearest() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
        let doubled = nearest(x.clone(), [4, 4]).into_data();
        let expected = [
            [1.0, 1.0, 2.0, 2.0],
            [1.0, 1.0, 2.0, 2.0],
            [3.0, 3.0, 4.0, 4.0],
            [3.0, 3.0, 4.0, 4.0],
        ];
        doubled.assert_approx_eq::<f32>(&TensorData::from([[expected]]), Tolerance::absolute(0.0));
        let odd = nearest(x, [3, 3]).into_data();
        let expected = TensorData::from([[[[1.0f32, 1.0, 2.0], [1.0, 1.0, 2.0], [3.0, 3.0, 4.0]]]]);
        odd.assert_approx_eq::<f32>(&expected, Tolerance::absolute(0.0));
    }

    #[test]
    fn halving_rounds_up_with_zeros_around_and_down_when_one_sided() {
        let device = Device::flex();
        let x = init::normal([1, 2, 7, 8], 1.0, 5, &device);
        let around = Downsample::fresh(fresh(&device), 2, false).forward(x.clone());
        assert_eq!(around.dims(), [1, 2, 4, 4]);
        let one_sided = Downsample::fresh(fresh(&device), 2, true).forward(x);
        assert_eq!(one_sided.dims(), [1, 2, 3, 4]);
    }
}
