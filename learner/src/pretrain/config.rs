//! The table `[pretrain]`: stage A.

use crate::config::{InvalidConfig, Problems, check_optimizer, for_run_of};
use models::optimizer::{AdamWConfig, Schedule};
use serde::{Deserialize, Serialize};

/// Settings of pre-training. Defaults are those measured on the simulated shop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Samples to train on, each seen once. Default 80000. A policy that is less sure of the grammar loses it in stage C: on one
    /// development seed 40000 in batches of 16 led to a gain of 20 % where these led to 30 %.
    pub samples: u64,
    /// Samples per optimizer step. Default 32; short runs gain more from smaller ones.
    pub batch: usize,
    /// Parts of a batch whose gradients are computed side by side. Default 2.
    pub micro_batches: usize,
    /// Size of the byte-level vocabulary that is trained first, special tokens included. Default 1024: in the simulated shop
    /// every word is then one token.
    pub vocab_size: usize,
    /// Largest norm of the whole gradient. Default 1.
    pub clip_norm: f64,
    /// The optimizer. Default AdamW, learning rate 3e-3 after 40 steps of warm-up (at most half of all steps; the log says
    /// when that cuts it), falling along a cosine, betas 0.9 and 0.98, no decay. `total_steps` must be 0: it follows from
    /// `samples` and `batch`.
    pub optimizer: AdamWConfig,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            samples: 80_000,
            batch: 32,
            micro_batches: 2,
            vocab_size: 1024,
            clip_norm: 1.0,
            optimizer: AdamWConfig {
                learning_rate: 3e-3,
                beta_2: 0.98,
                warmup_steps: 40,
                schedule: Schedule::Cosine,
                ..AdamWConfig::default()
            },
        }
    }
}

impl PretrainConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut problems = Problems::default();
        problems.require(self.batch >= 1, "batch", self.batch, "at least 1");
        problems.require(
            self.samples >= self.batch as u64,
            "samples",
            self.samples,
            "at least batch",
        );
        problems.require(
            self.micro_batches >= 1,
            "micro_batches",
            self.micro_batches,
            "at least 1",
        );
        let vocabulary = (300..=1_000_000).contains(&self.vocab_size);
        problems.require(
            vocabulary,
            "vocab_size",
            self.vocab_size,
            "from 300 (256 bytes, special tokens) to 1000000",
        );
        problems.require(self.clip_norm > 0.0, "clip_norm", self.clip_norm, "more than 0");
        let given = self.optimizer.total_steps;
        let wanted = "0: it is samples divided by batch";
        problems.require(given == 0, "optimizer.total_steps", given, wanted);
        if self.batch >= 1 && given == 0 {
            check_optimizer(&self.optimizer(), &mut problems);
        }
        problems.into_result()
    }

    /// Optimizer steps of the whole training; samples that do not fill a batch are left out.
    pub fn steps(&self) -> u64 {
        self.samples / self.batch.max(1) as u64
    }

    /// The optimizer's settings with the length of the schedule filled in.
    pub(crate) fn optimizer(&self) -> AdamWConfig {
        for_run_of(self.steps(), &self.optimizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_mistakes_are_reported_at_once() {
        assert_eq!(PretrainConfig::default().validate(), Ok(()));
        let mut config = PretrainConfig {
            samples: 8,
            vocab_size: 20,
            ..PretrainConfig::default()
        };
        config.optimizer.beta_2 = 1.0;
        let problems = config.validate().unwrap_err().problems;
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
