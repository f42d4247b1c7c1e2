//! What the pages show, as plain values, and [`RunView`], by which whoever has a run gives them.

use crate::chronicle::Chronicle;
use crate::moments::Moments;
use async_trait::async_trait;
use bytes::Bytes;
use common::{ActorId, CanaryReport, Digest, PolicyVersion, Presence, RunId, Sides, TaskId};
use std::sync::Arc;
use std::time::Duration;

/// A run, to be looked at. Nobody who looks can change it.
#[async_trait]
pub trait RunView: Send + Sync + 'static {
    /// Where it stands now. Cheap: it is asked several times a second.
    fn overview(&self) -> Overview;

    /// What is remembered of it.
    fn chronicle(&self) -> &Chronicle;

    /// One outcome with its pedigree, by its place in the ledger; `None` when there is none.
    ///
    /// # Errors
    /// [`ViewError`] when the ledger cannot be read.
    async fn history(&self, sequence: u64) -> Result<Option<History>, ViewError>;

    /// Outcomes from the places `from` up to and without `until`, oldest first.
    ///
    /// # Errors
    /// [`ViewError`] when the ledger cannot be read.
    async fn creatives(&self, from: u64, until: u64) -> Result<Vec<Creative>, ViewError>;

    /// The bytes of a picture that an outcome names; `None` when it names none, or it is no longer there.
    ///
    /// # Errors
    /// [`ViewError`] when ledger or store cannot be read.
    async fn picture(&self, sequence: u64, of: PictureOf) -> Result<Option<Bytes>, ViewError>;
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the run")]
pub struct ViewError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Which picture of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOf {
    /// The product's cut-out.
    Product,
    /// A candidate's image, by its place in the group.
    Candidate(usize),
}

/// How a run is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// A version is in training.
    Training,
    /// Pairs are being collected for the next one.
    Collecting,
    /// All versions are published.
    Complete,
    /// It failed; why.
    Failed(String),
}

/// Where a run stands.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The run.
    pub run: RunId,
    /// The start of its learner.
    pub epoch: u64,
    /// How it is doing.
    pub state: RunState,
    /// Its newest version.
    pub version: PolicyVersion,
    /// Versions that it is to publish.
    pub versions: u64,
    /// Pairs that a version is trained from.
    pub pairs_per_version: u64,
    /// Whether some of its products are held out: evaluators measure on those, and otherwise on products that it is trained on.
    pub holds_out: bool,
    /// Pairs that wait for training.
    pub pairs_waiting: u64,
    /// Pairs that published versions were trained from.
    pub pairs_trained: u64,
    /// Pairs that no version will be trained from.
    pub pairs_refused: u64,
    /// Tasks leased now.
    pub leased: u64,
    /// Tasks whose outcome is in the ledger.
    pub recorded: u64,
    /// Outcomes beside those, on their way there: they are not durable yet.
    pub not_durable: u64,
    /// How tasks ended, one row a kind.
    pub endings: Vec<Ending>,
    /// Who takes part, in no order.
    pub actors: Vec<Actor>,
}

/// A way for tasks to end, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// `pairs`, `no pair` and the like.
    pub kind: &'static str,
    /// The reason's name; empty when the kind says it all.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// What is known of an actor.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Its name.
    pub id: ActorId,
    /// The version it samples from; `None` before its first.
    pub version: Option<PolicyVersion>,
    /// What the canary said of that.
    pub canary: Option<CanaryReport>,
    /// Outcomes it has submitted to this start of the learner.
    pub outcomes: u64,
    /// Why it gets no leases.
    pub quarantine: Option<String>,
    /// What keeps it from leasing, in its words.
    pub waiting_for: Option<String>,
    /// Whether it takes part.
    pub presence: Presence,
    /// Since when it has not called.
    pub silent: Duration,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A preference pair.
    Pair,
    /// None, and why.
    NoPair(&'static str),
    /// It failed: why, and in more words.
    Failed(&'static str, String),
}

/// What became of one task.
#[derive(Debug, Clone)]
pub struct Creative {
    /// Its place in the ledger.
    pub sequence: u64,
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub outcome: Outcome,
    /// The product.
    pub product: String,
    /// The product's caption in the catalogue of today.
    pub caption: String,
    /// The product's category, where it has one.
    pub category: Option<String>,
    /// The instruction, from the catalogue of today.
    pub instruction: String,
    /// Of the instruction that was put to the policy then.
    pub prompt: Digest,
    /// Whether the one of today is the one of then.
    pub instruction_holds: bool,
    /// Who submitted it; `None` where that is not recorded, or nobody did.
    pub actor: Option<ActorId>,
    /// The version that sampled it; `None` when nothing was sampled.
    pub version: Option<PolicyVersion>,
    /// The learner's start that recorded it.
    pub epoch: u64,
    /// Seeds of its completions and of its images' noise; `None` when nothing was sampled.
    pub seeds: Option<(u64, u64)>,
    /// The reward model; `None` when it was not asked.
    pub reward_model: Option<Digest>,
    /// Difference of the pair's scores with defects counted.
    pub margin: Option<f64>,
    /// In the order of sampling.
    pub candidates: Vec<Candidate>,
}

/// One candidate.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What the policy wrote.
    pub text: String,
    /// How many tokens that is, and whether it came to its end within the limit.
    pub tokens: usize,
    /// Whether it ended by itself.
    pub stopped: bool,
    /// Natural-log probability of the whole under the version that sampled it.
    pub log_prob: f64,
    /// Its image; `None` where none was made.
    pub image: Option<Digest>,
    /// Parts of it that could not be rendered, and a missing end.
    pub defects: u32,
    /// Its reward, in log odds.
    pub reward: Option<f64>,
    /// What the reward model said on either side; `None` of a model for which sides make no difference.
    pub sides: Option<Sides>,
    /// The guardrail that barred it, and what that measured.
    pub barred: Option<(&'static str, Option<f64>)>,
    /// What it is to its pair.
    pub role: Role,
}

/// What a candidate is to the pair of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The better one.
    Chosen,
    /// The other one.
    Rejected,
    /// No part of it.
    Neither,
}

/// One outcome, as far as its history is known.
#[derive(Debug, Clone)]
pub struct History {
    /// What became of the task.
    pub creative: Arc<Creative>,
    /// The versions that were trained from it, oldest first.
    pub trained: Vec<TrainedIn>,
    /// Why the run's weights are not trained on it and will not be, in words; `None` when that is not so, or not known.
    pub refused: Option<String>,
    /// What became of each candidate's image, in words; `None`: it is there, or none was made.
    pub gone: Vec<Option<&'static str>>,
}

/// A version that was trained from a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainedIn {
    /// The version.
    pub version: PolicyVersion,
    /// Optimizer steps of the run when it was done.
    pub step: u64,
    /// Whether the run's weights did not come through it.
    pub lost: bool,
}

impl Creative {
    /// The mean reward of the candidates that have one; `None` when none has.
    pub(crate) fn mean_reward(&self) -> Option<f64> {
        let mut of_group = Moments::default();
        let rewards = self.candidates.iter().filter_map(|candidate| candidate.reward);
        rewards.for_each(|reward| of_group.add(reward));
        of_group.mean()
    }
}
