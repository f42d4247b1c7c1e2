//! Scores of candidate groups: the pure computation. A score that cannot be computed is a [`ScoreFailure`], never a number.

use crate::orientation::OrientedMargins;
use crate::served::{CreativeGroup, RawScores, ServedModel};
use common::Sides;
use models::ctr::Calibration;
use std::fmt;

/// What the model says of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScores {
    /// One finite reward a creative, in log odds of a click up to a constant per product. For the models that only
    /// compare (`concat`, `caig`), they are centred on 0.
    pub rewards: Vec<f64>,
    /// Calibrated probability that the best creative beats the worst, 0.5 to 1.
    pub confidence: f64,
    /// The share of pairs whose preference flips when the two change places.
    pub orientation_flips: f64,
    /// What was said of each creative on either side, in the unit of the rewards; `None` when sides made no difference.
    pub sides: Option<Vec<Sides>>,
}

/// Why a group has no scores.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScoreFailure {
    /// A picture is none.
    #[error("image {position}: {reason}")]
    InvalidImage {
        /// Its place in the group, from 0.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The model failed or gave no finite number.
    #[error("the reward model gave no number: {reason}")]
    Model {
        /// What happened.
        reason: String,
    },
    /// The model does not trust its own answer.
    #[error("abstained: confidence {confidence:.3} is below {minimum}")]
    Abstained {
        /// The probability that the best creative beats the worst.
        confidence: f64,
        /// What is asked for.
        minimum: f64,
    },
}

/// A group's scores, or why there are none.
pub type ScoreResult = Result<GroupScores, ScoreFailure>;

impl ScoreFailure {
    /// The model gave an error.
    pub(crate) fn of_model(error: impl fmt::Display) -> Self {
        Self::Model {
            reason: error.to_string(),
        }
    }

    /// The model gave fewer answers than there were groups.
    pub(crate) fn unanswered() -> Self {
        Self::of_model("no answer for this group")
    }
}

impl GroupScores {
    /// The scores, unless the model trusts them less than `minimum`.
    ///
    /// # Errors
    /// [`ScoreFailure::Abstained`].
    pub(crate) fn trusted(self, minimum: f64) -> ScoreResult {
        match self.confidence < minimum {
            true => Err(ScoreFailure::Abstained {
                confidence: self.confidence,
                minimum,
            }),
            false => Ok(self),
        }
    }
}

/// Scores groups on the calling thread, at most `max_batch` creatives or ordered pairs in one pass.
pub fn score_groups<M: ServedModel>(
    model: &M,
    groups: &[CreativeGroup],
    max_batch: usize,
) -> Vec<ScoreResult> {
    let preparation = model.preparation();
    let prepare = |group: &CreativeGroup| CreativeGroup {
        caption: group.caption.clone(),
        creatives: group
            .creatives
            .iter()
            .map(|creative| preparation(creative))
            .collect(),
    };
    score_prepared(model, &groups.iter().map(prepare).collect::<Vec<_>>(), max_batch)
}

/// Scores prepared groups on the calling thread; as many results as groups.
pub(crate) fn score_prepared<M: ServedModel>(
    model: &M,
    groups: &[CreativeGroup<M::Creative>],
    max_batch: usize,
) -> Vec<ScoreResult> {
    let calibration = model.calibration();
    let mut raw = model.raw_scores(groups, max_batch).into_iter();
    let mut scores = |group: &CreativeGroup<M::Creative>| {
        let raw = raw.next().unwrap_or_else(|| Err(ScoreFailure::unanswered()))?;
        group_scores(raw, group.creatives.len(), &calibration)
    };
    groups.iter().map(&mut scores).collect()
}

fn group_scores(raw: RawScores, creatives: usize, calibration: &Calibration) -> ScoreResult {
    let RawScores { scores, margins } = raw;
    if scores.len() != creatives {
        let reason = format!("{} scores for {creatives} creatives", scores.len());
        return Err(ScoreFailure::Model { reason });
    }
    let rewards: Vec<f64> = scores
        .iter()
        .map(|score| score * calibration.reward_scale)
        .collect();
    if let Some(position) = rewards.iter().position(|reward| !reward.is_finite()) {
        let reason = format!("creative {position} scored {}", rewards[position]);
        return Err(ScoreFailure::Model { reason });
    }
    Ok(GroupScores {
        confidence: confidence(&scores, &margins, calibration),
        orientation_flips: margins.flip_share(),
        sides: margins
            .sides()
            .map(|sides| scaled(&sides, calibration.reward_scale)),
        rewards,
    })
}

fn scaled(sides: &[Sides], scale: f64) -> Vec<Sides> {
    let scaled = |&Sides { left, right }: &Sides| Sides {
        left: left * scale,
        right: right * scale,
    };
    sides.iter().map(scaled).collect()
}

