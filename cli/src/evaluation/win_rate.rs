//! How often one policy's picture scores above another's of the same product with the same seeds.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;

/// A win rate with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct WinRate {
    /// Share of samples in which the first scores higher; equal scores count half, and no image is less than any.
    pub(crate) win_rate: f64,
    /// Its 95 % interval, `[low, high]`: percentiles of a bootstrap over products (Efron 1979), whose samples belong together.
    pub(crate) win_rate_ci: [f64; 2],
}

/// Compares rewards of the same samples, `samples` of each product, product after product (at least one).
pub(crate) fn win_rate(first: &[Option<f64>], second: &[Option<f64>], samples: usize, seed: u64) -> WinRate {
    // Any finite reward is above that.
    let or_least = |reward: &Option<f64>| reward.unwrap_or(f64::NEG_INFINITY);
    let point =
        |(first, second): (&Option<f64>, &Option<f64>)| match or_least(first).total_cmp(&or_least(second)) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
    let points: Vec<f64> = first.iter().zip(second).map(point).collect();
    let products: Vec<f64> = points
        .chunks(samples.max(1))
        .map(|samples| samples.iter().sum::<f64>() / samples.len() as f64)
        .collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = || {
        let drawn: Vec<f64> = products
            .iter()
            .map(|_| products[rng.random_range(0..products.len())])
            .collect();
        mean(&drawn)
    };
    let mut rates: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    rates.sort_by(f64::total_cmp);
    WinRate {
        win_rate: mean(&products),
        win_rate_ci: [0.025, 0.975].map(|share| rates[((RESAMPLES - 1) as f64 * share).round() as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wins_count_one_and_ties_half() {
        let found = win_rate(
            &[1.0, 2.0, 3.0, 0.0].map(Some),
            &[0.0, 2.0, 4.0, 1.0].map(Some),
            2,
            1,
        );
        assert_eq!(found.win_rate, 0.375);
        let [low, high] = found.win_rate_ci;
        assert!(low <= 0.375 && 0.375 <= high);
        assert_eq!(
            win_rate(&[Some(1.0); 6], &[Some(0.0); 6], 3, 1).win_rate_ci,
            [1.0, 1.0]
        );
        assert_eq!(win_rate(&[Some(-9.0), None], &[None, None], 1, 1).win_rate, 0.75);
    }

    #[test]
    fn the_interval_is_that_of_products_not_of_samples() {
        // Every product is either won or lost as a whole: many samples of it are no more evidence.
        let won = |product| [Some(f64::from(product % 2)); 50];
        let first: Vec<Option<f64>> = (0..20).flat_map(won).collect();
        let [low, high] = win_rate(&first, &[Some(0.5); 1000], 50, 3).win_rate_ci;
        assert!(low < 0.35 && high > 0.65, "{low} {high}");
    }
}
