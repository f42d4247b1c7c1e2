//! The learner turns preference pairs into newer policies and publishes them.
//!
//! `train_loop.rs` reads like the paper: batch, log-probabilities, loss, step, publish. It runs on its own thread and never
//! awaits; the service around it leases tasks, records outcomes and streams weights, and never blocks. The two meet in the
//! pair buffer. [`pretrain`] makes the policy a run starts from; [`train_on_pairs`] trains on a file's pairs instead.
//!
//! The learner dials nobody, and knows neither how images are rendered nor how they are scored.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the tests of leases and actors start at now"
    )
)]

mod account;
mod actors;
mod adapter_files;
mod admission;
mod assortment;
mod base_model;
mod broadcast;
mod canary;
mod checkpoint;
mod clock;
mod collate;
mod config;
mod control;
#[cfg(feature = "testing")]
pub mod doors;
mod error;
mod feature_cache;
mod images;
mod instruments;
mod leases;
mod ledger;
mod lineage;
mod log_probs;
mod loss;
mod mask;
mod measured;
mod measured_products;
mod metrics;
mod negatives;
mod offline;
mod pair_buffer;
mod pair_log;
mod partners;
mod pretrain;
mod prompts;
mod refusals;
mod relays;
mod resume;
mod run;
mod run_end;
mod scaling;
mod service;
mod shown;
mod simulated;
mod step_log;
mod task_order;
mod task_queue;
mod tensorboard;
#[cfg(test)]
mod test_outcomes;
#[cfg(test)]
mod test_policy;
mod train_loop;
mod training_pair;

pub use actors::ActorSummary;
pub use adapter_files::check_owner as check_adapters_owner;
pub use checkpoint::{
    CheckpointContent, CheckpointLine, ExportedAdapter, Pulled, RolledBack, export_adapter, list_checkpoints,
    pull_checkpoint, roll_back,
};
pub use config::{LearnerConfig, LossConfig, LossMode, MaskConfig, Partner, RetiredPairs, ScalingConfig};
pub use error::LearnerError;
pub use images::{ImageCounts, ImageState};
pub use instruments::Instruments;
pub use ledger::{
    BarredLine, LedgerLine, LedgerLines, LedgerSummary, LedgerView, OutcomeCounts, RefusedLine, Seeds,
    SidesLine,
};
pub use measured_products::measured_products;
pub use offline::{OfflineInputs, OfflineProgress, train_on_pairs};
pub use pretrain::{
    PretrainConfig, PretrainProgress, PretrainStart, Pretraining, check_corpus, fresh_policy, pretrain,
};
pub use prompts::{CompletionLimits, check_prompts};
pub use refusals::{Outputs, training_refusals};
pub use run::{LearnerInputs, Listeners, RunSummary, VersionMetrics, run};
pub use scaling::Scale;
pub use simulated::{SimulatedAdapters, SimulatedInputs, run_simulated};
