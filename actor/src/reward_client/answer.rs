//! The reward-server's answer, checked: one typed result a group, or what is wrong with it.

use super::{Abstention, GroupRewards};
use crate::failure::{Failure, PerTask};
use common::{Digest, FailureReason};
use proto::{
    InvalidMessage,
    pb::{self, group_score},
    required, reward,
};

/// The model that computed an answer.
pub(crate) fn model_of(response: &pb::ScoreGroupsResponse) -> Result<Digest, InvalidMessage> {
    required(
        "score_groups_response.reward_model",
        response.reward_model.clone(),
    )?
    .try_into()
}

/// The results of groups with so many `images` each.
pub(crate) fn results(
    model: Digest,
    images: &[usize],
    response: pb::ScoreGroupsResponse,
) -> Result<PerTask<GroupRewards>, InvalidMessage> {
    if response.scores.len() != images.len() {
        let reason = format!("{} for {} groups", response.scores.len(), images.len());
        return Err(InvalidMessage::new("score_groups_response.scores", reason));
    }
    response
        .scores
        .into_iter()
        .zip(images)
        .map(|(score, images)| group_result(score, *images, model))
        .collect()
}

fn group_result(
    score: pb::GroupScore,
    images: usize,
    model: Digest,
) -> Result<Result<GroupRewards, Failure>, InvalidMessage> {
    match required("group_score.result", score.result)? {
        group_score::Result::Failure(failure) if failure.reason() == pb::ScoreFailureReason::Abstained => {
            abstention(failure.confidence).map(|abstention| {
                Ok(GroupRewards {
                    rewards: Err(abstention),
                    model,
                })
            })
        }
        group_score::Result::Failure(failure) => Ok(Err(score_failure(&failure))),
        group_score::Result::Scores(scores) if scores.rewards.len() != images => {
            let reason = format!("{} for {images} images", scores.rewards.len());
            Err(InvalidMessage::new("scores.rewards", reason))
        }
        group_score::Result::Scores(scores) => {
            let sides = scores.sides;
            if !sides.is_empty() && sides.len() != images {
                let reason = format!("{} for {images} images", sides.len());
                return Err(InvalidMessage::new("scores.sides", reason));
            }
            let rewards = scores.rewards.into_iter().enumerate();
            let rewards = rewards.map(|(place, value)| reward("scores.rewards", value, sides.get(place)));
            let rewards = rewards.collect::<Result<_, _>>()?;
            Ok(Ok(GroupRewards {
                rewards: Ok(rewards),
                model,
            }))
        }
    }
}

/// An abstention is an answer: the same images would meet it again.
fn abstention(confidence: Option<f64>) -> Result<Abstention, InvalidMessage> {
    match confidence.filter(|confidence| !(0.0..=1.0).contains(confidence)) {
        Some(none) => {
            let reason = format!("{none} is not a probability, 0 to 1");
            Err(InvalidMessage::new("score_failure.confidence", reason))
        }
        None => Ok(Abstention { confidence }),
    }
}

/// Invalid images would come again; a model's failure may pass.
fn score_failure(failure: &pb::ScoreFailure) -> Failure {
    let reason = FailureReason::RewardUnavailable;
    let said = proto::said(&failure.detail).unwrap_or_default();
    let detail = format!("{}: {said}", failure.reason().as_str_name());
    match failure.reason() {
        pb::ScoreFailureReason::InvalidImage => Failure::lasting(reason, detail),
        _ => Failure::retryable(reason, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{RolloutOutcome, TaskId};

    fn response(scores: Vec<group_score::Result>) -> pb::ScoreGroupsResponse {
        let scores = scores
            .into_iter()
            .map(|result| pb::GroupScore { result: Some(result) })
            .collect();
        pb::ScoreGroupsResponse {
            scores,
            reward_model: Some(Digest::from_bytes([4; 32]).into()),
            ..Default::default()
        }
    }

    fn checked(
        images: &[usize],
        response: pb::ScoreGroupsResponse,
    ) -> Result<PerTask<GroupRewards>, InvalidMessage> {
        results(model_of(&response)?, images, response)
    }

    fn rewards(rewards: &[f64]) -> group_score::Result {
        group_score::Result::Scores(pb::Scores {
            rewards: rewards.to_vec(),
            ..Default::default()
        })
    }

    fn refusal(reason: pb::ScoreFailureReason) -> group_score::Result {
        group_score::Result::Failure(pb::ScoreFailure {
            reason: reason.into(),
            detail: "because".into(),
            confidence: None,
        })
    }

    #[test]
    fn i8_a_score_that_was_not_computed_is_a_failure_and_never_a_number() {
        let found = checked(
            &[2, 2],
            response(vec![
                rewards(&[0.5, -1.0]),
                refusal(pb::ScoreFailureReason::Model),
            ]),
        );
        let found = found.unwrap();
        let scored = found[0].as_ref().unwrap().rewards.as_ref().unwrap();
        assert_eq!(scored[1].value(), -1.0);
        let outcome = found[1].clone().unwrap_err().outcome(TaskId(1));
        assert!(matches!(
            outcome,
            RolloutOutcome::Failed {
                reason: FailureReason::RewardUnavailable,
                retryable: true,
                ..
            }
        ));
    }

    #[test]
    fn an_invalid_image_is_not_tried_again() {
        let found = checked(
            &[2],
            response(vec![refusal(pb::ScoreFailureReason::InvalidImage)]),
        )
        .unwrap();
        let outcome = found[0].clone().unwrap_err().outcome(TaskId(1));
        assert!(
            matches!(outcome, RolloutOutcome::Failed { retryable: false, detail, .. } if detail.contains("because"))
        );
    }

    #[test]
    fn i8_an_abstention_is_an_answer_of_its_model_without_a_number() {
        let abstained = |confidence| {
            let failure = pb::ScoreFailure {
                reason: pb::ScoreFailureReason::Abstained.into(),
                confidence,
                ..Default::default()
            };
            checked(&[2], response(vec![group_score::Result::Failure(failure)]))
        };
        for confidence in [Some(0.55), None] {
            let expected = GroupRewards {
                rewards: Err(Abstention { confidence }),
                model: Digest::from_bytes([4; 32]),
            };
            assert_eq!(abstained(confidence).unwrap(), [Ok(expected)]);
        }
        assert!(abstained(Some(f64::NAN)).is_err() && abstained(Some(1.5)).is_err());
    }

    #[test]
    fn answers_that_do_not_fit_the_question_are_malformed() {
        for (images, answer) in [
            (vec![2, 2], response(vec![rewards(&[0.0, 1.0])])),
            (vec![2], response(vec![rewards(&[0.0])])),
            (vec![2], response(vec![rewards(&[0.0, f64::NAN])])),
            (vec![2], response(vec![rewards(&[0.0, f64::INFINITY])])),
            (vec![2], response(vec![rewards(&[0.0, 1.0]); 2])),
            (
                vec![2],
                pb::ScoreGroupsResponse {
                    reward_model: None,
                    ..response(vec![rewards(&[0.0, 1.0])])
                },
            ),
        ] {
            assert!(checked(&images, answer.clone()).is_err(), "{answer:?}");
        }
    }
}
