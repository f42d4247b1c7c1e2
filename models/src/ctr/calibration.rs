//! Raw numbers of a reward network to log odds and probabilities.

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::limits;

/// What the network's raw margins mean, fitted on products that it was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Raw scores times this are log-odds of a click, up to a constant per product. Above 0.
    pub reward_scale: f64,
    /// σ(raw margin / temperature) is the probability that the left creative has the higher observed click-through
    /// rate. Above 0.
    pub temperature: f64,
    /// σ(intercept + reward) is the click-through rate of a creative of an average product.
    pub ctr_intercept: f64,
}

impl Default for Calibration {
    /// No calibration: raw scores are log-odds of a click and of winning, and the intercept is 0.
    fn default() -> Self {
        Self {
            reward_scale: 1.0,
            temperature: 1.0,
            ctr_intercept: 0.0,
        }
    }
}

impl Calibration {
    /// Refuses what would make a probability something else than one.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        limits::check([
            limits::positive("calibration.reward_scale", self.reward_scale),
            limits::positive("calibration.temperature", self.temperature),
            (
                self.ctr_intercept.is_finite(),
                "calibration.ctr_intercept",
                self.ctr_intercept.to_string(),
                "a finite number",
            ),
        ])
    }

    /// Probability that the left of two creatives has the higher observed click-through rate.
    pub fn probability(&self, raw_margin: f64) -> f64 {
        logistic(raw_margin / self.temperature)
    }

    /// Click-through rate of a creative with this calibrated reward, for an average product.
    pub fn ctr(&self, reward: f64) -> f64 {
        logistic(self.ctr_intercept + reward)
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
