//! What can end a run or a pre-training.

use crate::ledger::{OutcomeCounts, no_pair_name};
use common::{InvalidConfig, NoPairReason, PolicyVersion, RunId, with_causes};
use data::ImportError;
use models::ModelError;
use proto::InvalidMessage;
use std::path::{Path, PathBuf};
use store::StoreError;

/// An error of the learner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// Settings that cannot be used.
    #[error("invalid settings:\n{0}")]
    Config(#[from] InvalidConfig),
    /// The catalogue cannot be trained on with these settings.
    #[error("catalogue {name}: {reason}")]
    Catalogue {
        /// Its name.
        name: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Rows of a file cannot be trained on with this policy.
    #[error(transparent)]
    Rows(#[from] ImportError),
    /// A sample of a corpus that is made cannot be trained on with this policy.
    #[error("sample {sample} of the corpus: {reason}")]
    Sample {
        /// Its place in the stream of samples, from zero.
        sample: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The initial policy cannot be used.
    #[error(transparent)]
    Policy(ModelError),
    /// The final adapter cannot go where it should.
    #[error("adapter at {place}: {reason}")]
    AdapterPlace {
        /// The URL.
        place: String,
        /// What is wrong and what would be right.
        reason: String,
        /// What the store says, if that is why.
        source: Option<Box<StoreError>>,
    },
    /// What a run writes beside its stores cannot be written.
    #[error("{name}: cannot write to {}", path.display())]
    Output {
        /// The flag or key that names the place.
        name: &'static str,
        /// The place.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Several things are wrong with what a start was given.
    #[error("{}", in_lines(.0))]
    Several(Vec<LearnerError>),
    /// A network or its optimizer failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's ledger was begun by another run of the same name.
    #[error(
        "run {run} in {url} was begun with seed {found}, and this one has seed {expected}; name another run (run.id), another \
         store, or its seed"
    )]
    AnotherRun {
        /// The run.
        run: RunId,
        /// The store.
        url: String,
        /// The seed it was begun with.
        found: u64,
        /// The seed given.
        expected: u64,
    },
    /// The run was begun with other settings than it is to go on with.
    #[error("run {run} cannot go on:\n{}\nonly these may change: {}{}", changes.join("\n"), crate::config::FREE.join(", "), elsewhere(fixed))]
    ChangedSettings {
        /// The run.
        run: RunId,
        /// Each setting with both values.
        changes: Vec<String>,
        /// The keys outside `[learner]` that may not change.
        fixed: Vec<String>,
    },
    /// The run was begun with another catalogue than it is to go on with.
    #[error("run {run} cannot go on:\n{}\na run has one catalogue; name another run (run.id) for another one", changes.join("\n"))]
    ChangedCatalogue {
        /// The run.
        run: RunId,
        /// What differs.
        changes: Vec<String>,
    },
    /// The run was begun with another base policy than it is to go on with.
    #[error("run {run} cannot go on: the base policy in {} is another one than it was begun with", policy.display())]
    ChangedBase {
        /// The run.
        run: RunId,
        /// The policy given.
        policy: PathBuf,
    },
    /// A checkpoint of the run is none.
    #[error("checkpoint {key} in {url}: {reason}")]
    Checkpoint {
        /// Its key.
        key: String,
        /// The store.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record of the run's ledger cannot be read.
    #[error("a record of {key} in {url} cannot be read")]
    Ledger {
        /// The ledger's key.
        key: String,
        /// The store.
        url: String,
        /// What is wrong with it.
        source: InvalidMessage,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error("cannot serve")]
    Serve(#[source] tonic::transport::Error),
    /// All tasks of a batch ended and none gave a pair, or too many tasks ended without filling a batch.
    #[error(
        "version {version}: {tasks} tasks ended with {pairs} pairs, {needed} are needed ({counts}){}",
        against_ties(counts, *tasks)
    )]
    TooFewPairs {
        /// The version that was to be trained from.
        version: PolicyVersion,
        /// Tasks that ended since the last batch.
        tasks: usize,
        /// Pairs among them.
        pairs: usize,
        /// Pairs that a batch needs.
        needed: usize,
        /// How those tasks ended, by reason.
        counts: Box<OutcomeCounts>,
    },
    /// Training left the finite numbers. Nothing was published or written from it.
    #[error("{what} is {value} at step {step}, expected a finite number; lower the learning rate")]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// What it was.
        value: f64,
        /// Optimizer steps taken before.
        step: u64,
    },
    /// Training was asked to stop.
    #[error("stopped before it was complete")]
    Cancelled,
    /// A thread of the learner panicked.
    #[error("{what} panicked: {message}")]
    Panicked {
        /// Which part.
        what: &'static str,
        /// The panic's message.
        message: String,
    },
}

impl LearnerError {
    /// All refusals of a start as one error.
    pub(crate) fn of_all(mut refusals: Vec<Self>) -> Self {
        match refusals.len() {
            1 => refusals.remove(0),
            _ => Self::Several(refusals),
        }
    }

    /// Whether what the run was given is at fault (settings, catalogue, policy, the places it writes to) rather than the run.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Catalogue { .. }
                | Self::Rows(_)
                | Self::Sample { .. }
                | Self::Policy(_)
                | Self::AdapterPlace { .. }
                | Self::Output { .. }
                | Self::Several(_)
                | Self::AnotherRun { .. }
                | Self::ChangedSettings { .. }
                | Self::ChangedCatalogue { .. }
                | Self::ChangedBase { .. }
        )
    }

    /// Turns an error of the system into one that names what was tried on which file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn panicked(what: &'static str, message: &dyn std::fmt::Display) -> Self {
        Self::Panicked {
            what,
            message: message.to_string(),
        }
    }
}

/// Each error on a line with its causes.
fn in_lines(errors: &[LearnerError]) -> String {
    let told = errors.iter().map(|error| with_causes(error));
    told.collect::<Vec<_>>().join("\n")
}

/// What may change in other tables than `[learner]`, of which these keys may not.
fn elsewhere(fixed: &[String]) -> String {
    match fixed {
        [] => String::new(),
        _ => format!(
            "; outside [learner] what decides no outcome, so none of {}",
            fixed.join(", ")
        ),
    }
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

/// What helps where a policy has learned to say the same in every candidate of a task.
fn against_ties(counts: &OutcomeCounts, tasks: usize) -> &'static str {
    let ties = counts.no_pairs.get(no_pair_name(NoPairReason::Tie)).copied();
    match ties.unwrap_or_default() as usize * 2 > tasks {
        true => {
            "; candidates that say the same tie: lower learner.optimizer.learning_rate, or raise actor.temperature or actor.group_size"
        }
        false => "",
    }
}
