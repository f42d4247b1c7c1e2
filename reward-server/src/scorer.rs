//! Scores of candidate groups: the pure computation, and the thread that owns the model while it is served.
//!
//! The groups of one request go through the network together; those of different requests never do, so that a score does
//! not depend on who else asks. A score that cannot be computed is a [`ScoreFailure`], never a number.

use crate::config::RewardServerConfig;
use crate::error::RewardError;
use crate::orientation::OrientedMargins;
use crate::served::{CreativeGroup, Preparation, RawScores, ServedModel};
use common::Digest;
use models::compute_thread::{ComputeError, ComputeThread};
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
    score_prepared(model, groups.iter().map(prepare).collect(), max_batch)
}

/// A model behind its thread.
pub(crate) struct Scorer<M: ServedModel> {
    thread: ComputeThread<M>,
    preparation: Preparation<M::Creative>,
    digest: Digest,
    form: String,
    max_batch: usize,
    min_confidence: f64,
}

impl<M: ServedModel> Scorer<M> {
    pub(crate) fn new(model: M, config: &RewardServerConfig) -> Result<Self, RewardError> {
        Ok(Self {
            preparation: model.preparation(),
            digest: model.digest()?,
            form: model.form(),
            max_batch: config.max_batch,
            min_confidence: config.min_confidence,
            thread: ComputeThread::spawn("reward-model", config.queue, move || Ok::<_, RewardError>(model))?,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn form(&self) -> &str {
        &self.form
    }

    pub(crate) fn preparation(&self) -> &Preparation<M::Creative> {
        &self.preparation
    }

    /// Scores the groups of one request; groups that could not be prepared keep their failure.
    pub(crate) async fn score(
        &self,
        groups: Vec<Result<CreativeGroup<M::Creative>, ScoreFailure>>,
    ) -> Result<Vec<ScoreResult>, ComputeError> {
        let max_batch = self.max_batch;
        let mut failures = Vec::with_capacity(groups.len());
        let mut prepared = Vec::with_capacity(groups.len());
        for group in groups {
            match group {
                Ok(group) => {
                    prepared.push(group);
                    failures.push(None);
                }
                Err(failure) => failures.push(Some(failure)),
            }
        }
        let scored = match prepared.is_empty() {
            true => vec![],
            false => {
                self.thread
                    .call(move |model| score_prepared(model, prepared, max_batch))
                    .await?
            }
        };
        let mut scored = scored.into_iter().map(|result| self.abstain(result));
        let next = || Err(ScoreFailure::unanswered());
        Ok(failures
            .into_iter()
            .map(|failure| failure.map_or_else(|| scored.next().unwrap_or_else(next), Err))
            .collect())
    }

    fn abstain(&self, result: ScoreResult) -> ScoreResult {
        let minimum = self.min_confidence;
        result.and_then(|scores| match scores.confidence < minimum {
            true => Err(ScoreFailure::Abstained {
                confidence: scores.confidence,
                minimum,
            }),
            false => Ok(scores),
        })
    }
}

fn score_prepared<M: ServedModel>(
    model: &M,
    groups: Vec<CreativeGroup<M::Creative>>,
    max_batch: usize,
) -> Vec<ScoreResult> {
    let calibration = model.calibration();
    model
        .raw_scores(groups, max_batch)
        .into_iter()
        .map(|raw| group_scores(raw?, &calibration))
        .collect()
}

fn group_scores(raw: RawScores, calibration: &Calibration) -> ScoreResult {
    let RawScores { scores, margins } = raw;
    if let Some(position) = scores.iter().position(|score| !score.is_finite()) {
        let reason = format!("creative {position} scored {}", scores[position]);
        return Err(ScoreFailure::Model { reason });
    }
    Ok(GroupScores {
        confidence: confidence(&scores, &margins, calibration),
        orientation_flips: margins.flip_share(),
        rewards: scores
            .iter()
            .map(|score| score * calibration.reward_scale)
            .collect(),
    })
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
        assert_eq!(scores.orientation_flips, 0.0);
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
        let failure = group_scores(raw, &Calibration::default()).unwrap_err();
        assert!(matches!(failure, ScoreFailure::Model { .. }), "{failure}");
    }

    #[tokio::test]
    async fn failures_keep_their_place_among_scored_groups() {
        let model = model(CtrForm::Siamese, 3);
        let prepared = |shades: [u8; 2]| CreativeGroup {
            caption: String::new(),
            creatives: shades
                .iter()
                .map(|shade| RewardModel::pixels(&model.processor, &flat(*shade)))
                .collect(),
        };
        let broken = ScoreFailure::InvalidImage {
            position: 1,
            reason: "no image".into(),
        };
        let request = vec![
            Ok(prepared([1, 250])),
            Err(broken.clone()),
            Ok(prepared([250, 1])),
        ];
        let scorer = Scorer::new(model, &RewardServerConfig::default()).unwrap();
        let answer = scorer.score(request).await.unwrap();
        assert_eq!(answer[1], Err(broken));
        let (first, last) = (answer[0].as_ref().unwrap(), answer[2].as_ref().unwrap());
        assert_eq!(first.rewards[0], last.rewards[1]);
    }

    #[tokio::test]
    async fn an_answer_below_the_asked_confidence_is_an_abstention() {
        let model = model(CtrForm::Siamese, 3);
        let same = CreativeGroup {
            caption: String::new(),
            creatives: vec![RewardModel::pixels(&model.processor, &flat(9)); 2],
        };
        let config = RewardServerConfig {
            min_confidence: 0.51,
            ..RewardServerConfig::default()
        };
        let answer = Scorer::new(model, &config)
            .unwrap()
            .score(vec![Ok(same)])
            .await
            .unwrap();
        assert_eq!(
            answer,
            [Err(ScoreFailure::Abstained {
                confidence: 0.5,
                minimum: 0.51
            })]
        );
    }
}
