//! The table `[learner]`: how a run trains, leases and publishes.
//!
//! Plain values with their defaults, and what a run reads from them. What would be wrong with them is told in
//! `config/mistakes.rs`; what depends on the catalogue (is there a partner product at all?) is checked where the catalogue is
//! known, at the start of the run.

mod changes;
mod loss;
mod mistakes;
mod scaling;
mod training;

pub(crate) use changes::{FREE, fixed_changes};
pub use loss::{LossConfig, LossMode, MaskConfig, Partner};
pub(crate) use mistakes::{CLIP_NORMS, MAX_MICRO_BATCHES, MOST_STALENESS};
pub use scaling::ScalingConfig;
pub(crate) use training::{check_lora, check_optimizer, for_run_of, tell_of_cut_warmup};

use common::{Digest, PolicyVersion};
use models::lora::LoraConfig;
use models::optimizer::{AdamWConfig, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the learner. Defaults are those of the demo, measured on the simulated shop, unless a field says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnerConfig {
    /// Policy versions to publish after the initial one, 1 to 1000000; the run is then complete. Default 28.
    pub versions: u64,
    /// Preference pairs that one version is trained from, 1 to 1000000. Default 256.
    pub pairs_per_version: usize,
    /// Passes over those pairs, 1 to 1000. Default 2.
    pub passes: usize,
    /// Pairs per optimizer step, 1 to 4096 and at most `pairs_per_version`. Default 32.
    pub minibatch_pairs: usize,
    /// Parts of a minibatch whose gradients are computed side by side. The number of threads never changes a result; this
    /// number does, in the last bits. 1 to 64. Default 2.
    pub micro_batches: usize,
    /// How many versions the training policy may be ahead of the version that sampled a pair; 0 is strictly on-policy.
    /// At most 1000. Default 0: on one machine sampling and training share the cores, so overlap gains no time, and on-policy pairs train more
    /// steadily. Set 1 where actors have hardware of their own.
    pub max_staleness: u64,
    /// Whether two runs with equal seeds give equal bytes: version n is trained from exactly the tasks of its block, in
    /// task order, sampled by version n - 1 alone. `max_staleness` then has no effect. Reward-servers read this too and score every
    /// group alone; actors take no scores of one that does not. Default false.
    pub deterministic: bool,
    /// The run fails when this many times `pairs_per_version` tasks end without yielding one batch of pairs; 1 to 1000.
    /// Default 8.
    pub max_tasks_per_pair: usize,
    /// How long an actor may keep leased tasks, in milliseconds, 1 to a day. Default 60000: some twenty times what a lease takes on a
    /// slow machine.
    pub lease_ttl_ms: u64,
    /// How long after its deadline an outcome still counts when nobody else holds the task, in milliseconds, 0 to a day.
    /// Default 5000.
    pub lease_grace_ms: u64,
    /// How often a task is leased before it is given up, 1 to 1000. Leases that a service without room left undone do not count, nor, of
    /// each task, the first 32 that one left undone because it was away, slow or failing. Default 3.
    pub max_attempts: u32,
    /// How long a record of the ledger may wait for others to be written together with it, in milliseconds, 1 to 10000. An
    /// outcome is acknowledged this and one write of the store later; every such write is one object. Default 20, for a
    /// directory; on a cloud's store 100 costs a fifth of the requests.
    pub ledger_flush_ms: u64,
    /// A checkpoint is written at every this many versions, and at the last; 1 to 1000000. A later start of the learner goes on
    /// from the newest. Default 1; a deterministic run writes one at each version, before anybody can sample from it.
    pub checkpoint_every: u64,
    /// How many checkpoints are kept, the newest ones, 1 to 1000. Default 3.
    pub keep_checkpoints: usize,
    /// For how many days the images of candidates are kept, 0 to 36500, fractions too; 0 (default): for ever. Only those go whose
    /// record every kept checkpoint has in its weights or has refused, and only while the learner runs. Cut-outs of products stay.
    pub keep_images_days: f64,
    /// What becomes of pairs that were sampled by versions which a crash has lost, newer than the checkpoint that the run goes
    /// on from: `refuse` (default), or `train`, as pairs of the newest version.
    pub retired_pairs: RetiredPairs,
    /// The digest of the only reward model whose scores are taken, as `blake3:` and 64 hex digits; outcomes that another one
    /// scored are refused. Default empty: any reward model's are, and the run's status counts them by model.
    pub reward_model: String,
    /// When an actor that got no lease should ask again, in milliseconds, 1 to 60000. Default 20.
    pub retry_after_ms: u64,
    /// How many actors fetch weights from the learner, and from each actor that has them, 0 to 64; 0: everybody fetches from the
    /// learner. Default 2: the learner then sends each version twice, and a thousand actors are nine relays deep.
    pub relay_branches: usize,
    /// How long a finished run waits at most for actors to adopt the last version and for others to fetch it, and a failed one in any
    /// case, in milliseconds, 0 to an hour. Default 3000.
    pub linger_ms: u64,
    /// How long a finished run waits at most for an evaluator that follows the announcements to report what the last version does on
    /// held-out products, in milliseconds, 0 to a day. Default 600000: a demo measures a version in seconds and may be some versions
    /// behind. Where nobody evaluates, no time is lost.
    pub evaluation_linger_ms: u64,
    /// How long a stopped learner waits for open calls, in milliseconds, 0 to an hour. Default 5000.
    pub drain_ms: u64,
    /// How many versions' weights can be fetched, the newest included, 1 to 1000. Default 3: an actor that is fetching one may see
    /// two more published.
    pub keep_versions: usize,
    /// Bytes of outcomes that are taken in at the same time, counted while they arrive: one request's (16 MiB) to 2^46. Who finds no
    /// room is asked to come again. Default 256 MiB.
    pub memory_bytes: usize,
    /// Connections that are open at the same time, 1 to 65536; one more is closed at once, and so is one that has not begun to speak
    /// within 10 s. Default 4096: as many as actors are kept apart; each has one.
    pub max_connections: usize,
    /// Bytes of the products' frozen image features that are kept on the device between batches, 0 to 2^46. Default 1 GiB; one
    /// product takes 6 KiB in the demo and 9 MiB at 7B.
    pub feature_cache_bytes: usize,
    /// Whether the way back goes through the policy block by block and computes each decoder layer again: memory for the
    /// activations of one layer instead of all, for one more way forward. Default false.
    pub activation_checkpointing: bool,
    /// Largest norm of the whole gradient (torch's `clip_grad_norm_`), 1e-6 to 1e6. Default 1, as the reference implementation.
    pub clip_norm: f64,
    /// The adapter that is trained: rank 1 to 1024, alpha 1e-3 to 1e6, dropout at least 0 and below 1. Default rank 16,
    /// alpha 16, no dropout, all seven projections and the head: a narrow policy's head cannot tell its words further apart by what comes to it. CAIG the seven, rank 128, alpha 256 (its script asks for a
    /// dropout of 0.05, which its trainer switches off).
    pub lora: LoraConfig,
    /// The optimizer, whose state lasts the whole run. A learning rate of 0 trains nothing. Default AdamW, betas 0.9 and 0.98,
    /// no decay; learning rate 1.5e-3 after 64 steps of warm-up (at most half of the run's steps; the log says when that cuts
    /// it), falling along a cosine over the run: `total_steps` is 0, or at least the run's steps. A constant rate leaves the
    /// last version wherever a step
    /// happened to end, and a beta_2 of 0.999 lets A's first, tiny gradients (B starts at zero) scale its steps for too long:
    /// both were seen as bursts of invalid descriptions.
    pub optimizer: AdamWConfig,
    /// The loss.
    pub loss: LossConfig,
    /// How many actors the run asks for.
    pub scaling: ScalingConfig,
}

/// What becomes of pairs that were sampled by versions which a crash has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetiredPairs {
    /// They are refused and counted.
    Refuse,
    /// They are trained on.
    Train,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            versions: 28,
            pairs_per_version: 256,
            passes: 2,
            minibatch_pairs: 32,
            micro_batches: 2,
            max_staleness: 0,
            deterministic: false,
            max_tasks_per_pair: 8,
            lease_ttl_ms: 60_000,
            lease_grace_ms: 5_000,
            max_attempts: 3,
            ledger_flush_ms: 20,
            checkpoint_every: 1,
            keep_checkpoints: 3,
            keep_images_days: 0.0,
            retired_pairs: RetiredPairs::Refuse,
            reward_model: String::new(),
            retry_after_ms: 20,
            relay_branches: 2,
            linger_ms: 3_000,
            evaluation_linger_ms: 600_000,
            drain_ms: 5_000,
            keep_versions: 3,
            memory_bytes: 256 << 20,
            max_connections: 4096,
            feature_cache_bytes: 1 << 30,
            activation_checkpointing: false,
            clip_norm: 1.0,
            lora: LoraConfig::new(16, 16.0).with_head(),
            optimizer: AdamWConfig {
                learning_rate: 1.5e-3,
                beta_2: 0.98,
                schedule: Schedule::Cosine,
                warmup_steps: 64,
                ..AdamWConfig::default()
            },
            loss: LossConfig::default(),
            scaling: ScalingConfig::default(),
        }
    }
}

