//! From a scored group to its outcome: a pure rule.
//!
//! A candidate's score is its reward less a penalty per defect. The best and the worst of the contenders make the pair; what
//! lies between them is not used. With two candidates, this is CAIG's rule.
//!
//! In a large group the worst is nearly always a broken one, and a policy that only hears of its broken descriptions learns
//! nothing of the reward. So two candidates are drawn: is one of them broken, it contends with the best whole one, otherwise
//! the whole ones contend. Pairs then teach the syntax as often as they do in groups of two.

use crate::{ActorConfig, Labels, failure::Failure};
use common::{Candidate, CandidateGroup, FailureReason, NoPairReason, PreferencePair, RolloutOutcome};
use rand::seq::index;
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

/// The seeds of one group's draws.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairingSeeds {
    /// Of the candidate that decides who contends.
    pub(crate) contenders: u64,
    /// Of the coin of [`Labels::Random`].
    pub(crate) coin: u64,
}

/// The outcome of a scored group.
pub(crate) fn rollout_outcome(
    group: CandidateGroup,
    rule: &PairingRule,
    seeds: PairingSeeds,
) -> RolloutOutcome {
    let scores: Vec<f64> = group
        .candidates()
        .iter()
        .map(|candidate| score(candidate, rule))
        .collect();
    let (best, worst) = extremes(
        &contenders(group.candidates(), &scores, rule, seeds.contenders),
        &scores,
    );
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
    let swap = rule.labels == Labels::Random && ChaCha8Rng::seed_from_u64(seeds.coin).random::<bool>();
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

/// Positions of those of whom the best and the worst make the pair: all, where fewer than two are whole or nothing is taken
/// for a defect; otherwise by the draw.
fn contenders(candidates: &[Candidate], scores: &[f64], rule: &PairingRule, seed: u64) -> Vec<usize> {
    let everyone = 0..candidates.len();
    let broken = |i: &usize| rule.defect_penalty > 0.0 && candidates[*i].defects > 0;
    let whole: Vec<usize> = everyone.clone().filter(|i| !broken(i)).collect();
    if whole.len() < 2 {
        return everyone.collect();
    }
    let two = index::sample(&mut ChaCha8Rng::seed_from_u64(seed), candidates.len(), 2);
    match two.into_iter().find(broken) {
        Some(broken) => vec![extremes(&whole, scores).0, broken],
        None => whole,
    }
}

/// Those of `positions` (one or more) with the highest and the lowest score, the first of equals.
fn extremes(positions: &[usize], scores: &[f64]) -> (usize, usize) {
    let (mut best, mut worst) = (positions[0], positions[0]);
    for &i in positions {
        if scores[i] > scores[best] {
            best = i;
        }
        if scores[i] < scores[worst] {
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

    fn seeds(seed: u64) -> PairingSeeds {
        PairingSeeds {
            contenders: seed,
            coin: seed,
        }
    }

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
            seeds(0),
        ));
        assert_eq!((found.chosen_position(), found.rejected_position()), (2, 1));
        assert_eq!(found.margin(), 3.0);
    }

    #[test]
    fn a_defect_costs_more_than_the_reward_it_earned() {
        let found = pair(rollout_outcome(
            group(&[(1, 1.5, 1), (2, 0.0, 0)]),
            &RULE,
            seeds(0),
        ));
        assert_eq!(found.chosen_position(), 1);
        assert_eq!(found.margin(), 0.5);
    }

    #[test]
    fn equal_scores_and_equal_completions_are_ties() {
        assert_eq!(
            reason(rollout_outcome(
                group(&[(1, 0.5, 0), (2, 0.5, 0)]),
                &RULE,
                seeds(0)
            )),
            NoPairReason::Tie
        );
        assert_eq!(
            reason(rollout_outcome(
                group(&[(1, 2.5, 1), (2, 0.5, 0)]),
                &RULE,
                seeds(0)
            )),
            NoPairReason::Tie
        );
        assert_eq!(
            reason(rollout_outcome(
                group(&[(7, 0.5, 0), (7, 0.9, 0)]),
                &RULE,
                seeds(0)
            )),
            NoPairReason::Tie
        );
    }

    #[test]
    fn broken_candidates_lose_as_often_as_in_groups_of_two() {
        let groups = || group(&[(1, 0.5, 0), (2, 3.0, 2), (3, -1.0, 0), (4, 1.0, 0)]);
        let pairs = (0..1000).map(|seed| pair(rollout_outcome(groups(), &RULE, seeds(seed))));
        let rejected: Vec<usize> = pairs
            .map(|pair| {
                assert_eq!(pair.chosen_position(), 3);
                pair.rejected_position()
            })
            .collect();
        assert!(rejected.iter().all(|position| [1, 2].contains(position)));
        let broken = rejected.iter().filter(|position| **position == 1).count();
        assert!(
            (430..570).contains(&broken),
            "{broken} of 1000, half of them expected"
        );
    }

    #[test]
    fn one_whole_candidate_is_preferred_to_the_worst_broken_one() {
        for seed in 0..20 {
            let groups = group(&[(1, 0.5, 1), (2, -1.0, 0), (3, 0.4, 3)]);
            let found = pair(rollout_outcome(groups, &RULE, seeds(seed)));
            assert_eq!((found.chosen_position(), found.rejected_position()), (1, 2));
        }
    }

    #[test]
    fn without_a_penalty_defects_do_not_matter() {
        let rule = PairingRule {
            defect_penalty: 0.0,
            ..RULE
        };
        for seed in 0..20 {
            let groups = group(&[(1, 0.5, 0), (2, 3.0, 2), (3, -1.0, 0), (4, 1.0, 1)]);
            let found = pair(rollout_outcome(groups, &rule, seeds(seed)));
            assert_eq!((found.chosen_position(), found.rejected_position()), (1, 2));
        }
    }

    #[test]
    fn a_margin_below_the_least_one_is_no_pair() {
        let rule = PairingRule {
            min_margin: 0.3,
            ..RULE
        };
        assert_eq!(
            reason(rollout_outcome(
                group(&[(1, 0.5, 0), (2, 0.75, 0)]),
                &rule,
                seeds(0)
            )),
            NoPairReason::LowMargin
        );
        assert_eq!(
            pair(rollout_outcome(
                group(&[(1, 0.5, 0), (2, 1.0, 0)]),
                &rule,
                seeds(0)
            ))
            .chosen_position(),
            1
        );
    }

    #[test]
    fn rewards_too_far_apart_for_a_number_are_a_failure() {
        let outcome = rollout_outcome(group(&[(1, f64::MAX, 0), (2, f64::MIN, 0)]), &RULE, seeds(0));
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
            let found = pair(rollout_outcome(groups(), &rule, seeds(seed)));
            assert_eq!(found.margin(), 3.0);
            (found.chosen_position(), found.rejected_position())
        });
        let positions: Vec<_> = positions.collect();
        assert!(positions.iter().all(|p| [(2, 1), (1, 2)].contains(p)));
        let agreeing = positions.iter().filter(|p| **p == (2, 1)).count();
        assert!((420..580).contains(&agreeing), "{agreeing}");
        assert_eq!(
            pair(rollout_outcome(groups(), &rule, seeds(3))),
            pair(rollout_outcome(groups(), &rule, seeds(3)))
        );
    }
}
