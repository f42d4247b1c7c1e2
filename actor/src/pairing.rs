//! From a group to its outcome: a pure rule.
//!
//! A candidate's score is its reward less a penalty per defect. The best and the worst of a group make the pair; what lies
//! between them is not used. With two candidates, this is CAIG's rule. What a guardrail barred has no reward and takes no part.

use crate::{ActorConfig, Labels, failure::Failure};
use common::{
    Candidate, CandidateGroup, FailureReason, NoPairReason, PreferencePair, Reward, RolloutOutcome,
};
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

/// The outcome of a group. `coin` seeds the toss of [`Labels::Random`].
pub(crate) fn rollout_outcome(group: CandidateGroup, rule: &PairingRule, coin: u64) -> RolloutOutcome {
    let scores = group
        .scored()
        .map(|(position, candidate, reward)| (position, score(candidate, reward, rule)));
    let Some(((best, highest), (worst, lowest))) = extremes(scores) else {
        let reason = why_unscored(&group);
        return RolloutOutcome::NoPair { group, reason };
    };
    let margin = highest - lowest;
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

fn score(candidate: &Candidate, reward: Reward, rule: &PairingRule) -> f64 {
    reward.value() - rule.defect_penalty * f64::from(candidate.defects)
}

/// The highest and the lowest score with their positions, the first of equals; `None` when there is no score.
fn extremes(mut scores: impl Iterator<Item = (usize, f64)>) -> Option<((usize, f64), (usize, f64))> {
    let first = scores.next()?;
    let (mut best, mut worst) = (first, first);
    for (position, score) in scores {
        if score > best.1 {
            best = (position, score);
        }
        if score < worst.1 {
            worst = (position, score);
        }
    }
    Some((best, worst))
}

/// Why a group has fewer than two candidates that can be compared: the reward model abstained, too few pictures came out, or guardrails
/// barred those that did.
fn why_unscored(group: &CandidateGroup) -> NoPairReason {
    if group.is_abstention() {
        return NoPairReason::Abstained;
    }
    let pictureless = group
        .barred()
        .filter(|barred| barred.guardrail.means_no_picture())
        .count();
    match group.candidates().len() - pictureless {
        0..2 => NoPairReason::InvalidImage,
        _ => NoPairReason::Guardrail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        Barred, Digest, Finish, Guardrail, LearnerEpoch, PolicyVersion, Standing, TaskId, Trajectory,
    };
    use proptest::prelude::*;

    const RULE: PairingRule = PairingRule {
        defect_penalty: 2.0,
        min_margin: 0.0,
        labels: Labels::Reward,
    };

    /// Candidates of (token, reward, defects).
    fn group(candidates: &[(u32, f64, u32)]) -> CandidateGroup {
        let scored = |&(token, reward, defects): &(u32, f64, u32)| {
            candidate(token, defects, Standing::Scored(Reward::new(reward).unwrap()))
        };
        group_of(candidates.iter().map(scored).collect())
    }

    fn candidate(token: u32, defects: u32, standing: Standing) -> Candidate {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        let (task, tokens) = (TaskId(5), vec![token]);
        let trajectory = Trajectory::new(task, version, tokens, vec![-1.0], "x".into(), Finish::Stop);
        Candidate {
            trajectory: trajectory.unwrap(),
            image: Some(Digest::from_bytes([token as u8; 32])),
            defects,
            standing,
        }
    }

    fn group_of(candidates: Vec<Candidate>) -> CandidateGroup {
        let scored = candidates.iter().any(|candidate| candidate.reward().is_some());
        let model = scored.then_some(Digest::from_bytes([0; 32]));
        CandidateGroup::from_candidates(TaskId(5), candidates, model).unwrap()
    }

    fn barred(guardrail: Guardrail) -> Standing {
        Standing::Barred(Barred {
            guardrail,
            measured: None,
        })
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
    fn too_few_pictures_and_too_few_that_may_be_used_are_told_apart() {
        use Guardrail::{Blank, Halo, TextBlocklist, Undecodable};
        for (barring, left, expected) in [
            (&[Blank, Undecodable][..], 0, NoPairReason::InvalidImage),
            (&[Blank], 1, NoPairReason::InvalidImage),
            (&[Blank, Halo, Undecodable], 0, NoPairReason::InvalidImage),
            (&[Halo], 1, NoPairReason::Guardrail),
            (&[Halo, TextBlocklist], 0, NoPairReason::Guardrail),
            (&[Blank, Halo], 1, NoPairReason::Guardrail),
        ] {
            let standings = barring.iter().map(|&guardrail| barred(guardrail));
            let standings = standings.chain(vec![Standing::Unscored; left]);
            let candidates = (0..)
                .zip(standings)
                .map(|(token, standing)| candidate(token, 0, standing));
            let found = reason(rollout_outcome(group_of(candidates.collect()), &RULE, 0));
            assert_eq!(found, expected, "{barring:?} and {left}");
        }
    }

    #[test]
    fn what_the_reward_model_abstains_from_is_no_pair_whatever_is_barred_beside() {
        let standings = [Standing::Unscored, barred(Guardrail::Blank), Standing::Unscored];
        let candidates = (0..)
            .zip(standings)
            .map(|(token, standing)| candidate(token, 0, standing));
        let model = Some(Digest::from_bytes([7; 32]));
        let group = CandidateGroup::from_candidates(TaskId(5), candidates.collect(), model).unwrap();
        assert_eq!(reason(rollout_outcome(group, &RULE, 0)), NoPairReason::Abstained);
    }

    proptest! {
        /// Wherever barred candidates stand, the pair is the one that the others alone would make.
        #[test]
        fn what_is_barred_changes_nothing_and_never_loses(
            rewards in prop::collection::vec((-9f64..9.0, 0u32..3), 2..6),
            barrings in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&Guardrail::ALL[..])), 0..4),
        ) {
            let scored: Vec<(u32, f64, u32)> = (0..).zip(&rewards).map(|(token, &(r, d))| (token, r, d)).collect();
            let alone = rollout_outcome(group(&scored), &RULE, 0);
            let mut candidates = group(&scored).candidates().to_vec();
            for (number, (place, guardrail)) in barrings.iter().enumerate() {
                let at = place.index(candidates.len() + 1);
                candidates.insert(at, candidate(100 + number as u32, 9, barred(*guardrail)));
            }
            match (alone, rollout_outcome(group_of(candidates), &RULE, 0)) {
                (RolloutOutcome::Pair(alone), RolloutOutcome::Pair(among)) => {
                    prop_assert_eq!(alone.chosen(), among.chosen());
                    prop_assert_eq!(alone.rejected(), among.rejected());
                    prop_assert_eq!(alone.margin(), among.margin());
                }
                (alone, among) => prop_assert_eq!(reason(alone), reason(among)),
            }
        }
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
