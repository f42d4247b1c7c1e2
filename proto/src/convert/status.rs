//! How a run goes, as its learner tells it to whoever looks on. Only what somebody reads is taken in.

use super::{InvalidMessage, required};
use crate::pb;
use crate::told::{at_most, counts, measured, said};
use common::{ActorId, CanaryVerdict, PolicyVersion, Presence, RunId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The largest status that is taken in, in bytes: one of [`MAX_ACTORS`] actors, each with all that a learner lets it say, is no
/// larger.
pub const MAX_STATUS_BYTES: usize = 16 << 20;

/// The most actors of a status.
pub const MAX_ACTORS: usize = 8192;

/// The most versions that a status has figures of.
const MAX_VERSIONS: usize = 1 << 16;

/// How a run goes. Its names can be shown, its texts are for people and on one line, its figures are finite, its counts have sums.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStatus {
    /// Which run.
    pub run: RunId,
    /// The newest version.
    pub version: PolicyVersion,
    /// How many the run is to publish; `None` where the learner does not say.
    pub versions: Option<u64>,
    /// Whether all versions are published.
    pub complete: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// How tasks ended.
    pub outcomes: Outcomes,
    /// Pairs that published versions were trained from.
    pub pairs_trained: u64,
    /// Pairs that no version will be trained from.
    pub pairs_refused: u64,
    /// These by reason.
    pub pairs_refused_by_reason: BTreeMap<String, u64>,
    /// Versions published.
    pub publishes: u64,
    /// Adapter bytes of one.
    pub bytes_per_publish: u64,
    /// Artifact payload sent, in bytes.
    pub artifact_bytes_sent: u64,
    /// Everybody who takes part.
    pub actors: Vec<ActorStatus>,
    /// What training measured, a version after the other.
    pub metrics: Vec<VersionFigures>,
    /// What the newest version that was measured on held-out products does there.
    pub held_out: Option<VersionFigures>,
}

/// How tasks ended, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// In a pair.
    pub pairs: u64,
    /// Without one.
    pub no_pairs: BTreeMap<String, u64>,
    /// In a failure.
    pub failures: BTreeMap<String, u64>,
    /// Leases that expired.
    pub expired: u64,
    /// Outcomes that came twice.
    pub duplicates: u64,
    /// Outcomes that were not accepted.
    pub refused: u64,
    /// Scored groups by the digest of their reward model.
    pub reward_models: BTreeMap<String, u64>,
    /// Barred candidates by guardrail.
    pub barred: BTreeMap<String, u64>,
}

/// One actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorStatus {
    /// Its name.
    pub actor: ActorId,
    /// What it samples from; `None` before it has adopted any.
    pub version: Option<PolicyVersion>,
    /// Versions adopted.
    pub adoptions: u64,
    /// Payload received from other actors, in bytes.
    pub relay_bytes_received: u64,
    /// Outcomes submitted.
    pub outcomes: u64,
    /// What its canary said; `None` where that is nothing, or a word of a later version of the program.
    pub canary: Option<CanaryVerdict>,
    /// Why it gets no leases.
    pub quarantine: Option<String>,
    /// What keeps it from leasing, in its words.
    pub waiting_for: Option<String>,
    /// Whether it takes part; `None` where the learner does not say, or in a word of a later version of the program.
    pub presence: Option<Presence>,
    /// Since when it has not called.
    pub silent: Duration,
}

/// Finite figures of a version by name.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionFigures {
    /// Which version.
    pub version: PolicyVersion,
    /// Its figures.
    pub values: BTreeMap<String, f64>,
}

impl TryFrom<pb::RunStatus> for RunStatus {
    type Error = InvalidMessage;

    fn try_from(message: pb::RunStatus) -> Result<Self, InvalidMessage> {
        at_most("run_status.actors", MAX_ACTORS, message.actors.len())?;
        at_most("run_status.metrics", MAX_VERSIONS, message.metrics.len())?;
        let by_reason = message.pairs_refused_by_reason;
        let actors = message.actors.into_iter().map(ActorStatus::try_from);
        let metrics = message.metrics.into_iter().map(VersionFigures::try_from);
        Ok(Self {
            run: RunId::new(message.run_id).map_err(|e| InvalidMessage::new("run_status.run_id", e))?,
            version: required("run_status.version", message.version)?.try_into()?,
            versions: (message.versions > 0).then_some(message.versions),
            complete: message.complete,
            failure: said(&message.failure),
            // Before the first outcome there may be none.
            outcomes: message.outcomes.unwrap_or_default().try_into()?,
            pairs_trained: message.pairs_trained,
            pairs_refused: message.pairs_refused,
            pairs_refused_by_reason: counts("run_status.pairs_refused_by_reason", by_reason)?,
            publishes: message.publishes,
            bytes_per_publish: message.bytes_per_publish,
            artifact_bytes_sent: message.artifact_bytes_sent,
            actors: actors.collect::<Result<_, _>>()?,
            metrics: metrics.collect::<Result<_, _>>()?,
            held_out: message.held_out.map(VersionFigures::try_from).transpose()?,
        })
    }
}

impl TryFrom<pb::OutcomeCounts> for Outcomes {
    type Error = InvalidMessage;

    fn try_from(message: pb::OutcomeCounts) -> Result<Self, InvalidMessage> {
        Ok(Self {
            pairs: message.pairs,
            no_pairs: counts("outcome_counts.no_pairs", message.no_pairs)?,
            failures: counts("outcome_counts.failures", message.failures)?,
            expired: message.expired,
            duplicates: message.duplicates,
            refused: message.refused,
            reward_models: counts("outcome_counts.reward_models", message.reward_models)?,
            barred: counts("outcome_counts.barred", message.barred)?,
        })
    }
}

impl TryFrom<pb::ActorStatus> for ActorStatus {
    type Error = InvalidMessage;

    fn try_from(message: pb::ActorStatus) -> Result<Self, InvalidMessage> {
        let canary = message.canary.and_then(|canary| match canary.verdict() {
            pb::CanaryVerdict::Ok => Some(CanaryVerdict::Ok),
            pb::CanaryVerdict::Mismatch => Some(CanaryVerdict::Mismatch),
            pb::CanaryVerdict::Inconclusive => Some(CanaryVerdict::Inconclusive),
            pb::CanaryVerdict::Unspecified => None,
        });
        let presence = match message.presence() {
            pb::ActorPresence::Here => Some(Presence::Here),
            pb::ActorPresence::Silent => Some(Presence::Silent),
            pb::ActorPresence::Gone => Some(Presence::Gone),
            pb::ActorPresence::Left => Some(Presence::Left),
            pb::ActorPresence::Unspecified => None,
        };
        Ok(Self {
            actor: ActorId::new(message.actor_id)
                .map_err(|e| InvalidMessage::new("actor_status.actor_id", e))?,
            version: message.version.map(PolicyVersion::try_from).transpose()?,
            adoptions: message.adoptions,
            relay_bytes_received: message.relay_bytes_received,
            outcomes: message.outcomes,
            canary,
            quarantine: said(&message.quarantine),
            waiting_for: said(&message.waiting_for),
            presence,
            silent: Duration::from_millis(message.silent_ms),
        })
    }
}

impl TryFrom<pb::VersionMetrics> for VersionFigures {
    type Error = InvalidMessage;

    fn try_from(message: pb::VersionMetrics) -> Result<Self, InvalidMessage> {
        Ok(Self {
            version: required("version_metrics.version", message.version)?.try_into()?,
            values: measured("version_metrics.values", message.values)?,
        })
    }
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;
