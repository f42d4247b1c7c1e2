//! `[demo]`: what `adwright demo` itself is configured with.

use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the two stages before reinforcement learning share the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stages {
    /// Pre-training and reward training at the same time.
    SideBySide,
    /// First pre-training, then reward training.
    InTurn,
}

/// `[demo]`: what `adwright demo` starts and measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DemoConfig {
    /// Actor processes, 1 to 64 (`--actors`). Default 2.
    pub(crate) actors: usize,
    /// Whether stages A and B run `side_by_side` or `in_turn`. Default `side_by_side`: neither uses a second core well.
    pub(crate) stages: Stages,
    /// Threads of each process.
    pub(crate) threads: DemoThreads,
    /// Samples per test product and version, 1 to 1024. Default 16 (docs: the contract of report.json).
    pub(crate) samples: usize,
    /// How many of them the divergence from the reference is measured on, 1 to `samples`. Default 4: on 80 products that
    /// is 320 completions, a standard error of about 0.1 nats.
    pub(crate) kl_samples: usize,
    /// At most this many products are measured: test products, or any where none are held out, evenly spread; 1 to 1000000. Default 200:
    /// all of ShopWorld's 80 test products, and a bound for catalogues of users.
    pub(crate) products: usize,
    /// Completions that the evaluation samples at once, 1 to 4096. Default 128.
    pub(crate) batch: usize,
    /// Products on the contact sheet, 1 to 64. Default 8: one of each of ShopWorld's categories.
    pub(crate) sheet_products: usize,
    /// Side of a creative on the contact sheet, in pixels, 32 to 1024. Default 192.
    pub(crate) sheet_size: u32,
    /// Seconds a role may take to become ready, 1 to a day. Default 120.
    pub(crate) start_timeout_s: u64,
    /// Seconds that roles get to finish when the demo stops, beyond the longest of their own drain times, before they are
    /// killed; 0 to 3600. Default 10.
    pub(crate) drain_timeout_s: u64,
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self {
            actors: 2,
            stages: Stages::SideBySide,
            threads: DemoThreads::default(),
            samples: 16,
            kl_samples: 4,
            products: 200,
            batch: 128,
            sheet_products: 8,
            sheet_size: 192,
            start_timeout_s: 120,
            drain_timeout_s: 10,
        }
    }
}

impl DemoConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let counts = [
            ("actors", self.actors, 1..=64),
            ("samples", self.samples, 1..=1024),
            ("kl_samples", self.kl_samples, 1..=self.samples.max(1)),
            ("products", self.products, 1..=1_000_000),
            ("batch", self.batch, 1..=4096),
            ("sheet_products", self.sheet_products, 1..=64),
            ("threads.pretrain", self.threads.pretrain, 1..=1024),
            ("threads.train_reward", self.threads.train_reward, 1..=1024),
            ("threads.learner", self.threads.learner, 1..=1024),
            ("threads.actor", self.threads.actor, 1..=1024),
            ("threads.reward_server", self.threads.reward_server, 1..=1024),
            ("threads.evaluation", self.threads.evaluation, 1..=1024),
        ];
        for (key, value, range) in counts {
            check.within(key, value, range, "");
        }
        check.within("sheet_size", self.sheet_size, 32..=1024, "pixels");
        check.within("start_timeout_s", self.start_timeout_s, 1..=86_400, "seconds");
        check.within("drain_timeout_s", self.drain_timeout_s, 0..=3600, "seconds");
        check.finish()
    }
}

/// `[demo.threads]`: threads of each process of the demo, so that two cores are shared and not fought over. Stages A and
/// B run before the roles do; during reinforcement learning the learner mostly works while actors wait and the other way
/// round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DemoThreads {
    /// Stage A, 1 to 1024 as each of these. Default 2: it takes much longer than stage B beside it.
    pub(crate) pretrain: usize,
    /// Stage B. Default 1.
    pub(crate) train_reward: usize,
    /// The learner. Default 2.
    pub(crate) learner: usize,
    /// Each actor. Default 1.
    pub(crate) actor: usize,
    /// The reward-server. Default 1.
    pub(crate) reward_server: usize,
    /// The demo's own measurements. Default 1.
    pub(crate) evaluation: usize,
}

impl Default for DemoThreads {
    fn default() -> Self {
        Self {
            pretrain: 2,
            train_reward: 1,
            learner: 2,
            actor: 1,
            reward_server: 1,
            evaluation: 1,
        }
    }
}