impl LearnerConfig {
    /// Optimizer steps of the whole run.
    fn steps(&self) -> u64 {
        let per_pass = self.pairs_per_version.div_ceil(self.minibatch_pairs.max(1)) as u64;
        self.versions
            .saturating_mul(per_pass.saturating_mul(self.passes as u64))
    }

    /// The optimizer's settings with the length of a falling schedule filled in: all steps of the run, unless it is set.
    pub(crate) fn optimizer(&self) -> AdamWConfig {
        for_run_of(self.steps(), &self.optimizer)
    }

    /// What becomes of pairs of retired versions. After a rollback a deterministic run comes through the same versions again, to the
    /// same bytes.
    pub(crate) fn retired_rule(&self) -> RetiredPairs {
        match self.deterministic {
            true => RetiredPairs::Train,
            false => self.retired_pairs,
        }
    }

    /// How long the images of candidates are kept; `None` for ever.
    pub(crate) fn keep_images(&self) -> Option<Duration> {
        const DAY: f64 = 24.0 * 60.0 * 60.0;
        (self.keep_images_days > 0.0).then(|| Duration::from_secs_f64(self.keep_images_days * DAY))
    }

    /// Whether the run is complete with this version.
    pub(crate) fn is_last(&self, version: PolicyVersion) -> bool {
        version.number >= self.versions
    }

