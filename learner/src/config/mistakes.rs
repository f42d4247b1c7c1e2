//! What is wrong with a table `[learner]`: every mistake at once, each with its key and what would be right.

use super::{LearnerConfig, check_lora, check_optimizer};
use common::{Digest, InvalidConfig, SettingsCheck};
use models::optimizer::Schedule;
use proto::MAX_OUTCOMES_BYTES;
use std::ops::RangeInclusive;

/// Most parts of a batch: more than any machine's threads, and each holds a graph of its own.
pub(crate) const MAX_MICRO_BATCHES: usize = 64;

/// Norms that a gradient may be clipped to; single precision has room for them on both sides.
pub(crate) const CLIP_NORMS: RangeInclusive<f64> = 1e-6..=1e6;

/// Versions that a pair may lie behind when it is trained, at most (`max_staleness`).
pub(crate) const MOST_STALENESS: u64 = 1_000;

/// Milliseconds of a day, the longest wait that makes sense.
const DAY_MS: u64 = 86_400_000;

/// 64 TiB, more than any machine has.
const MOST_BYTES: usize = 1 << 46;

impl LearnerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        check.within("versions", self.versions, 1..=1_000_000, "");
        check.within(
            "checkpoint_every",
            self.checkpoint_every,
            1..=1_000_000,
            "versions",
        );
        let counts = [
            ("pairs_per_version", self.pairs_per_version, 1_000_000),
            ("passes", self.passes, 1_000),
            ("minibatch_pairs", self.minibatch_pairs, 4096),
            ("micro_batches", self.micro_batches, MAX_MICRO_BATCHES),
            ("max_tasks_per_pair", self.max_tasks_per_pair, 1_000),
            ("max_attempts", self.max_attempts as usize, 1_000),
            ("keep_versions", self.keep_versions, 1_000),
            ("keep_checkpoints", self.keep_checkpoints, 1_000),
            ("max_connections", self.max_connections, 65_536),
        ];
        for (key, value, most) in counts {
            check.within(key, value, 1..=most, "");
        }
        check.within(
            "max_staleness",
            self.max_staleness,
            0..=MOST_STALENESS,
            "versions",
        );
        check.within("keep_images_days", self.keep_images_days, 0.0..=36_500.0, "days");
        check.within(
            "memory_bytes",
            self.memory_bytes,
            MAX_OUTCOMES_BYTES..=MOST_BYTES,
            "bytes",
        );
        check.within(
            "feature_cache_bytes",
            self.feature_cache_bytes,
            0..=MOST_BYTES,
            "bytes",
        );
        check.within("relay_branches", self.relay_branches, 0..=64, "");
        let waits = [
            ("lease_ttl_ms", self.lease_ttl_ms, 1..=DAY_MS),
            ("lease_grace_ms", self.lease_grace_ms, 0..=DAY_MS),
            ("ledger_flush_ms", self.ledger_flush_ms, 1..=10_000),
            ("retry_after_ms", self.retry_after_ms, 1..=60_000),
            ("linger_ms", self.linger_ms, 0..=3_600_000),
            ("evaluation_linger_ms", self.evaluation_linger_ms, 0..=DAY_MS),
            ("drain_ms", self.drain_ms, 0..=3_600_000),
        ];
        for (key, value, range) in waits {
            check.within(key, value, range, "milliseconds");
        }
        check.require(
            self.minibatch_pairs <= self.pairs_per_version,
            "minibatch_pairs",
            self.minibatch_pairs,
            "at most pairs_per_version",
        );
        check.require(
            self.reward_model.is_empty() || self.reward_model.parse::<Digest>().is_ok(),
            "reward_model",
            format_args!("{:?}", self.reward_model),
            "empty, or a digest of the form blake3:<64 hex digits>",
        );
        check.within("clip_norm", self.clip_norm, CLIP_NORMS, "");
        check_lora(&self.lora, &mut check);
        self.check_total_steps(&mut check);
        check_optimizer(&self.optimizer, &self.optimizer(), &mut check);
        self.loss.check(&mut check);
        self.scaling.check(&mut check);
        check.finish()
    }

    fn check_total_steps(&self, check: &mut SettingsCheck) {
        let (given, run) = (self.optimizer.total_steps, self.steps());
        let rest_is_trained = given == 0 || (self.optimizer.schedule == Schedule::Cosine && given >= run);
        check.require(
            rest_is_trained,
            "optimizer.total_steps",
            given,
            format_args!("0 (the whole run) or, for a cosine, at least the run's {run} steps: after it nothing is learned"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::optimizer::AdamWConfig;

    #[test]
    fn all_mistakes_are_reported_at_once_by_key() {
        let mut config = LearnerConfig {
            versions: 0,
            minibatch_pairs: 999,
            clip_norm: f64::NAN,
            ..Default::default()
        };
        config.lora.targets = vec!["embed_tokens".into()];
        config.optimizer.learning_rate = -1.0;
        config.loss.beta = 0.0;
        config.loss.mask.ratio = 1.5;
        let problems = config.validate().unwrap_err().problems;
        for key in [
            "versions",
            "minibatch_pairs",
            "clip_norm",
            "lora.targets",
            "optimizer.learning_rate",
            "loss.beta",
            "loss.mask.ratio",
        ] {
            assert!(
                problems.iter().any(|p| p.key == key),
                "{key} is not in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 7, "{problems:?}");
    }

    #[test]
    fn every_mistake_of_the_optimizer_is_told() {
        let mut config = LearnerConfig::default();
        config.optimizer.beta_1 = 1.0;
        config.optimizer.epsilon = 0.0;
        config.optimizer.total_steps = 9;
        let problems = config.validate().unwrap_err().problems;
        for key in ["optimizer.beta_1", "optimizer.epsilon", "optimizer.total_steps"] {
            assert!(
                problems.iter().any(|p| p.key == key),
                "{key} is not in {problems:?}"
            );
        }
        let whole = config.steps();
        config.optimizer = AdamWConfig {
            total_steps: whole,
            ..LearnerConfig::default().optimizer
        };
        assert_eq!(config.validate(), Ok(()));
        config.optimizer.schedule = Schedule::Constant;
        assert_eq!(config.validate().unwrap_err().problems.len(), 1);
    }
}
