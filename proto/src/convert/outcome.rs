//! How leases end.

use super::{InvalidMessage, candidate::group, from_wire, required, to_wire};
use crate::pb;
use common::{Blame, FailureReason, NoPairReason, PreferencePair, RolloutOutcome, TaskId};
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

/// What a failure says of its task. What a later version of the program may say is the task's.
fn blame(message: pb::Blame) -> Blame {
    match message {
        pb::Blame::Unspecified => Blame::Task,
        pb::Blame::Service => Blame::Service,
        pb::Blame::FullService => Blame::FullService,
    }
}

fn blame_to_wire(blame: Blame) -> pb::Blame {
    match blame {
        Blame::Task => pb::Blame::Unspecified,
        Blame::Service => pb::Blame::Service,
        Blame::FullService => pb::Blame::FullService,
    }
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
                blame,
                detail,
                ..
            } => Outcome::Failed(pb::Failed {
                reason: to_wire(&FAILURE, *reason).into(),
                retryable: *retryable,
                detail: cut(detail, MAX_DETAIL_BYTES),
                blame: blame_to_wire(*blame).into(),
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
                let group = group(task, required("no_pair.group", no_pair.group)?)?;
                if group.is_abstention() && reason != NoPairReason::Abstained {
                    let found = "no candidate is scored by the reward model that is named, and the reason is not that it abstained";
                    return Err(InvalidMessage::new("no_pair.reason", found));
                }
                Ok(Self::NoPair { group, reason })
            }
            Outcome::Failed(failed) => Ok(Self::Failed {
                task,
                reason: from_wire(&FAILURE, "failed.reason", failed.reason())?,
                retryable: failed.retryable,
                blame: blame(failed.blame()),
                detail: cut(&failed.detail, MAX_DETAIL_BYTES),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        Barred, CandidateGroup, CandidateImage, Digest, Finish, Guardrail, LearnerEpoch, PolicyVersion,
        ProductId, ProductTask, Reward, Sides, Trajectory,
    };
    use proptest::prelude::*;
    use prost::Message;

    /// A completion, what became of it and the reward it would get.
    fn any_candidate() -> impl Strategy<Value = (Trajectory, CandidateImage, Reward)> {
        let tokens = prop::collection::vec((0u32..5000, -20f32..0.0), 1..30);
        let barred = (
            prop::sample::select(&Guardrail::ALL[..]),
            prop::option::of(-9f64..9.0),
        );
        (
            (tokens, 1u64..9, 0u64..99, any::<bool>()),
            (any::<[u8; 32]>(), any::<bool>(), 0u32..6),
            prop::option::weighted(0.3, barred),
            (-9f64..9.0, prop::option::of((-9f64..9.0, -9f64..9.0))),
        )
            .prop_map(
                |((tokens, epoch, number, stop), (image, made, defects), barred, (reward, sides))| {
                    let (ids, log_probs) = tokens.into_iter().unzip();
                    let epoch = LearnerEpoch(epoch);
                    let version = PolicyVersion { epoch, number };
                    let finish = if stop { Finish::Stop } else { Finish::Length };
                    let trajectory = Trajectory::new(TASK, version, ids, log_probs, "oak".into(), finish);
                    let barred = barred.map(|(guardrail, measured)| Barred { guardrail, measured });
                    let image = CandidateImage {
                        digest: (made || barred.is_none()).then_some(Digest::from_bytes(image)),
                        defects,
                        barred,
                    };
                    let reward = Reward::new(reward).unwrap();
                    let sides = sides.map(|(left, right)| Sides { left, right });
                    let reward = sides.map_or(reward, |sides| reward.with_sides(sides).unwrap());
                    (trajectory.unwrap(), image, reward)
                },
            )
    }

    const TASK: TaskId = TaskId(77);

    fn any_group() -> impl Strategy<Value = CandidateGroup> {
        prop::collection::vec(any_candidate(), 2..6).prop_map(|candidates| {
            let usable = candidates.iter().filter(|(_, image, _)| image.barred.is_none());
            let rewards: Vec<Reward> = usable.map(|(_, _, reward)| *reward).collect();
            let scored = (rewards.len() >= 2).then(|| (rewards, Digest::from_bytes([1; 32])));
            let (trajectories, images) = candidates.into_iter().map(|(t, image, _)| (t, image)).unzip();
            let task = ProductTask {
                id: TASK,
                product: ProductId::new("lamp").unwrap(),
                caption: String::new(),
                instruction: String::new(),
                image: Digest::from_bytes([1; 32]),
            };
            CandidateGroup::new(&task, trajectories, images, scored).unwrap()
        })
    }

    fn any_outcome() -> impl Strategy<Value = RolloutOutcome> {
        let (task, group) = (TASK, any_group().boxed());
        prop_oneof![
            group
                .clone()
                .prop_filter_map("no two different scored completions", |g| {
                    let scored: Vec<usize> = g.scored().map(|(position, _, _)| position).collect();
                    let (chosen, rejected) = (*scored.last()?, *scored.first()?);
                    PreferencePair::new(g, chosen, rejected, 0.25)
                        .ok()
                        .map(RolloutOutcome::Pair)
                }),
            (group, 0..NO_PAIR.len()).prop_map(|(group, i)| RolloutOutcome::NoPair {
                group,
                reason: NO_PAIR[i].0
            }),
            (0..FAILURE.len(), any::<bool>(), 0..3, "[a-zé]{0,40}").prop_map(
                move |(i, retryable, whose, detail)| {
                    RolloutOutcome::Failed {
                        task,
                        reason: FAILURE[i].0,
                        retryable,
                        blame: blame(pb::Blame::try_from(whose).unwrap()),
                        detail,
                    }
                }
            ),
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

    fn refused(candidate: pb::Candidate) -> InvalidMessage {
        let good = pb::Candidate {
            reward: 0.5,
            barred: None,
            unscored: false,
            ..candidate.clone()
        };
        let group = pb::CandidateGroup {
            candidates: vec![candidate, good],
            reward_model: Some(Digest::from_bytes([1; 32]).into()),
            confidence: None,
        };
        let pair = pb::Pair {
            group: Some(group),
            chosen: 1,
            ..Default::default()
        };
        let outcome = Some(Outcome::Pair(pair));
        RolloutOutcome::try_from(pb::RolloutOutcome { task: 1, outcome }).unwrap_err()
    }

    #[test]
    fn i8_a_candidate_without_a_reward_says_why_and_nothing_else() {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        let (ids, log_probs) = (vec![5], vec![-0.5]);
        let trajectory =
            Trajectory::new(TaskId(1), version, ids, log_probs, "x".into(), Finish::Stop).unwrap();
        let candidate = |reward, guardrail: Option<i32>, measured, unscored| pb::Candidate {
            trajectory: Some((&trajectory).into()),
            image: Some(Digest::from_bytes([2; 32]).into()),
            defects: 0,
            reward,
            barred: guardrail.map(|guardrail| pb::Barred { guardrail, measured }),
            unscored,
            sides: None,
        };
        let blank = Some(pb::Guardrail::Blank.into());
        for (message, field) in [
            (candidate(f64::NAN, None, None, false), "candidate.reward"),
            (candidate(0.5, blank, None, false), "candidate"),
            (candidate(0.5, None, None, true), "candidate"),
            (candidate(f64::NAN, blank, None, true), "candidate"),
            (candidate(f64::NAN, Some(0), None, false), "barred.guardrail"),
            (candidate(f64::NAN, Some(99), None, false), "barred.guardrail"),
            (
                candidate(f64::NAN, blank, Some(f64::INFINITY), false),
                "barred.measured",
            ),
            // One alone is not scored.
            (candidate(f64::NAN, blank, Some(0.5), false), "group"),
        ] {
            assert_eq!(refused(message.clone()).field, field, "{message:?}");
        }
        let sided = pb::Candidate {
            sides: Some(pb::Sides::default()),
            ..candidate(f64::NAN, blank, None, false)
        };
        assert_eq!(refused(sided).field, "candidate");
        let pictureless = pb::Candidate {
            image: None,
            ..candidate(0.5, None, None, false)
        };
        assert_eq!(refused(pictureless).field, "candidate.image");
        assert_eq!(refused(pb::Candidate::default()).field, "candidate.trajectory");
        assert!(RolloutOutcome::try_from(pb::RolloutOutcome::default()).is_err());
    }

    #[test]
    fn an_abstention_names_its_model_and_is_taken_for_nothing_else() {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        let trajectory =
            |token| Trajectory::new(TASK, version, vec![token], vec![-0.5], "x".into(), Finish::Stop);
        let image = CandidateImage {
            digest: Some(Digest::from_bytes([2; 32])),
            defects: 0,
            barred: None,
        };
        let task = ProductTask {
            id: TASK,
            product: ProductId::new("lamp").unwrap(),
            caption: String::new(),
            instruction: String::new(),
            image: Digest::from_bytes([1; 32]),
        };
        let trajectories = [5, 6].map(|token| trajectory(token).unwrap()).to_vec();
        let model = Digest::from_bytes([3; 32]);
        let group =
            CandidateGroup::abstained(&task, trajectories, vec![image; 2], model, Some(0.55)).unwrap();
        let reason = NoPairReason::Abstained;
        let outcome = RolloutOutcome::NoPair { group, reason };
        let message = pb::RolloutOutcome::from(&outcome);
        assert_eq!(RolloutOutcome::try_from(message.clone()).unwrap(), outcome);
        let changed = |change: fn(&mut pb::NoPair)| {
            let mut message = message.clone();
            let Some(Outcome::NoPair(no_pair)) = &mut message.outcome else {
                panic!("{message:?}")
            };
            change(no_pair);
            RolloutOutcome::try_from(message).unwrap_err().field
        };
        assert_eq!(
            changed(|no_pair| no_pair.set_reason(pb::NoPairReason::Tie)),
            "no_pair.reason"
        );
        assert_eq!(
            changed(|no_pair| no_pair.group.as_mut().unwrap().reward_model = None),
            "group"
        );
        assert_eq!(
            changed(|no_pair| no_pair.group.as_mut().unwrap().confidence = Some(1.5)),
            "group"
        );
    }
}
