//! One outcome of a ledger, as it is told.

use super::standing::{TrainedAt, kept};
use crate::account::Refusal;
use crate::images::ImageState;
use crate::ledger::{Record, RefusalNote, counts};
use common::{
    Barred, Candidate, CandidateGroup, Digest, PolicyVersion, Purpose, Reward, RolloutOutcome, Sides, TaskId,
    derive_seed,
};
use serde::Serialize;

/// One task's outcome with its pedigree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerLine {
    /// The task.
    pub task: TaskId,
    /// `pair`, `no_pair` or `failed`.
    pub outcome: &'static str,
    /// Why there is no pair; `None` for a pair.
    pub reason: Option<&'static str>,
    /// Of the outcome as it was submitted.
    pub digest: Digest,
    /// The product.
    pub product: String,
    /// Of the instruction put to the policy.
    pub prompt_digest: Digest,
    /// Who submitted it; `None` when nobody did, or an earlier version of the program recorded it.
    pub actor: Option<String>,
    /// The seeds of its draws; `None` when nothing was sampled.
    pub seeds: Option<Seeds>,
    /// The version that sampled it.
    pub behaviour_version: Option<PolicyVersion>,
    /// The learner's start that recorded it.
    pub epoch: u64,
    /// The creatives, in the order of sampling; `None` for a candidate of which none was made.
    pub image_digests: Vec<Option<Digest>>,
    /// What became of each.
    pub images: Vec<Option<ImageState>>,
    /// Their rewards, in log odds; `None` for a candidate that is barred, or alone with an image, and where the model abstained.
    pub rewards: Vec<Option<f64>>,
    /// What the reward model said on either side; `None` of a model for which sides make no difference.
    pub sides: Vec<Option<SidesLine>>,
    /// Why each is barred; `None` for one that is not.
    pub barred: Vec<Option<BarredLine>>,
    /// The reward model; `None` when it was not asked.
    pub reward_model_digest: Option<Digest>,
    /// How sure it was that the best candidate beats the worst, where it abstained and said so.
    pub confidence: Option<f64>,
    /// Optimizer steps of the run when the version that was trained from it was done; `None` when none was, or none that the run
    /// went on from.
    pub trained_step: Option<u64>,
    /// Every version that was trained from it, those that a crash has lost among them, oldest first.
    pub trained_versions: Vec<PolicyVersion>,
    /// Why the run's weights are not trained on its pair and will not be; `None` when they are, while it waits, and where an earlier
    /// version of the program refused it.
    pub refused: Option<RefusedLine>,
}

/// Why no version is trained from a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RefusedLine {
    /// `stale`, `retired` or `run_ended`.
    pub reason: &'static str,
    /// The newest version when it was refused.
    pub version: PolicyVersion,
    /// How many versions it lay behind that one; of a stale one only.
    pub lag: Option<u64>,
    /// How many it might have; likewise.
    pub max_staleness: Option<u64>,
}

impl From<&RefusalNote> for RefusedLine {
    fn from(note: &RefusalNote) -> Self {
        let (lag, max_staleness) = match note.pair.refusal {
            Refusal::Stale { lag, max_staleness } => (Some(lag), Some(max_staleness)),
            Refusal::Retired | Refusal::RunEnded => (None, None),
        };
        Self {
            reason: note.pair.refusal.name(),
            version: note.pair.version,
            lag,
            max_staleness,
        }
    }
}

/// A candidate's reward by the side on which it stood, in log odds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SidesLine {
    /// On the left.
    pub left: f64,
    /// On the right.
    pub right: f64,
}

impl From<Sides> for SidesLine {
    fn from(Sides { left, right }: Sides) -> Self {
        Self { left, right }
    }
}

/// Why a candidate is barred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BarredLine {
    /// The name of the guardrail.
    pub guardrail: &'static str,
    /// What it measured, in its own unit; `None` where there is nothing to measure.
    pub measured: Option<f64>,
}

impl From<Barred> for BarredLine {
    fn from(barred: Barred) -> Self {
        Self {
            guardrail: barred.guardrail.name(),
            measured: barred.measured,
        }
    }
}

/// The seeds of a task's draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seeds {
    /// Of its completions.
    pub sampling: u64,
    /// Of the noise that its images share.
    pub render_noise: u64,
}

impl LedgerLine {
    /// Of a record with what became of its images, the versions that were trained from it or why none is, and the run's seed.
    pub(super) fn of(
        record: &Record,
        images: Vec<Option<ImageState>>,
        trained: &[TrainedAt],
        refused: Option<RefusedLine>,
        run_seed: u64,
    ) -> Self {
        let task = record.outcome.task();
        let group = record.outcome.group();
        let candidates = group.map_or(&[][..], CandidateGroup::candidates);
        let behaviour_version = candidates
            .first()
            .map(|candidate: &Candidate| candidate.trajectory.behaviour());
        let seed = |version, purpose| derive_seed(run_seed, task, version, purpose);
        let (outcome, reason) = match &record.outcome {
            RolloutOutcome::Pair(_) => ("pair", None),
            RolloutOutcome::NoPair { reason, .. } => ("no_pair", Some(counts::no_pair_name(*reason))),
            RolloutOutcome::Failed { reason, .. } => ("failed", Some(counts::failure_name(*reason))),
        };
        Self {
            task,
            outcome,
            reason,
            digest: record.digest,
            product: record.product.to_string(),
            prompt_digest: record.prompt,
            actor: record.actor.as_ref().map(ToString::to_string),
            seeds: behaviour_version.map(|version| Seeds {
                sampling: seed(version, Purpose::Sampling),
                render_noise: seed(version, Purpose::RenderNoise),
            }),
            behaviour_version,
            epoch: record.epoch.0,
            image_digests: candidates.iter().map(|candidate| candidate.image).collect(),
            images,
            rewards: candidates
                .iter()
                .map(|candidate| candidate.reward().map(Reward::value))
                .collect(),
            sides: candidates
                .iter()
                .map(|candidate| Some(candidate.reward()?.sides()?.into()))
                .collect(),
            barred: candidates
                .iter()
                .map(|candidate| candidate.standing.barred().map(BarredLine::from))
                .collect(),
            reward_model_digest: group.and_then(CandidateGroup::reward_model),
            confidence: group.and_then(CandidateGroup::confidence),
            trained_step: kept(trained).map(|trained| trained.step),
            trained_versions: trained.iter().map(|trained| trained.version).collect(),
            refused,
        }
    }
}
