//! From a scored group to its outcome: a pure rule.
//!
//! A candidate's score is its reward less a penalty per defect. The best and the worst of a group make the pair; what lies
//! between them is not used. With two candidates, this is CAIG's rule.

use crate::{ActorConfig, Labels, failure::Failure};
use common::{Candidate, CandidateGroup, FailureReason, NoPairReason, PreferencePair, RolloutOutcome};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// When and how two candidates become a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairingRule {
    /// Points taken per defect, in log odds.
    pub(crate) defect_penalty: f64,
    /// Smallest difference of scores, in log odds.
    pub(crate) min_margin: f64,
    /// Who prefers.
    pub(crate) labels: Labels,
}

impl From<&ActorConfig> for PairingRule {
    fn from(config: &ActorConfig) -> Self {
        Self {
            defect_penalty: config.defect_penalty,
            min_margin: config.min_margin,
            labels: config.labels,
        }
    }
}

/// The outcome of a scored group. `coin` seeds the toss of [`Labels::Random`].
pub(crate) fn rollout_outcome(group: CandidateGroup, rule: &PairingRule, coin: u64) -> RolloutOutcome {
    let scores: Vec<f64> = group
        .candidates()
        .iter()
        .map(|candidate| score(candidate, rule))
        .collect();
    let (best, worst) = extremes(&scores);
    let margin = scores[best] - scores[worst];
    let tokens = |i: usize| group.candidates()[i].trajectory.token_ids();
    if margin == 0.0 || tokens(best) == tokens(worst) {
        return RolloutOutcome::NoPair {
            group,
            reason: NoPairReason::Tie,
        };
    }
    if margin < rule.min_margin {
        return RolloutOutcome::NoPair {
            group,
            reason: NoPairReason::LowMargin,
        };
    }
    let swap = rule.labels == Labels::Random && ChaCha8Rng::seed_from_u64(coin).random::<bool>();
    let (chosen, rejected) = if swap { (worst, best) } else { (best, worst) };
    let task = group.task();
    match PreferencePair::new(group, chosen, rejected, margin) {
        Ok(pair) => RolloutOutcome::Pair(pair),
        // Two rewards so far apart that their difference is no number.
        Err(error) => Failure::lasting(FailureReason::RewardUnavailable, error).outcome(task),
    }
}

fn score(candidate: &Candidate, rule: &PairingRule) -> f64 {
    candidate.reward.value() - rule.defect_penalty * f64::from(candidate.defects)
}

