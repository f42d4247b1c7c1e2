//! How far click labels can be trusted: intervals, posteriors of click-through rates, weights of creative pairs, and the
//! best pair accuracy that any reward model could reach on such labels.
//!
//! Position, placement and fatigue are not modelled: the counts are taken as draws from one rate per creative.

mod calibration;
mod ceiling;
mod posterior;
#[cfg(test)]
mod test_log;

pub use calibration::{Prediction, expected_calibration_error};
pub use ceiling::{CreativePair, creative_pairs, estimated_label_ceiling, known_label_ceiling};
pub use posterior::{BetaPrior, CtrPosterior, product_priors};

use statrs::function::erf::erfc;

/// The standard normal quantile of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval of a proportion (Wilson 1927), `[low, high]`; `[0, 1]` without trials.
pub fn wilson_interval(successes: u64, trials: u64) -> [f64; 2] {
    if trials == 0 {
        return [0.0, 1.0];
    }
    let (n, z2) = (trials as f64, Z_95 * Z_95);
    let p = successes.min(trials) as f64 / n;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// The standard normal distribution function.
fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wilson_interval_holds_the_proportion(trials in 1u64..100_000, share in 0.0f64..=1.0) {
            let successes = (trials as f64 * share) as u64;
            let [low, high] = wilson_interval(successes, trials);
            let p = successes as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= p + 1e-12 && p <= high + 1e-12 && high <= 1.0);
        }
    }

    #[test]
    fn wilson_interval_agrees_with_a_published_example() {
        // 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662.
        let [low, high] = wilson_interval(81, 263);
        assert!(
            (low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5,
            "{low} {high}"
        );
    }

    #[test]
    fn normal_cdf_has_its_known_values() {
        assert!((normal_cdf(0.0) - 0.5).abs() < 1e-12);
        assert!((normal_cdf(Z_95) - 0.975).abs() < 1e-9);
    }
}