    /// Whether a later start can go on from this version.
    pub(crate) fn is_checkpointed(&self, version: PolicyVersion) -> bool {
        let is_due = version.number.is_multiple_of(self.checkpoint_every);
        self.deterministic || is_due || self.is_last(version)
    }

    /// The only reward model whose scores are taken; `None`: any.
    pub(crate) fn pinned_reward_model(&self) -> Option<Digest> {
        self.reward_model.parse().ok()
    }

    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
    }

    pub(crate) fn lease_grace(&self) -> Duration {
        Duration::from_millis(self.lease_grace_ms)
    }

    pub(crate) fn ledger_flush(&self) -> Duration {
        Duration::from_millis(self.ledger_flush_ms)
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    pub(crate) fn evaluation_linger(&self) -> Duration {
        Duration::from_millis(self.evaluation_linger_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_being_written_down() {
        let config = LearnerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LearnerConfig>(&text).unwrap(), config);
    }

    #[test]
    fn an_unknown_key_and_an_unknown_mode_are_refused() {
        assert!(serde_json::from_str::<LearnerConfig>(r#"{"verions": 5}"#).is_err());
        let refusal = serde_json::from_str::<LearnerConfig>(r#"{"loss": {"mode": "ppo"}}"#).unwrap_err();
        assert!(refusal.to_string().contains("joint_swap"), "{refusal}");
    }
}
