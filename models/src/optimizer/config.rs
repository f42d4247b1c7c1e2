//! The optimizer's settings and the course of its learning rate.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls along half a cosine to 0 at `total_steps`.
    Cosine,
}

/// Settings of [`AdamW`](super::AdamW). Defaults are torch's (`torch.optim.AdamW`) but for the weight decay, which is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Peak learning rate. Default 1e-3 (torch).
    pub learning_rate: f64,
    /// Decay rate of the first moment. Default 0.9 (torch).
    pub beta_1: f64,
    /// Decay rate of the second moment. Default 0.999 (torch).
    pub beta_2: f64,
    /// Added to the root of the second moment. Default 1e-8 (torch).
    pub epsilon: f64,
    /// Share of a weight that is taken off per step, times the learning rate. Matrices and higher ranks only:
    /// biases and norm scales never decay (as in transformers' `Trainer`). Default 0 (torch
    /// has 0.01).
    pub weight_decay: f64,
    /// What follows the warm-up. Default constant, as an optimizer without a scheduler.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly; the first step already has a share of it.
    /// Default 0.
    pub warmup_steps: u64,
    /// Steps of the whole run; only [`Schedule::Cosine`] uses it. Default 0: whoever trains fills it in.
    pub total_steps: u64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig {
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            total_steps: 0,
        }
    }
}

impl AdamWConfig {
    /// Learning rate of the step after `taken` steps.
    ///
    /// Warm-up: peak · (taken + 1) / (warmup + 1). Then the peak, or peak · (1 + cos(π·p)) / 2 with p the
    /// share of the remaining steps that is done.
    pub fn learning_rate_after(&self, taken: u64) -> f64 {
        if taken < self.warmup_steps {
            return self.learning_rate * (taken + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                let length = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
                let done = ((taken - self.warmup_steps) as f64 / length).min(1.0);
                self.learning_rate * (1.0 + (PI * done).cos()) / 2.0
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), ModelError> {
        let share = |x: f64| (0.0..1.0).contains(&x);
        let size = |x: f64| x.is_finite() && x >= 0.0;
        let in_time = self.schedule == Schedule::Constant || self.total_steps > self.warmup_steps;
        let checks = [
            (
                "learning_rate",
                self.learning_rate,
                size(self.learning_rate),
                "expected 0 or more",
            ),
            (
                "beta_1",
                self.beta_1,
                share(self.beta_1),
                "expected at least 0 and below 1",
            ),
            (
                "beta_2",
                self.beta_2,
                share(self.beta_2),
                "expected at least 0 and below 1",
            ),
            (
                "epsilon",
                self.epsilon,
                self.epsilon > 0.0 && size(self.epsilon),
                "expected more than 0",
            ),
            (
                "weight_decay",
                self.weight_decay,
                size(self.weight_decay),
                "expected 0 or more",
            ),
            (
                "total_steps",
                self.total_steps as f64,
                in_time,
                "a cosine needs more than warmup_steps",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((key, value, _, expected)) => Err(ModelError::OptimizerConfig { key, value, expected }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_warms_up_and_falls_to_zero() {
        let config = AdamWConfig {
            learning_rate: 1.0,
            schedule: Schedule::Cosine,
            warmup_steps: 3,
            total_steps: 13,
            ..Default::default()
        };
        let rates: Vec<f64> = (0..20).map(|taken| config.learning_rate_after(taken)).collect();
        assert_eq!(&rates[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!((rates[8] - 0.5).abs() < 1e-12);
        assert!(rates[3..14].is_sorted_by(|a, b| a > b));
        assert!(rates[13..].iter().all(|rate| *rate == 0.0));
        let constant = AdamWConfig {
            schedule: Schedule::Constant,
            ..config
        };
        assert_eq!(constant.learning_rate_after(1_000_000), 1.0);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |config: AdamWConfig| config.check().unwrap_err().to_string();
        let fine = AdamWConfig::default;
        assert!(
            refused(AdamWConfig {
                beta_1: 1.0,
                ..fine()
            })
            .starts_with("optimizer.beta_1 = 1")
        );
        assert!(
            refused(AdamWConfig {
                epsilon: 0.0,
                ..fine()
            })
            .contains("epsilon")
        );
        assert!(
            refused(AdamWConfig {
                learning_rate: f64::NAN,
                ..fine()
            })
            .contains("learning_rate")
        );
        let short = AdamWConfig {
            schedule: Schedule::Cosine,
            warmup_steps: 5,
            total_steps: 5,
            ..fine()
        };
        assert!(refused(short).contains("total_steps = 5"));
    }
}
