//! What an actor can be told: the `[actor]` table. Where its peers are, and where it may write, comes with
//! [`ActorInputs`](crate::ActorInputs) instead.

use crate::guardrails::GuardrailsConfig;
use common::{DecidingSettings, InvalidConfig, SettingsCheck, stated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most completions in one decode batch: their keys and values, or their pictures, fill a machine's memory beyond it.
const MAX_ROWS: usize = 16_384;

/// How an actor samples, pairs and waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActorConfig {
    /// Completions sampled per task, 2 to 64. Default 6; CAIG samples 2. More costs rollouts linearly and sharpens the
    /// contrast between the best and the worst, but also finds what a reward model is blind to: the best of 12 shows a scene
    /// that belongs to another product nearly twice as often as the best of 6.
    pub group_size: usize,
    /// Sampling temperature, 0.01 to 10: below, a group is one completion and has no pair. Default 1: the policy's own
    /// distribution, so that behaviour log-probabilities are
    /// those of the draw.
    pub temperature: f64,
    /// Share of probability mass kept at each token, 0.001 to 1. Default 1: nothing is cut, for the same reason.
    pub top_p: f64,
    /// Longest completion, in tokens, end token included; 1 to 4096. Default 24: the built-in shop's descriptions take
    /// 10 to 15.
    pub max_new_tokens: usize,
    /// Points taken from a candidate's score per part of the description that could not be rendered, and for a missing
    /// end token, in the reward's unit (log odds of a click); 0 to 1e6. Default 2: reward models have never seen
    /// broken descriptions, and without a penalty the policy learns to write them.
    pub defect_penalty: f64,
    /// Smallest difference of scores that makes a pair, in log odds, 0 to 1e6. Default 0: every difference teaches.
    pub min_margin: f64,
    /// Who prefers: `reward`, or `random` for the control run that shows how much of a gain the reward explains. Default
    /// `reward`.
    pub labels: Labels,
    /// Most tasks leased at once, 1 to 1024; they are sampled as one batch of at most 16384 completions. Default 16: with
    /// groups of 6 that are 96 rows, which keep one core's matrix kernels busy.
    pub tasks_per_lease: usize,
    /// What renders: `shopworld`, the simulated shop's renderer, `diffusion`, the networks of the `[diffusion]` table, or `remote`,
    /// a service at `endpoints.images`. Default `shopworld`.
    pub image_generator: Generator,
    /// How long an image service that is away is waited for before the actor gives up, in seconds: at the start, and after a lease that
    /// it left unrendered. Within a lease it is retried as long, but for no more than half of the lease's time; the tasks then
    /// fail and can be leased again. Default 60: a service's restart.
    pub image_timeout_s: f64,
    /// Longest wait for an image service's answer to one request, in seconds. Default 120: eight pictures of 512 x 512 pixels in 30
    /// steps on an older GPU. A lease (`learner.lease_ttl_ms`) must have time for all of its groups.
    pub image_request_timeout_s: f64,
    /// Groups whose images are rendered at the same time, 1 to 256. Default 2: an actor of the demo has about one core.
    pub concurrent_renders: usize,
    /// Bytes of product cut-outs that are kept decoded, 0 to 2^46. Default 256 MiB: the demo's whole catalogue takes 15 MB at 96 x 96
    /// pixels, a hundred products of 800 x 800 fill it.
    pub product_cache_bytes: usize,
    /// Bytes of the products' image features that are kept on the device, 0 to 2^46. Default 512 MiB: a product takes 6 KiB for the
    /// demo's policy and 9 MiB for a 7B policy with 576 patches.
    pub feature_cache_bytes: usize,
    /// Bytes that the tasks at hand may hold at the same time, beside what is kept for later: cut-outs, completions and PNGs of all, and
    /// the pictures of the `concurrent_renders` groups that are being made; 2^24 to 2^46. As many tasks are leased as have room by the
    /// largest so far, `tasks_per_lease` at most and one at least. Default 1 GiB: 16 groups of 6 pictures of 512 x 512 pixels take some
    /// 200 MiB.
    pub memory_bytes: usize,
    /// How long an unreachable learner is retried before the actor gives up, in seconds, 0.01 to a day (as all
    /// waits here). Default 60: a learner's restart. Meanwhile the actor looks in the run's store whether the run is over.
    pub learner_timeout_s: f64,
    /// How long an unreachable reward-server is waited for before the actor gives up, in seconds: at the start, and after
    /// a lease that it left unscored. Within a lease it is retried as long, but for no more than three quarters of the
    /// lease's time; the tasks then fail and can be leased again. Default 60: a reward-server's restart.
    pub reward_timeout_s: f64,
    /// Seconds after which the host of `endpoints.reward` is looked up again and each of its addresses asked for its health: a new
    /// reward-server takes load, and one that drains or is gone takes none, about so much later. Default 2: a lookup and a small
    /// request per server.
    pub reward_lookup_s: f64,
    /// Longest wait for the answer to one request, in seconds. Default 60: scoring the 16 x 6 images of a lease
    /// on a CPU is the slowest.
    pub request_timeout_s: f64,
    /// How long the tasks at hand may still take when the actor is asked to stop, in seconds; after that they are handed
    /// back. Default 10: below the 30 s that orchestrators grant.
    pub drain_timeout_s: f64,
    /// Connections that are open at the same time to what the actor serves, its health and what it passes on; 1 to 65536. One more is
    /// closed at once, and so is one that has not begun to speak within 10 s. Default 64: the branches of the learner's tree, newcomers
    /// and probes.
    pub max_connections: usize,
    /// Whether the actor passes what it has fetched on to others, on the port of its health service. Default true: the learner
    /// then sends each version a few times only, however many actors there are.
    pub relay: bool,
    /// What the actor does once the run is complete, as the learner says or, where none answers any more, the run's store: `exit`, or
    /// `idle`, which unloads the policy and answers that it is not ready until it is stopped. Default `exit`. A Deployment starts a pod
    /// that has ended again, so there it is `idle`.
    pub on_run_end: OnRunEnd,
    /// Which candidates are barred.
    pub guardrails: GuardrailsConfig,
}

