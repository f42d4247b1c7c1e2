//! First values of parameters, drawn on the host from an explicit seed.
//!
//! Burn's own random numbers come from one process-wide stream that every thread shares, so they are not
//! used: the same seed must give the same network whatever else runs. Each parameter draws from its own
//! stream, keyed by the network's seed and the parameter's name ([`stream_seed`]), so that adding a layer
//! leaves the others as they were.
//!
//! The `*_param` functions are lazy: nothing is drawn or allocated before the first use, so a network whose
//! weights are about to be loaded costs nothing to build, and its parameters can be counted without memory.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Seed of the stream that belongs to `name` under `seed`: the first 8 bytes of BLAKE3(seed as little-endian
/// ‖ name).
pub fn stream_seed(seed: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// A tensor of `shape` in f32 with independent draws from N(0, `std`²).
pub fn normal<const D: usize>(shape: [usize; D], std: f64, seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    from_draws(shape, device, || std * standard_normal(&mut rng))
}

/// A tensor of `shape` in f32 with independent draws from U[-`bound`, `bound`).
pub fn uniform<const D: usize>(shape: [usize; D], bound: f64, seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    from_draws(shape, device, || bound * (2.0 * rng.random::<f64>() - 1.0))
}

/// A trainable parameter that becomes [`normal`] at its first use.
pub fn normal_param<const D: usize>(
    shape: [usize; D],
    std: f64,
    seed: u64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| normal(shape, std, seed, device))
}

/// A trainable parameter that becomes [`uniform`] at its first use.
pub fn uniform_param<const D: usize>(
    shape: [usize; D],
    bound: f64,
    seed: u64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| uniform(shape, bound, seed, device))
}

/// A trainable parameter that becomes a tensor full of `value` at its first use (biases 0, norm scales 1).
pub fn constant_param<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| from_draws(shape, device, || value))
}

fn lazy<const D: usize>(
    shape: [usize; D],
    device: &Device,
    value: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let first_use = move |device: &Device, requires_grad: bool| value(device).set_require_grad(requires_grad);
    Param::uninitialized(
        ParamId::new(),
        first_use,
        device.clone(),
        true,
        Shape::from(shape),
    )
}

fn from_draws<const D: usize>(
    shape: [usize; D],
    device: &Device,
    mut draw: impl FnMut() -> f64,
) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Box-Muller (1958), the cosine half: two uniform draws make one normal one. The first is taken from (0, 1].
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn same_seed_same_values_and_another_seed_other_values() {
        let cpu = Device::flex();
        let first = values(normal([4, 5], 0.02, 7, &cpu));
        assert_eq!(first, values(normal([4, 5], 0.02, 7, &cpu)));
        assert_ne!(first, values(normal([4, 5], 0.02, 8, &cpu)));
    }

    #[test]
    fn normal_draws_have_the_asked_mean_and_deviation() {
        let draws = values(normal([20_000], 0.5, 1, &Device::flex()));
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 20_000.0;
        // Five standard errors: 0.5/sqrt(n) for the mean, 0.25*sqrt(2/n) for the variance.
        assert!(mean.abs() < 0.018, "{mean}");
        assert!((variance - 0.25).abs() < 0.0125, "{variance}");
    }

    #[test]
    fn uniform_draws_stay_inside_the_bound_and_reach_towards_it() {
        let draws = values(uniform([5_000], 0.1, 1, &Device::flex()));
        assert!(draws.iter().all(|x| x.abs() <= 0.1));
        assert!(draws.iter().any(|x| *x > 0.099) && draws.iter().any(|x| *x < -0.099));
    }

    #[test]
    fn every_name_has_its_own_stream() {
        assert_ne!(stream_seed(1, "a"), stream_seed(1, "b"));
        assert_ne!(stream_seed(1, "a"), stream_seed(2, "a"));
        assert_eq!(stream_seed(1, "a"), stream_seed(1, "a"));
    }

    #[test]
    fn a_parameter_is_drawn_only_when_used_and_requires_gradients_only_under_autodiff() {
        let device = Device::flex().autodiff();
        let param = normal_param([2, 3], 1.0, 5, &device);
        assert_eq!(param.lazy_shape().as_slice(), [2, 3]);
        assert!(!param.is_initialized());
        assert!(param.val().is_require_grad());
        assert_eq!(
            values(param.val().inner()),
            values(normal([2, 3], 1.0, 5, &Device::flex()))
        );
        assert!(!constant_param([2], 1.0, &Device::flex()).val().is_require_grad());
    }
}
