//! Which outcomes are accepted: what is refused here is not recorded, and its task goes to somebody else.

use super::{ControlPlane, Refusal, is_published};
use crate::leases::Lease;
use common::{ActorId, CandidateGroup, RolloutOutcome};

impl ControlPlane {
    /// What an actor in quarantine has sampled is not the policy's.
    pub(super) fn check_quarantine(&self, actor: &ActorId) -> Result<(), Refusal> {
        let quarantined = |reason| Refusal::Quarantined {
            actor: actor.clone(),
            reason,
        };
        self.actors
            .quarantine(actor)
            .map_or(Ok(()), |reason| Err(quarantined(reason)))
    }

    /// A deterministic run trains only what the leased version itself sampled; otherwise any published version that is not
    /// older than the lease's will do.
    pub(super) fn check_versions(&self, lease: &Lease, outcome: &RolloutOutcome) -> Result<(), Refusal> {
        let Some(group) = outcome.group() else {
            return Ok(());
        };
        let progress = self.buffer.progress();
        let task = outcome.task();
        for found in group
            .candidates()
            .iter()
            .map(|candidate| candidate.trajectory.behaviour())
        {
            let fine = match self.admission.deterministic {
                true => found == lease.version,
                false => found >= lease.version && is_published(found, &progress),
            };
            if !fine {
                return Err(Refusal::Version {
                    task,
                    leased: lease.version,
                    found,
                });
            }
        }
        Ok(())
    }

    /// What cannot be trained on is refused before it is recorded: later it would end the run.
    pub(super) fn check_completions(&self, outcome: &RolloutOutcome) -> Result<(), Refusal> {
        let task = outcome.task();
        let candidates = outcome.group().map_or(&[][..], CandidateGroup::candidates);
        for (candidate, token_ids) in candidates.iter().map(|c| c.trajectory.token_ids()).enumerate() {
            self.completions
                .check(token_ids)
                .map_err(|source| Refusal::Completion {
                    task,
                    candidate,
                    source,
                })?;
        }
        Ok(())
    }

    /// Rewards of different models mean different things: a run that names one takes no other's.
    pub(super) fn check_reward_model(&self, outcome: &RolloutOutcome) -> Result<(), Refusal> {
        let (Some(expected), Some(group)) = (self.terms.reward_model, outcome.group()) else {
            return Ok(());
        };
        match group.reward_model() {
            Some(found) if found != expected => Err(Refusal::RewardModel {
                task: outcome.task(),
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }
}