/// What renders an actor's descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// The simulated shop's renderer.
    Shopworld,
    /// An image service.
    Remote,
    /// Stable Diffusion with a ControlNet, on the actor's own device.
    Diffusion,
}

/// What an actor does once its run is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRunEnd {
    /// It ends.
    Exit,
    /// It holds nothing, is not ready, and waits to be stopped.
    Idle,
}

/// What decides which candidate of a group is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// The reward, less penalties.
    Reward,
    /// A seeded coin between the best and the worst: the control.
    Random,
}

impl Default for ActorConfig {
    fn default() -> Self {
        Self {
            group_size: 6,
            temperature: 1.0,
            top_p: 1.0,
            max_new_tokens: 24,
            defect_penalty: 2.0,
            min_margin: 0.0,
            labels: Labels::Reward,
            tasks_per_lease: 16,
            image_generator: Generator::Shopworld,
            image_timeout_s: 60.0,
            image_request_timeout_s: 120.0,
            concurrent_renders: 2,
            product_cache_bytes: 256 << 20,
            feature_cache_bytes: 512 << 20,
            memory_bytes: 1 << 30,
            learner_timeout_s: 60.0,
            reward_timeout_s: 60.0,
            reward_lookup_s: 2.0,
            request_timeout_s: 60.0,
            drain_timeout_s: 10.0,
            max_connections: 64,
            relay: true,
            on_run_end: OnRunEnd::Exit,
            guardrails: GuardrailsConfig::default(),
        }
    }
}

