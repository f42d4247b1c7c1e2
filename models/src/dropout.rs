//! Dropout whose masks come from an explicit seed.
//!
//! Burn's own dropout draws from one process-wide stream; with it a training run could not be repeated beside other
//! work.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Inverted dropout (Srivastava et al. 2014): an element becomes 0 with probability `rate`, the others are scaled up so
/// that the expectation stays.
///
/// One byte of the stream decides one element, so the rate is rounded to a multiple of 1/256 (0.1 becomes 26/256); the
/// scale is that of the rounded rate.
#[derive(Debug, Clone)]
pub struct Dropout {
    dropped_bytes: u16,
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Masks of the stream of `seed`. A rate of 0 drops nothing.
    ///
    /// # Panics
    /// When `rate` is not at least 0 and below 1.
    pub fn new(rate: f64, seed: u64) -> Self {
        assert!(
            (0.0..1.0).contains(&rate),
            "a dropout rate is at least 0 and below 1, not {rate}"
        );
        let dropped_bytes = (rate * 256.0).round().min(255.0) as u16;
        Self {
            dropped_bytes,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Drops elements of `x`; every call takes a fresh mask.
    pub fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        if self.dropped_bytes == 0 {
            return x;
        }
        let mask = self.mask(x.dims(), &x.device().without_autodiff());
        x * mask
    }

    fn mask<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut bytes = vec![0; shape.iter().product()];
        self.rng.fill_bytes(&mut bytes);
        let kept = 256.0 / f32::from(256 - self.dropped_bytes);
        let value = |byte: u8| {
            if u16::from(byte) < self.dropped_bytes {
                0.0
            } else {
                kept
            }
        };
        let values: Vec<f32> = bytes.into_iter().map(value).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(rate: f64, seed: u64) -> Vec<f32> {
        Dropout::new(rate, seed)
            .apply(Tensor::<1>::ones([8192], &Device::flex()))
            .into_data()
            .try_to_vec()
            .unwrap()
    }

    #[test]
    fn the_asked_share_is_dropped_and_the_mean_stays() {
        let values = drop(0.25, 1);
        let dropped = values.iter().filter(|value| **value == 0.0).count() as f64 / 8192.0;
        let mean = values.iter().sum::<f32>() / 8192.0;
        // Five standard errors.
        assert!((dropped - 0.25).abs() < 0.024, "{dropped}");
        assert!((mean - 1.0).abs() < 0.032, "{mean}");
    }

    #[test]
    fn masks_follow_the_seed_and_differ_between_calls() {
        assert_eq!(drop(0.5, 1), drop(0.5, 1));
        assert_ne!(drop(0.5, 1), drop(0.5, 2));
        let mut dropout = Dropout::new(0.5, 1);
        let ones = Tensor::<1>::ones([64], &Device::flex());
        assert_ne!(
            dropout.apply(ones.clone()).into_data(),
            dropout.apply(ones).into_data()
        );
    }

    #[test]
    fn rate_zero_changes_nothing() {
        assert!(drop(0.0, 1).iter().all(|value| *value == 1.0));
    }
}
