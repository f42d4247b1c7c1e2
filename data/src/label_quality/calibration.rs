//! Calibration of predicted click-through rates.

use crate::ClickCounts;

/// A predicted rate beside what happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The predicted click-through rate.
    pub rate: f64,
    /// What was observed.
    pub observed: ClickCounts,
}

/// The expected calibration error: predictions are sorted into `bins` bins of nearly equal impressions; the error is the
/// impression-weighted mean over bins of |mean prediction - observed rate| (Naeini et al. 2015, with equal-mass bins). In
/// units of the rate. `None` without impressions, without bins or with a prediction that is no number.
pub fn expected_calibration_error(predictions: &[Prediction], bins: usize) -> Option<f64> {
    let shown: u64 = predictions.iter().map(|p| p.observed.impressions).sum();
    if shown == 0 || bins == 0 || predictions.iter().any(|p| p.rate.is_nan()) {
        return None;
    }
    let mut sorted = predictions.to_vec();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let mut sums = vec![(0.0, 0.0); bins];
    let mut before = 0.0;
    for prediction in &sorted {
        let impressions = prediction.observed.impressions as f64;
        let middle = (before + impressions / 2.0) / shown as f64;
        let (predicted, clicked) = &mut sums[((middle * bins as f64) as usize).min(bins - 1)];
        *predicted += prediction.rate * impressions;
        *clicked += prediction.observed.clicks as f64;
        before += impressions;
    }
    Some(
        sums.iter()
            .map(|(predicted, clicked)| (predicted - clicked).abs())
            .sum::<f64>()
            / shown as f64,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(rate: f64, impressions: u64, clicks: u64) -> Prediction {
        Prediction {
            rate,
            observed: ClickCounts { impressions, clicks },
        }
    }

    #[test]
    fn exact_predictions_have_no_error() {
        let exact = [
            prediction(0.01, 1_000, 10),
            prediction(0.02, 1_000, 20),
            prediction(0.05, 100, 5),
        ];
        assert!(expected_calibration_error(&exact, 3).unwrap() < 1e-12);
    }

    #[test]
    fn a_constant_excess_is_the_error() {
        let high = [prediction(0.03, 1_000, 10), prediction(0.04, 3_000, 60)];
        assert!((expected_calibration_error(&high, 2).unwrap() - 0.02).abs() < 1e-12);
    }

    #[test]
    fn errors_of_both_signs_do_not_cancel_across_bins() {
        let mixed = [prediction(0.01, 1_000, 20), prediction(0.03, 1_000, 20)];
        assert!((expected_calibration_error(&mixed, 2).unwrap() - 0.01).abs() < 1e-12);
        assert!(expected_calibration_error(&mixed, 1).unwrap() < 1e-12);
    }

    #[test]
    fn nothing_shown_has_no_error_to_report() {
        assert_eq!(expected_calibration_error(&[], 10), None);
        assert_eq!(expected_calibration_error(&[prediction(0.1, 0, 0)], 10), None);
        assert_eq!(
            expected_calibration_error(&[prediction(f64::NAN, 10, 1)], 10),
            None
        );
    }
}
