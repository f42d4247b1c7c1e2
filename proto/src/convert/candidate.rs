//! Trajectories, candidates and groups.

use super::{InvalidMessage, required};
use crate::pb;
use common::{Candidate, CandidateGroup, Finish, Reward, TaskId, Trajectory};

/// The most candidates of one task, and the most tokens of one completion, that a message may carry.
const MAX_CANDIDATES: usize = 64;
const MAX_TOKENS: usize = 16 << 10;

impl From<&Trajectory> for pb::Trajectory {
    fn from(trajectory: &Trajectory) -> Self {
        let finish = match trajectory.finish() {
            Finish::Stop => pb::Finish::Stop,
            Finish::Length => pb::Finish::Length,
        };
        Self {
            behaviour: Some(trajectory.behaviour().into()),
            token_ids: trajectory.token_ids().to_vec(),
            log_probs: trajectory.log_probs().to_vec(),
            text: trajectory.text().to_owned(),
            finish: finish.into(),
        }
    }
}

/// Checks one completion of `task`.
///
/// # Errors
/// [`InvalidMessage`] when a part is missing, too long or impossible.
pub fn trajectory(task: TaskId, message: pb::Trajectory) -> Result<Trajectory, InvalidMessage> {
    let finish = match message.finish() {
        pb::Finish::Stop => Finish::Stop,
        pb::Finish::Length => Finish::Length,
        pb::Finish::Unspecified => return Err(InvalidMessage::missing("trajectory.finish")),
    };
    if message.token_ids.len() > MAX_TOKENS {
        return Err(InvalidMessage::new(
            "trajectory.token_ids",
            format!("more than {MAX_TOKENS} tokens"),
        ));
    }
    let behaviour = required("trajectory.behaviour", message.behaviour)?.try_into()?;
    Trajectory::new(
        task,
        behaviour,
        message.token_ids,
        message.log_probs,
        message.text,
        finish,
    )
    .map_err(|e| InvalidMessage::new("trajectory", e))
}

impl From<&CandidateGroup> for pb::CandidateGroup {
    fn from(group: &CandidateGroup) -> Self {
        let candidates = group.candidates().iter().map(|candidate| pb::Candidate {
            trajectory: Some((&candidate.trajectory).into()),
            image: Some(candidate.image.into()),
            defects: candidate.defects,
            reward: candidate.reward.value(),
        });
        Self {
            candidates: candidates.collect(),
            reward_model: Some(group.reward_model().into()),
        }
    }
}

fn candidate(task: TaskId, message: pb::Candidate) -> Result<Candidate, InvalidMessage> {
    Ok(Candidate {
        trajectory: trajectory(task, required("candidate.trajectory", message.trajectory)?)?,
        image: required("candidate.image", message.image)?.try_into()?,
        defects: message.defects,
        reward: Reward::new(message.reward).map_err(|e| InvalidMessage::new("candidate.reward", e))?,
    })
}

/// Checks the candidates of `task`.
pub(super) fn group(task: TaskId, message: pb::CandidateGroup) -> Result<CandidateGroup, InvalidMessage> {
    if message.candidates.len() > MAX_CANDIDATES {
        return Err(InvalidMessage::new(
            "group.candidates",
            format!("more than {MAX_CANDIDATES} candidates"),
        ));
    }
    let candidates = message
        .candidates
        .into_iter()
        .map(|c| candidate(task, c))
        .collect::<Result<_, _>>()?;
    let reward_model = required("group.reward_model", message.reward_model)?.try_into()?;
    CandidateGroup::from_candidates(task, candidates, reward_model)
        .map_err(|e| InvalidMessage::new("group", e))
}