impl ActorConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let counts = [
            ("group_size", self.group_size, 2..=64, ""),
            ("max_new_tokens", self.max_new_tokens, 1..=4096, "tokens"),
            ("tasks_per_lease", self.tasks_per_lease, 1..=1024, ""),
            ("concurrent_renders", self.concurrent_renders, 1..=256, ""),
            ("max_connections", self.max_connections, 1..=65_536, ""),
            (
                "product_cache_bytes",
                self.product_cache_bytes,
                0..=1 << 46,
                "bytes",
            ),
            (
                "feature_cache_bytes",
                self.feature_cache_bytes,
                0..=1 << 46,
                "bytes",
            ),
            ("memory_bytes", self.memory_bytes, 1 << 24..=1 << 46, "bytes"),
        ];
        for (key, value, range, unit) in counts {
            check.within(key, value, range, unit);
        }
        check.require(
            self.tasks_per_lease.saturating_mul(self.group_size) <= MAX_ROWS,
            "tasks_per_lease",
            self.tasks_per_lease,
            format_args!("at most {MAX_ROWS} completions in a batch, tasks_per_lease x group_size"),
        );
        check.within("temperature", self.temperature, 0.01..=10.0, "");
        check.within("top_p", self.top_p, 0.001..=1.0, "");
        check.within("defect_penalty", self.defect_penalty, 0.0..=1e6, "log odds");
        check.within("min_margin", self.min_margin, 0.0..=1e6, "log odds");
        let waits = [
            ("learner_timeout_s", self.learner_timeout_s),
            ("reward_timeout_s", self.reward_timeout_s),
            ("reward_lookup_s", self.reward_lookup_s),
            ("request_timeout_s", self.request_timeout_s),
            ("image_timeout_s", self.image_timeout_s),
            ("image_request_timeout_s", self.image_request_timeout_s),
            ("drain_timeout_s", self.drain_timeout_s),
        ];
        for (key, value) in waits {
            check.within(key, value, 0.01..=86_400.0, "seconds");
        }
        self.guardrails.check(&mut check);
        check.finish()
    }

    /// The settings of these that decide what becomes of a task, so that all actors of a run must have the same from its beginning on. The
    /// others say when and where things are done, and how fast.
    pub fn deciding(&self) -> DecidingSettings {
        let Self {
            group_size,
            temperature,
            top_p,
            max_new_tokens,
            defect_penalty,
            min_margin,
            labels,
            image_generator,
            guardrails,
            tasks_per_lease: _,
            image_timeout_s: _,
            image_request_timeout_s: _,
            concurrent_renders: _,
            product_cache_bytes: _,
            feature_cache_bytes: _,
            memory_bytes: _,
            learner_timeout_s: _,
            reward_timeout_s: _,
            reward_lookup_s: _,
            request_timeout_s: _,
            drain_timeout_s: _,
            max_connections: _,
            relay: _,
            on_run_end: _,
        } = self;
        let own = [
            ("group_size", stated(group_size)),
            ("temperature", stated(temperature)),
            ("top_p", stated(top_p)),
            ("max_new_tokens", stated(max_new_tokens)),
            ("defect_penalty", stated(defect_penalty)),
            ("min_margin", stated(min_margin)),
            ("labels", stated(labels)),
            ("image_generator", stated(image_generator)),
        ];
        DecidingSettings::of_table("actor", own).and(guardrails.deciding())
    }
}

/// What is stated of a file or directory: where it lies is each machine's affair.
pub(crate) fn given(path: &str) -> String {
    let given = if path.is_empty() { "none" } else { "given" };
    given.to_owned()
}

/// A checked number of seconds.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ActorConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_key() {
        let config = ActorConfig {
            group_size: 1,
            temperature: 0.0,
            top_p: f64::NAN,
            min_margin: -1.0,
            learner_timeout_s: f64::INFINITY,
            tasks_per_lease: 1025,
            ..ActorConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        let keys = [
            "group_size",
            "temperature",
            "top_p",
            "min_margin",
            "learner_timeout_s",
            "tasks_per_lease",
        ];
        for key in keys {
            assert!(
                problems.iter().any(|p| p.key == key),
                "{key} is not in {problems:?}"
            );
        }
        assert_eq!(problems.len(), keys.len());
    }

    #[test]
    fn what_decides_outcomes_is_stated_with_the_guardrails_and_what_says_when_and_where_is_not() {
        let run = ActorConfig::default();
        let elsewhere = ActorConfig {
            tasks_per_lease: 3,
            memory_bytes: 1 << 25,
            reward_timeout_s: 9.0,
            relay: false,
            on_run_end: OnRunEnd::Idle,
            ..run.clone()
        };
        assert_eq!(elsewhere.deciding(), run.deciding());
        let mut other = ActorConfig {
            temperature: 0.1 + 0.2,
            labels: Labels::Random,
            ..run.clone()
        };
        other.guardrails.min_spread = 3.0;
        other.guardrails.text_blocklist = "words.txt".into();
        let others = other.deciding().others_than(&run.deciding());
        let told: Vec<_> = others
            .iter()
            .map(|other| format!("{other}, not {}", other.expected))
            .collect();
        assert_eq!(
            told,
            [
                "actor.guardrails.min_spread = 3.0, not 2.0",
                "actor.guardrails.text_blocklist = given, not none",
                "actor.labels = \"random\", not \"reward\"",
                "actor.temperature = 0.30000000000000004, not 1.0",
            ]
        );
        // Where a list lies is each machine's affair.
        let mut there = other.clone();
        there.guardrails.text_blocklist = "/etc/words.txt".into();
        assert_eq!(there.deciding(), other.deciding());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let refusal = serde_json::from_str::<ActorConfig>(r#"{"group_sise": 4}"#).unwrap_err();
        assert!(refusal.to_string().contains("group_sise"));
    }
}
