//! The optimizer's settings and the course of its learning rate.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls along half a cosine to 0 at `total_steps`.
    Cosine,
}

/// Settings of [`AdamW`](super::AdamW). By itself it has torch's defaults (`torch.optim.AdamW`) but for the weight decay, which is off; each
/// table of the configuration that holds one has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Peak learning rate. No default: the table that holds it has one (torch: 1e-3).
    pub learning_rate: f64,
    /// Decay rate of the first moment. Default 0.9 (torch).
    pub beta_1: f64,
    /// Decay rate of the second moment. No default: the table that holds it has one (torch: 0.999).
    pub beta_2: f64,
    /// Added to the root of the second moment. Default 1e-8 (torch).
    pub epsilon: f64,
    /// Share of a weight that is taken off per step, times the learning rate. Matrices and higher ranks only:
    /// biases and norm scales never decay (as in transformers' `Trainer`). Default 0 (torch
    /// has 0.01).
    pub weight_decay: f64,
    /// What follows the warm-up. No default: the table that holds it has one.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly; the first step already has a share of it.
    /// No default: the table that holds it has one.
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

    /// Refuses settings out of range. Burn takes them as f32, so they must make sense there: a `beta_2` that rounds to 1 or
    /// an `epsilon` that rounds to 0 would divide by zero.
    ///
    /// # Errors
    /// [`ModelError::OptimizerConfig`] with all mistakes at once.
    pub fn check(&self) -> Result<(), ModelError> {
        let share = |x: f64| x >= 0.0 && (x as f32) < 1.0;
        let size = |x: f64| x >= 0.0 && (x as f32).is_finite();
        let settings = [
            (
                size(self.learning_rate),
                "learning_rate",
                self.learning_rate,
                "a finite number, 0 or more",
            ),
            (share(self.beta_1), "beta_1", self.beta_1, SHARE),
            (share(self.beta_2), "beta_2", self.beta_2, SHARE),
            (
                (f64::from(f32::MIN_POSITIVE)..=1.0).contains(&self.epsilon),
                "epsilon",
                self.epsilon,
                "from 1.2e-38 (the smallest normal f32) to 1",
            ),
            (
                size(self.weight_decay),
                "weight_decay",
                self.weight_decay,
                "a finite number, 0 or more",
            ),
        ];
        let outside = settings.into_iter().filter(|(fine, ..)| !fine);
        let mut mistakes: Vec<String> = outside
            .map(|(_, key, value, expected)| format!("optimizer.{key} = {value}: expected {expected}"))
            .collect();
        if self.schedule == Schedule::Cosine && self.total_steps <= self.warmup_steps {
            mistakes.push(format!(
                "optimizer.total_steps = {}: expected more than the {} steps of warm-up, for a cosine falls after them",
                self.total_steps, self.warmup_steps
            ));
        }
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(ModelError::OptimizerConfig { mistakes })
        }
    }
}

const SHARE: &str = "at least 0 and, as f32, below 1";

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
    fn every_setting_out_of_range_is_told_by_name() {
        let refused = |config: AdamWConfig| match config.check() {
            Err(ModelError::OptimizerConfig { mistakes }) => mistakes,
            other => panic!("{other:?}"),
        };
        let all = refused(AdamWConfig {
            learning_rate: f64::NAN,
            beta_1: 1.0,
            beta_2: 0.999_999_999_999,
            epsilon: 1e-46,
            weight_decay: 1e300,
            schedule: Schedule::Cosine,
            warmup_steps: 5,
            total_steps: 5,
        });
        let keys = [
            "learning_rate",
            "beta_1",
            "beta_2",
            "epsilon",
            "weight_decay",
            "total_steps",
        ];
        assert_eq!(all.len(), keys.len(), "{all:?}");
        for (mistake, key) in all.iter().zip(keys) {
            assert!(mistake.starts_with(&format!("optimizer.{key} = ")), "{mistake}");
        }
        let no_epsilon = AdamWConfig {
            epsilon: 0.0,
            ..AdamWConfig::default()
        };
        assert_eq!(refused(no_epsilon).len(), 1);
        AdamWConfig::default().check().unwrap();
    }
}
