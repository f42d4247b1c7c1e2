//! The table `[pretrain]`: stage A.

use crate::config::{CLIP_NORMS, MAX_MICRO_BATCHES, check_lora, check_optimizer, for_run_of};
use common::{InvalidConfig, SettingsCheck};
use models::lora::LoraConfig;
use models::optimizer::{AdamWConfig, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of pre-training. Defaults are those measured on the simulated shop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Samples to train on, each seen once; `batch` to 1e9. Default 80000. A policy that is less sure of the grammar loses it in stage C: on one
    /// development seed 40000 in batches of 16 led to a gain of 20 % where these led to 30 %.
    pub samples: u64,
    /// Samples per optimizer step, 1 to 4096. Default 32; short runs gain more from smaller ones.
    pub batch: usize,
    /// Parts of a batch whose gradients are computed side by side, 1 to 64. Default 2.
    pub micro_batches: usize,
    /// Size of the byte-level vocabulary that is trained first, special tokens included, 300 to 1000000. Default 1024: in the simulated shop
    /// every word is then one token.
    pub vocab_size: usize,
    /// Whether the way back computes each decoder layer again, as `learner.activation_checkpointing`. Default false.
    pub activation_checkpointing: bool,
    /// Largest norm of the whole gradient, 1e-6 to 1e6. Default 1.
    pub clip_norm: f64,
    /// The adapter that is trained beside a loaded policy (`policy.base`) and then folded into it, as `learner.lora`. A fresh
    /// policy has none: every weight is trained. Default rank 16, alpha 16, no dropout, all seven projections.
    pub lora: LoraConfig,
    /// The optimizer. Default AdamW, learning rate 3e-3 after 40 steps of warm-up (at most half of all steps; the log says
    /// when that cuts it), falling along a cosine, betas 0.9 and 0.98, no decay. A learning rate of 0 trains nothing;
    /// `total_steps` must be 0: it follows from `samples` and `batch`.
    pub optimizer: AdamWConfig,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            samples: 80_000,
            batch: 32,
            micro_batches: 2,
            vocab_size: 1024,
            activation_checkpointing: false,
            clip_norm: 1.0,
            lora: LoraConfig::new(16, 16.0),
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
        let mut check = SettingsCheck::default();
        check.within("batch", self.batch, 1..=4096, "");
        check.within("samples", self.samples, 1..=1_000_000_000, "");
        check.require(
            self.samples >= self.batch as u64,
            "samples",
            self.samples,
            "at least batch",
        );
        check.within("micro_batches", self.micro_batches, 1..=MAX_MICRO_BATCHES, "");
        check.within(
            "vocab_size",
            self.vocab_size,
            300..=1_000_000,
            "256 bytes, special tokens and words",
        );
        check.within("clip_norm", self.clip_norm, CLIP_NORMS, "");
        check_lora(&self.lora, &mut check);
        let given = self.optimizer.total_steps;
        let wanted = "0: it is samples divided by batch";
        check.require(given == 0, "optimizer.total_steps", given, wanted);
        if given == 0 {
            check_optimizer(&self.optimizer, &self.optimizer(), &mut check);
        }
        check.finish()
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
