//! What can be told about reward models: how one is trained (`[reward]`, in `config/reward.rs`) and how one is served
//! (`[reward_server]`).

mod reward;

pub use reward::RewardConfig;

use common::{DecidingSettings, InvalidConfig, SettingsCheck, stated};
use models::ctr::CAIG_QUESTION;
use proto::MAX_MESSAGE_BYTES;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a reward model is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardServerConfig {
    /// Creatives (`siamese`) or ordered pairs (`concat`, `caig`) that go through the network at once, 1 to 65536. Default 256: it
    /// bounds memory, about 20 MB for the built-in model.
    pub max_batch: usize,
    /// How long a group may wait, while the model is idle, for groups of other requests to go through the network with it, in
    /// milliseconds, 0 to 1000; those that come while the model works go together anyway. Default 2. With 0 groups of
    /// different requests never go together. In a deterministic run every group goes alone, whatever is set here.
    pub batch_wait_ms: u64,
    /// Requests worked on at the same time, 1 to 65536; one more is turned away at once. Default 64: each actor has one
    /// request under way.
    pub queue: usize,
    /// Bytes of requests held at the same time, 2^26 (one request of the largest size) to 2^40; what would go beyond is turned
    /// away at once. Default 2^28, 256 MiB: some forty requests of a hundred 512 x 512 JPEG images.
    pub memory_bytes: usize,
    /// Connections that are open at the same time, 1 to 65536; one more is closed at once, and so is one that has not begun to speak
    /// within 10 s. Default 4096: each actor has one.
    pub max_connections: usize,
    /// Creatives' groups decoded at the same time, 1 to 256; each may take 256 MiB for a picture of the largest size. Default 2.
    pub concurrent_decodes: usize,
    /// Bytes for scores that have been computed, 0 to 2^40; with 0 none are kept. Default 2^24, 16 MiB: some fifty thousand
    /// groups of six, which an actor asks about again after a restart or an outage.
    pub cache_bytes: usize,
    /// How often the model directory is looked at for another model, in seconds, 0 to 86400; with 0 only at SIGHUP. Default 10.
    pub reload_poll_s: f64,
    /// Smallest calibrated probability that the best of a group beats its worst for the group to be scored, 0.5 to 1;
    /// below, the answer is an abstention. Default 0.5: every group is scored.
    pub min_confidence: f64,
    /// What a CAIG reward model is asked about two creatives, 1 to 1000 characters; `{caption}` stands for the caption. Default: the
    /// first of the reference's questions without a caption. Other models are not asked.
    pub question: String,
    /// How long requests under way may still take when the server is asked to stop, in seconds, 0 to 3600. Default 10:
    /// below the 30 s that orchestrators grant.
    pub drain_timeout_s: f64,
    /// What the server does once the run is complete: `exit`, or `idle`, which unloads the model and answers that it is not ready until it
    /// is stopped; for both it follows the learner at `endpoints.learner`. With `serve` it follows nobody. Default `serve`: a server may be
    /// there for several runs. A Deployment starts a pod that has ended again, so there it is `idle`.
    pub on_run_end: OnRunEnd,
    /// How long nobody must have asked for scores, once the run is complete, before that happens, in seconds, 0 to 3600. Default 60: an
    /// actor may still be at work on its last tasks.
    pub linger_s: f64,
}

/// What a reward-server does once its run is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRunEnd {
    /// It serves on, and does not ask whether there is a run.
    Serve,
    /// It ends.
    Exit,
    /// It holds nothing, is not ready, and waits to be stopped.
    Idle,
}

impl Default for RewardServerConfig {
    fn default() -> Self {
        Self {
            max_batch: 256,
            batch_wait_ms: 2,
            queue: 64,
            memory_bytes: 256 << 20,
            max_connections: 4096,
            concurrent_decodes: 2,
            cache_bytes: 16 << 20,
            reload_poll_s: 10.0,
            min_confidence: 0.5,
            question: CAIG_QUESTION.to_owned(),
            drain_timeout_s: 10.0,
            on_run_end: OnRunEnd::Serve,
            linger_s: 60.0,
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
        check.within("batch_wait_ms", self.batch_wait_ms, 0..=1000, "milliseconds");
        check.within("queue", self.queue, 1..=65_536, "");
        check.within(
            "memory_bytes",
            self.memory_bytes,
            MAX_MESSAGE_BYTES..=1 << 40,
            "bytes",
        );
        check.within("max_connections", self.max_connections, 1..=65_536, "");
        check.within("concurrent_decodes", self.concurrent_decodes, 1..=256, "");
        check.within("cache_bytes", self.cache_bytes, 0..=1 << 40, "bytes");
        check.within("reload_poll_s", self.reload_poll_s, 0.0..=86_400.0, "seconds");
        check.within("min_confidence", self.min_confidence, 0.5..=1.0, "");
        check.within("question", self.question.chars().count(), 1..=1000, "characters");
        check.within("drain_timeout_s", self.drain_timeout_s, 0.0..=3600.0, "seconds");
        check.within("linger_s", self.linger_s, 0.0..=3600.0, "seconds");
        check.finish()
    }

    /// The settings of these that decide what becomes of a task. The model itself has a digest, which the run records and may ask for.
    pub fn deciding(&self) -> DecidingSettings {
        let Self {
            min_confidence,
            question,
            max_batch: _,
            batch_wait_ms: _,
            queue: _,
            memory_bytes: _,
            max_connections: _,
            concurrent_decodes: _,
            cache_bytes: _,
            reload_poll_s: _,
            drain_timeout_s: _,
            on_run_end: _,
            linger_s: _,
        } = self;
        let settings = [
            ("min_confidence", stated(min_confidence)),
            ("question", stated(question)),
        ];
        DecidingSettings::of_table("reward_server", settings)
    }

    /// How long a group may wait for those of other requests; `None`: they never go together.
    pub(crate) fn batch_wait(&self) -> Option<Duration> {
        (self.batch_wait_ms > 0).then(|| Duration::from_millis(self.batch_wait_ms))
    }

    /// How often the model directory is looked at; `None`: never by itself.
    pub(crate) fn reload_poll(&self) -> Option<Duration> {
        (self.reload_poll_s > 0.0).then(|| Duration::from_secs_f64(self.reload_poll_s))
    }

    /// How long requests under way may still take when the server is asked to stop.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.drain_timeout_s)
    }

    /// How long nobody must have asked for scores after the run.
    pub(crate) fn linger(&self) -> Duration {
        Duration::from_secs_f64(self.linger_s)
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

    #[test]
    fn what_decides_which_scores_there_are_is_stated_and_what_says_when_and_where_is_not() {
        let run = RewardServerConfig::default();
        let elsewhere = RewardServerConfig {
            max_batch: 3,
            queue: 1,
            on_run_end: OnRunEnd::Idle,
            ..run.clone()
        };
        assert_eq!(elsewhere.deciding(), run.deciding());
        let other = RewardServerConfig {
            min_confidence: 0.75,
            question: "Which \"one\"?".into(),
            ..run.clone()
        };
        let others = other.deciding().others_than(&run.deciding());
        let told: Vec<_> = others.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "reward_server.min_confidence = 0.75",
                r#"reward_server.question = "Which \"one\"?""#
            ]
        );
    }
}
