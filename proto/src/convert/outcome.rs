//! How leases end.

use super::{InvalidMessage, candidate::group, required};
use crate::pb;
use common::{FailureReason, NoPairReason, PreferencePair, RolloutOutcome, TaskId};
use pb::rollout_outcome::Outcome;

/// The longest failure detail that crosses the wire, in bytes.
const MAX_DETAIL_BYTES: usize = 1 << 10;

/// Pairs of a value and its message, so that each direction reads the same table.
const NO_PAIR: [(NoPairReason, pb::NoPairReason); 5] = [
    (NoPairReason::Tie, pb::NoPairReason::Tie),
    (NoPairReason::LowMargin, pb::NoPairReason::LowMargin),
    (NoPairReason::InvalidImage, pb::NoPairReason::InvalidImage),
    (NoPairReason::Guardrail, pb::NoPairReason::Guardrail),
    (NoPairReason::Abstained, pb::NoPairReason::Abstained),
];
const FAILURE: [(FailureReason, pb::FailureReason); 5] = [
    (FailureReason::Sampling, pb::FailureReason::Sampling),
    (FailureReason::Rendering, pb::FailureReason::Rendering),
    (
        FailureReason::RewardUnavailable,
        pb::FailureReason::RewardUnavailable,
    ),
    (FailureReason::Storage, pb::FailureReason::Storage),
    (FailureReason::Abandoned, pb::FailureReason::Abandoned),
];

fn to_wire<A: PartialEq + Copy, B: Copy + Default>(table: &[(A, B)], value: A) -> B {
    table
        .iter()
        .find(|(a, _)| *a == value)
        .map(|(_, b)| *b)
        .unwrap_or_default()
}

fn from_wire<A: Copy, B: PartialEq + Copy>(
    table: &[(A, B)],
    field: &'static str,
    value: B,
) -> Result<A, InvalidMessage> {
    let known = table.iter().find(|(_, b)| *b == value).map(|(a, _)| *a);
    known.ok_or_else(|| InvalidMessage::missing(field))
}

/// Cuts a text to `limit` bytes at a character's border.
fn cut(text: &str, limit: usize) -> String {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0);
    text[..end].to_owned()
}

impl From<&RolloutOutcome> for pb::RolloutOutcome {
    fn from(outcome: &RolloutOutcome) -> Self {
        let message = match outcome {
            RolloutOutcome::Pair(pair) => Outcome::Pair(pb::Pair {
                group: Some(pair.group().into()),
                chosen: pair.chosen_position() as u32,
                rejected: pair.rejected_position() as u32,
                margin: pair.margin(),
            }),
            RolloutOutcome::NoPair { group, reason } => {
                let reason = to_wire(&NO_PAIR, *reason).into();
                Outcome::NoPair(pb::NoPair {
                    group: Some(group.into()),
                    reason,
                })
            }
            RolloutOutcome::Failed {
                reason,
                retryable,
                detail,
                ..
            } => Outcome::Failed(pb::Failed {
                reason: to_wire(&FAILURE, *reason).into(),
                retryable: *retryable,
                detail: cut(detail, MAX_DETAIL_BYTES),
            }),
        };
        Self {
            task: outcome.task().0,
            outcome: Some(message),
        }
    }
}

impl TryFrom<pb::RolloutOutcome> for RolloutOutcome {
    type Error = InvalidMessage;

