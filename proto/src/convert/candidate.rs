//! Trajectories, candidates and groups.

use super::{InvalidMessage, from_wire, required, to_wire};
use crate::pb;
use common::{
    Barred, Candidate, CandidateGroup, Digest, Finish, Guardrail, Reward, Sides, Standing, TaskId, Trajectory,
};

/// The most candidates of one task, and the most tokens of one completion, that a message may carry.
const MAX_CANDIDATES: usize = 64;
const MAX_TOKENS: usize = 16 << 10;

/// Pairs of a value and its message, so that each direction reads the same table.
const GUARDRAIL: [(Guardrail, pb::Guardrail); 10] = [
    (Guardrail::Undecodable, pb::Guardrail::Undecodable),
    (Guardrail::Blank, pb::Guardrail::Blank),
    (Guardrail::Halo, pb::Guardrail::Halo),
    (Guardrail::Leakage, pb::Guardrail::Leakage),
    (Guardrail::Visibility, pb::Guardrail::Visibility),
    (Guardrail::NearDuplicate, pb::Guardrail::NearDuplicate),
    (Guardrail::TextBlocklist, pb::Guardrail::TextBlocklist),
    (Guardrail::ImageBlocklist, pb::Guardrail::ImageBlocklist),
    (Guardrail::Description, pb::Guardrail::Description),
    (Guardrail::Withheld, pb::Guardrail::Withheld),
];

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
            image: candidate.image.map(Into::into),
            defects: candidate.defects,
            reward: candidate.reward().map_or(f64::NAN, Reward::value),
            barred: candidate.standing.barred().map(Into::into),
            unscored: candidate.standing == Standing::Unscored,
            sides: candidate.reward().and_then(Reward::sides).map(Into::into),
        });
        Self {
            candidates: candidates.collect(),
            reward_model: group.reward_model().map(Into::into),
            confidence: group.confidence(),
        }
    }
}

impl From<Sides> for pb::Sides {
    fn from(Sides { left, right }: Sides) -> Self {
        Self { left, right }
    }
}

/// A reward and what was said on either side, if that was told.
///
/// # Errors
/// [`InvalidMessage`] when a number is not finite.
pub fn reward(field: &'static str, value: f64, sides: Option<&pb::Sides>) -> Result<Reward, InvalidMessage> {
    let reward = Reward::new(value).and_then(|reward| match sides {
        Some(&pb::Sides { left, right }) => reward.with_sides(Sides { left, right }),
        None => Ok(reward),
    });
    reward.map_err(|e| InvalidMessage::new(field, e))
}

impl From<Barred> for pb::Barred {
    fn from(barred: Barred) -> Self {
        let mut message = Self {
            guardrail: 0,
            measured: barred.measured,
        };
        message.set_guardrail(to_wire(&GUARDRAIL, barred.guardrail));
        message
    }
}

impl TryFrom<pb::Barred> for Barred {
    type Error = InvalidMessage;

    fn try_from(message: pb::Barred) -> Result<Self, InvalidMessage> {
        if let Some(measured) = message.measured.filter(|measured| !measured.is_finite()) {
            return Err(InvalidMessage::new(
                "barred.measured",
                format!("{measured} is not finite"),
            ));
        }
        Ok(Self {
            guardrail: from_wire(&GUARDRAIL, "barred.guardrail", message.guardrail())?,
            measured: message.measured,
        })
    }
}

fn candidate(task: TaskId, message: pb::Candidate) -> Result<Candidate, InvalidMessage> {
    let standing = standing(message.reward, message.barred, message.unscored, message.sides)?;
    let image = message.image.map(Digest::try_from).transpose()?;
    Ok(Candidate {
        trajectory: trajectory(task, required("candidate.trajectory", message.trajectory)?)?,
        image: match standing {
            Standing::Barred(_) => image,
            _ => Some(required("candidate.image", image)?),
        },
        defects: message.defects,
        standing,
    })
}

/// Exactly one of the three is said.
fn standing(
    value: f64,
    barred: Option<pb::Barred>,
    unscored: bool,
    sides: Option<pb::Sides>,
) -> Result<Standing, InvalidMessage> {
    let has_reward = !value.is_nan() || sides.is_some();
    match (barred, unscored) {
        (None, false) => reward("candidate.reward", value, sides.as_ref()).map(Standing::Scored),
        (barred, unscored) if has_reward || (barred.is_some() && unscored) => Err(InvalidMessage::new(
            "candidate",
            "it says more than one of: reward, barred, unscored",
        )),
        (Some(barred), _) => barred.try_into().map(Standing::Barred),
        (None, _) => Ok(Standing::Unscored),
    }
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
    let reward_model = message.reward_model.map(Digest::try_from).transpose()?;
    let group = CandidateGroup::from_candidates(task, candidates, reward_model);
    let group = group.and_then(|group| group.with_confidence(message.confidence));
    group.map_err(|e| InvalidMessage::new("group", e))
}
