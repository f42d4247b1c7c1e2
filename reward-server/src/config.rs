//! What can be told about reward models: how one is trained (`[reward]`, in `config/reward.rs`) and how one is served
//! (`[reward_server]`).

mod reward;

pub use reward::RewardConfig;

use common::{InvalidConfig, SettingsCheck};
use models::ctr::CAIG_QUESTION;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a reward model is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardServerConfig {
    /// Creatives (`siamese`) or ordered pairs (`concat`, `caig`) that go through the network at once, 1 to 65536. Default 256: it
    /// bounds memory, about 20 MB for the built-in model.
    pub max_batch: usize,
    /// Requests taken up at the same time, 1 to 65536; further ones wait undecoded, which bounds memory. Default 64: each
    /// actor has one request under way.
    pub queue: usize,
    /// Smallest calibrated probability that the best of a group beats its worst for the group to be scored, 0.5 to 1;
    /// below, the answer is an abstention. Default 0.5: every group is scored.
    pub min_confidence: f64,
    /// What a CAIG reward model is asked about two creatives, 1 to 1000 characters; `{caption}` stands for the caption. Default: the
    /// first of the reference's questions without a caption. Other models are not asked.
    pub question: String,
    /// How long requests under way may still take when the server is asked to stop, in seconds, 0 to 3600. Default 10:
    /// below the 30 s that orchestrators grant.
    pub drain_timeout_s: f64,
}

impl Default for RewardServerConfig {
    fn default() -> Self {
        Self {
            max_batch: 256,
            queue: 64,
            min_confidence: 0.5,
            question: CAIG_QUESTION.to_owned(),
            drain_timeout_s: 10.0,
        }
    }
}

impl RewardServerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        check.within("max_batch", self.max_batch, 1..=65_536, "");
        check.within("queue", self.queue, 1..=65_536, "");
        check.within("min_confidence", self.min_confidence, 0.5..=1.0, "");
        check.within("question", self.question.chars().count(), 1..=1000, "characters");
        check.within("drain_timeout_s", self.drain_timeout_s, 0.0..=3600.0, "seconds");
        check.finish()
    }

    /// How long requests under way may still take when the server is asked to stop.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.drain_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_all_mistakes_are_reported_at_once() {
        assert_eq!(RewardServerConfig::default().validate(), Ok(()));
        let config = RewardServerConfig {
            max_batch: 0,
            min_confidence: 0.4,
            drain_timeout_s: f64::NAN,
            ..RewardServerConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        for (problem, key) in problems
            .iter()
            .zip(["max_batch", "min_confidence", "drain_timeout_s"])
        {
            assert_eq!(problem.key, key);
        }
        assert_eq!(problems.len(), 3);
    }
}