/// Probability that the creative of the highest score beats that of the lowest, never below a coin's.
fn confidence(scores: &[f64], margins: &OrientedMargins, calibration: &Calibration) -> f64 {
    let by_score = |a: &usize, b: &usize| scores[*a].total_cmp(&scores[*b]);
    let best = (0..scores.len()).max_by(by_score);
    let worst = (0..scores.len()).min_by(by_score);
    let margin = best
        .zip(worst)
        .map_or(0.0, |(best, worst)| margins.margin(best, worst));
    calibration.probability(margin).max(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy_log::{flat, model};
    use models::ctr::{CtrForm, RewardModel};

    fn group(caption: &str, shades: &[u8]) -> CreativeGroup {
        CreativeGroup {
            caption: caption.into(),
            creatives: shades.iter().map(|shade| flat(*shade)).collect(),
        }
    }

    fn all(model: &RewardModel, groups: &[CreativeGroup], max_batch: usize) -> Vec<GroupScores> {
        score_groups(model, groups, max_batch)
            .into_iter()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn scores_depend_on_neither_the_other_groups_nor_the_chunk_size() {
        let groups = [
            group("red chair", &[10, 200]),
            group("", &[90, 30, 250]),
            group("blue lamp", &[5, 6]),
        ];
        for form in [CtrForm::Siamese, CtrForm::Concat] {
            let model = model(form, 3);
            let together = all(&model, &groups, 256);
            for max_batch in [1, 2, 256] {
                for (group, expected) in groups.iter().zip(&together) {
                    let alone = &all(&model, std::slice::from_ref(group), max_batch)[0];
                    assert_eq!(alone.rewards.len(), group.creatives.len());
                    for (a, b) in alone.rewards.iter().zip(&expected.rewards) {
                        assert!((a - b).abs() < 1e-5, "{form}: {alone:?} is not {expected:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_siamese_group_never_flips_and_keeps_its_order_when_reversed() {
        let model = model(CtrForm::Siamese, 3);
        let scores = all(&model, &[group("red chair", &[10, 90, 200])], 256).remove(0);
        let mut reversed = all(&model, &[group("red chair", &[200, 90, 10])], 256).remove(0);
        reversed.rewards.reverse();
        assert_eq!((scores.orientation_flips, scores.sides), (0.0, None));
        assert_eq!(scores.rewards, reversed.rewards);
    }

    #[test]
    fn concat_rewards_do_not_depend_on_the_order_of_the_group() {
        let model = model(CtrForm::Concat, 3);
        let scores = all(&model, &[group("red chair", &[10, 90, 200])], 256).remove(0);
        let reversed = all(&model, &[group("red chair", &[200, 90, 10])], 256).remove(0);
        for (a, b) in scores.rewards.iter().zip(reversed.rewards.iter().rev()) {
            assert!((a - b).abs() < 1e-5, "{scores:?} {reversed:?}");
        }
        assert!(scores.rewards.iter().sum::<f64>().abs() < 1e-5);
        for (reward, side) in scores.rewards.iter().zip(scores.sides.unwrap()) {
            assert!((reward - (side.left + side.right) / 2.0).abs() < 1e-5);
        }
    }

    #[test]
    fn confidence_is_that_of_the_best_against_the_worst() {
        let model = model(CtrForm::Siamese, 3);
        let scores = all(&model, &[group("red chair", &[10, 90, 200])], 256).remove(0);
        let spread = scores.rewards.iter().fold(f64::MIN, |a, b| a.max(*b))
            - scores.rewards.iter().fold(f64::MAX, |a, b| a.min(*b));
        let raw_margin = spread / model.calibration.reward_scale;
        assert!((scores.confidence - model.calibration.probability(raw_margin)).abs() < 1e-9);
        assert!(scores.confidence > 0.5);
    }

    #[test]
    fn a_score_that_is_no_number_is_a_failure_of_its_group() {
        let raw = RawScores {
            scores: vec![0.0, f64::NAN],
            margins: OrientedMargins::new(2, |_, _| 0.0),
        };
        let failure = group_scores(raw.clone(), 2, &Calibration::default()).unwrap_err();
        assert!(matches!(failure, ScoreFailure::Model { .. }), "{failure}");
        let boundless = Calibration {
            reward_scale: f64::INFINITY,
            ..Calibration::default()
        };
        let finite = RawScores {
            scores: vec![1.0, 2.0],
            ..raw.clone()
        };
        assert!(group_scores(finite, 2, &boundless).is_err());
        let failure = group_scores(raw, 3, &Calibration::default()).unwrap_err();
        assert!(failure.to_string().contains("2 scores for 3"), "{failure}");
    }

    #[test]
    fn an_answer_below_the_asked_confidence_is_an_abstention() {
        let model = model(CtrForm::Siamese, 3);
        let same = all(&model, &[group("", &[9, 9])], 256).remove(0);
        assert_eq!(same.clone().trusted(0.5), Ok(same.clone()));
        let abstained = ScoreFailure::Abstained {
            confidence: 0.5,
            minimum: 0.51,
        };
        assert_eq!(same.trusted(0.51), Err(abstained));
    }
}