/// Positions of the highest and the lowest score, the first of equals; there is at least one score.
fn extremes(scores: &[f64]) -> (usize, usize) {
    let (mut best, mut worst) = (0, 0);
    for (i, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = i;
        }
        if score < scores[worst] {
            worst = i;
        }
    }
    (best, worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Digest, Finish, LearnerEpoch, PolicyVersion, Reward, TaskId, Trajectory};

    const RULE: PairingRule = PairingRule {
        defect_penalty: 2.0,
        min_margin: 0.0,
        labels: Labels::Reward,
    };

    /// Candidates of (token, reward, defects).
    fn group(candidates: &[(u32, f64, u32)]) -> CandidateGroup {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        let build = |&(token, reward, defects): &(u32, f64, u32)| Candidate {
            trajectory: Trajectory::new(
                TaskId(5),
                version,
                vec![token],
                vec![-1.0],
                "x".into(),
                Finish::Stop,
            )
            .unwrap(),
            image: Digest::from_bytes([token as u8; 32]),
            defects,
            reward: Reward::new(reward).unwrap(),
        };
        let candidates = candidates.iter().map(build).collect();
        CandidateGroup::from_candidates(TaskId(5), candidates, Digest::from_bytes([0; 32])).unwrap()
    }

    fn pair(outcome: RolloutOutcome) -> PreferencePair {
        match outcome {
            RolloutOutcome::Pair(pair) => pair,
            other => panic!("no pair: {other:?}"),
        }
    }

    fn reason(outcome: RolloutOutcome) -> NoPairReason {
        match outcome {
            RolloutOutcome::NoPair { reason, .. } => reason,
            other => panic!("not without a pair: {other:?}"),
        }
    }

    #[test]
    fn the_best_is_preferred_to_the_worst_by_their_difference() {
        let found = pair(rollout_outcome(
            group(&[(1, 0.5, 0), (2, -1.0, 0), (3, 2.0, 0), (4, 1.0, 0)]),
            &RULE,
            0,
        ));
        assert_eq!((found.chosen_position(), found.rejected_position()), (2, 1));
        assert_eq!(found.margin(), 3.0);
    }

    #[test]
    fn a_defect_costs_more_than_the_reward_it_earned() {
        let found = pair(rollout_outcome(group(&[(1, 1.5, 1), (2, 0.0, 0)]), &RULE, 0));
        assert_eq!(found.chosen_position(), 1);
        assert_eq!(found.margin(), 0.5);
    }

    #[test]
    fn equal_scores_and_equal_completions_are_ties() {
        assert_eq!(
            reason(rollout_outcome(group(&[(1, 0.5, 0), (2, 0.5, 0)]), &RULE, 0)),
            NoPairReason::Tie
        );
        assert_eq!(
            reason(rollout_outcome(group(&[(1, 2.5, 1), (2, 0.5, 0)]), &RULE, 0)),
            NoPairReason::Tie
        );
        assert_eq!(
            reason(rollout_outcome(group(&[(7, 0.5, 0), (7, 0.9, 0)]), &RULE, 0)),
            NoPairReason::Tie
        );
    }

    #[test]
    fn a_broken_candidate_is_the_worst_of_a_group_unless_nothing_is_taken_for_defects() {
        for (defect_penalty, expected) in [(2.0, (3, 1)), (0.0, (1, 2))] {
            let rule = PairingRule {
                defect_penalty,
                ..RULE
            };
            let groups = group(&[(1, 0.5, 0), (2, 1.5, 2), (3, -1.0, 0), (4, 1.0, 0)]);
            let found = pair(rollout_outcome(groups, &rule, 0));
            assert_eq!((found.chosen_position(), found.rejected_position()), expected);
        }
    }

    #[test]
    fn a_margin_below_the_least_one_is_no_pair() {
        let rule = PairingRule {
            min_margin: 0.3,
            ..RULE
        };
        assert_eq!(
            reason(rollout_outcome(group(&[(1, 0.5, 0), (2, 0.75, 0)]), &rule, 0)),
            NoPairReason::LowMargin
        );
        assert_eq!(
            pair(rollout_outcome(group(&[(1, 0.5, 0), (2, 1.0, 0)]), &rule, 0)).chosen_position(),
            1
        );
    }

    #[test]
    fn rewards_too_far_apart_for_a_number_are_a_failure() {
        let outcome = rollout_outcome(group(&[(1, f64::MAX, 0), (2, f64::MIN, 0)]), &RULE, 0);
        assert!(
            matches!(outcome, RolloutOutcome::Failed { retryable: false, .. }),
            "{outcome:?}"
        );
    }

    #[test]
    fn random_labels_pair_the_same_two_and_prefer_either_half_of_the_time() {
        let rule = PairingRule {
            labels: Labels::Random,
            ..RULE
        };
        let groups = || group(&[(1, 0.5, 0), (2, -1.0, 0), (3, 2.0, 0)]);
        let positions = (0..1000).map(|seed| {
            let found = pair(rollout_outcome(groups(), &rule, seed));
            assert_eq!(found.margin(), 3.0);
            (found.chosen_position(), found.rejected_position())
        });
        let positions: Vec<_> = positions.collect();
        assert!(positions.iter().all(|p| [(2, 1), (1, 2)].contains(p)));
        let agreeing = positions.iter().filter(|p| **p == (2, 1)).count();
        assert!((420..580).contains(&agreeing), "{agreeing}");
        assert_eq!(
            pair(rollout_outcome(groups(), &rule, 3)),
            pair(rollout_outcome(groups(), &rule, 3))
        );
    }
}