    fn try_from(message: pb::RolloutOutcome) -> Result<Self, InvalidMessage> {
        let task = TaskId(message.task);
        match required("rollout_outcome.outcome", message.outcome)? {
            Outcome::Pair(pair) => {
                let (chosen, rejected) = (pair.chosen as usize, pair.rejected as usize);
                let group = group(task, required("pair.group", pair.group)?)?;
                PreferencePair::new(group, chosen, rejected, pair.margin)
                    .map(RolloutOutcome::Pair)
                    .map_err(|e| InvalidMessage::new("pair", e))
            }
            Outcome::NoPair(no_pair) => {
                let reason = from_wire(&NO_PAIR, "no_pair.reason", no_pair.reason())?;
                Ok(Self::NoPair {
                    group: group(task, required("no_pair.group", no_pair.group)?)?,
                    reason,
                })
            }
            Outcome::Failed(failed) => Ok(Self::Failed {
                task,
                reason: from_wire(&FAILURE, "failed.reason", failed.reason())?,
                retryable: failed.retryable,
                detail: cut(&failed.detail, MAX_DETAIL_BYTES),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        Candidate, CandidateGroup, Digest, Finish, LearnerEpoch, PolicyVersion, Reward, Trajectory,
    };
    use proptest::prelude::*;
    use prost::Message;

    fn any_candidate(task: TaskId) -> impl Strategy<Value = Candidate> {
        let tokens = prop::collection::vec((0u32..5000, -20f32..0.0), 1..30);
        (
            tokens,
            1u64..9,
            0u64..99,
            any::<bool>(),
            any::<[u8; 32]>(),
            0u32..6,
            -9f64..9.0,
        )
            .prop_map(move |(tokens, epoch, number, stop, image, defects, reward)| {
                let (ids, log_probs) = tokens.into_iter().unzip();
                let version = PolicyVersion {
                    epoch: LearnerEpoch(epoch),
                    number,
                };
                let finish = if stop { Finish::Stop } else { Finish::Length };
                Candidate {
                    trajectory: Trajectory::new(task, version, ids, log_probs, "oak".into(), finish).unwrap(),
                    image: Digest::from_bytes(image),
                    defects,
                    reward: Reward::new(reward).unwrap(),
                }
            })
    }

    fn any_outcome() -> impl Strategy<Value = RolloutOutcome> {
        let task = TaskId(77);
        let group = prop::collection::vec(any_candidate(task), 2..5)
            .prop_map(move |c| CandidateGroup::from_candidates(task, c, Digest::from_bytes([1; 32])).unwrap())
            .boxed();
        prop_oneof![
            group.clone().prop_filter_map("equal completions", |g| {
                PreferencePair::new(g, 1, 0, 0.25).ok().map(RolloutOutcome::Pair)
            }),
            (group, 0..NO_PAIR.len()).prop_map(|(group, i)| RolloutOutcome::NoPair {
                group,
                reason: NO_PAIR[i].0
            }),
            (0..FAILURE.len(), any::<bool>(), "[a-zé]{0,40}").prop_map(move |(i, retryable, detail)| {
                RolloutOutcome::Failed {
                    task,
                    reason: FAILURE[i].0,
                    retryable,
                    detail,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_outcome_survives_the_wire(outcome in any_outcome()) {
            let bytes = pb::RolloutOutcome::from(&outcome).encode_to_vec();
            let back = pb::RolloutOutcome::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(RolloutOutcome::try_from(back).unwrap(), outcome);
        }

        #[test]
        fn no_bytes_make_the_door_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = pb::RolloutOutcome::decode(bytes.as_slice()) {
                let _ = RolloutOutcome::try_from(message);
            }
        }

        #[test]
        fn a_long_detail_is_cut_at_a_character(text in "[aé漢]{0,900}") {
            prop_assert!(text.starts_with(&cut(&text, MAX_DETAIL_BYTES)));
            prop_assert!(cut(&text, MAX_DETAIL_BYTES).len() <= MAX_DETAIL_BYTES);
        }
    }

    #[test]
    fn a_reward_that_is_no_number_is_refused_with_its_field() {
        let candidate = pb::Candidate {
            reward: f64::NAN,
            ..Default::default()
        };
        let group = pb::CandidateGroup {
            candidates: vec![candidate],
            reward_model: None,
        };
        let pair = pb::Pair {
            group: Some(group),
            ..Default::default()
        };
        let message = pb::RolloutOutcome {
            task: 1,
            outcome: Some(Outcome::Pair(pair)),
        };
        assert_eq!(
            RolloutOutcome::try_from(message).unwrap_err().field,
            "candidate.trajectory"
        );
        assert!(RolloutOutcome::try_from(pb::RolloutOutcome::default()).is_err());
    }
}
