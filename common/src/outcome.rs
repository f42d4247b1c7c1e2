//! How a lease ends.

use crate::{Candidate, CandidateGroup, TaskId};

/// A preference between two candidates of one group: both answer the same task by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    group: CandidateGroup,
    chosen: usize,
    rejected: usize,
    margin: f64,
}

/// Positions that are no pair.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidPair {
    /// Both positions lie in the group and differ.
    #[error("{task}: chosen {chosen} and rejected {rejected} are not two of {candidates} candidates")]
    Positions {
        /// The task.
        task: TaskId,
        /// Position given as chosen.
        chosen: usize,
        /// Position given as rejected.
        rejected: usize,
        /// How many candidates there are.
        candidates: usize,
    },
    /// The margin is how sure the preference is: finite and not negative.
    #[error("{task}: margin {margin} is not a finite number at least 0")]
    Margin {
        /// The task.
        task: TaskId,
        /// What was given.
        margin: f64,
    },
    /// Only what has a reward can be preferred to something else, or something else to it.
    #[error("{task}: candidate {position} has no reward")]
    NoReward {
        /// The task.
        task: TaskId,
        /// Which candidate.
        position: usize,
    },
    /// Equal completions teach nothing.
    #[error("{task}: chosen and rejected have the same tokens")]
    SameTokens {
        /// The task.
        task: TaskId,
    },
}

impl PreferencePair {
    /// Prefers `chosen` to `rejected` (positions in the group) by `margin`.
    ///
    /// # Errors
    /// [`InvalidPair`] when the positions are not two scored ones of the group, the margin is impossible, or both completions
    /// are the same tokens.
    pub fn new(
        group: CandidateGroup,
        chosen: usize,
        rejected: usize,
        margin: f64,
    ) -> Result<Self, InvalidPair> {
        let (task, candidates) = (group.task(), group.candidates().len());
        if chosen == rejected || chosen >= candidates || rejected >= candidates {
            return Err(InvalidPair::Positions {
                task,
                chosen,
                rejected,
                candidates,
            });
        }
        let has_reward = |position: usize| group.candidates()[position].reward().is_some();
        if let Some(position) = [chosen, rejected]
            .into_iter()
            .find(|&position| !has_reward(position))
        {
            return Err(InvalidPair::NoReward { task, position });
        }
        if !margin.is_finite() || margin < 0.0 {
            return Err(InvalidPair::Margin { task, margin });
        }
        let tokens = |i: usize| group.candidates()[i].trajectory.token_ids();
        if tokens(chosen) == tokens(rejected) {
            return Err(InvalidPair::SameTokens { task });
        }
        Ok(Self {
            group,
            chosen,
            rejected,
            margin,
        })
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.group.task()
    }

    /// The whole group the pair was drawn from.
    pub fn group(&self) -> &CandidateGroup {
        &self.group
    }

    /// Position of the preferred candidate in the group.
    pub fn chosen_position(&self) -> usize {
        self.chosen
    }

    /// Position of the other candidate in the group.
    pub fn rejected_position(&self) -> usize {
        self.rejected
    }

    /// The preferred candidate.
    pub fn chosen(&self) -> &Candidate {
        &self.group.candidates()[self.chosen]
    }

    /// The other candidate.
    pub fn rejected(&self) -> &Candidate {
        &self.group.candidates()[self.rejected]
    }

    /// Reward difference between the two (defects counted), in log-odds; 0 or more.
    pub fn margin(&self) -> f64 {
        self.margin
    }
}

/// Why a group gave no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoPairReason {
    /// Best and worst are equal, or their completions are the same.
    Tie,
    /// Best and worst differ by less than the configured margin.
    LowMargin,
    /// Fewer than two pictures came out: the others are none, or show nothing.
    InvalidImage,
    /// Guardrails left fewer than two candidates.
    Guardrail,
    /// The reward model abstained.
    Abstained,
}

/// Why a rollout did not come to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// The policy could not sample.
    Sampling,
    /// The image generator failed.
    Rendering,
    /// The reward could not be computed.
    RewardUnavailable,
    /// The product's image could not be read or an image could not be stored.
    Storage,
    /// Every lease of the task expired or was handed back: nobody came to an outcome.
    Abandoned,
}

/// What a failure says of its task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Blame {
    /// It may be the task's own, or nobody knows.
    #[default]
    Task,
    /// A service that the actor needs was away, slow or failing, or its answer was none.
    Service,
    /// A service that the actor needs had no room, or the actor beside its other tasks: nobody has looked at this one.
    FullService,
}

/// How a rollout ended. Every lease ends in exactly one outcome, is handed back, or expires.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutOutcome {
    /// A preference was found: terminal.
    Pair(PreferencePair),
    /// The group gives no preference: terminal, since the same seeds would give the same group.
    NoPair {
        /// The group.
        group: CandidateGroup,
        /// Why there is no pair.
        reason: NoPairReason,
    },
    /// The group could not be completed.
    Failed {
        /// The task.
        task: TaskId,
        /// What failed.
        reason: FailureReason,
        /// Whether another attempt may succeed.
        retryable: bool,
        /// Whose fault it is, where another attempt may succeed.
        blame: Blame,
        /// What happened, for people: at most 1 KiB crosses the wire.
        detail: String,
    },
}

impl RolloutOutcome {
    /// The task it ends.
    pub fn task(&self) -> TaskId {
        match self {
            Self::Pair(pair) => pair.task(),
            Self::NoPair { group, .. } => group.task(),
            Self::Failed { task, .. } => *task,
        }
    }

    /// The group, if the rollout came that far.
    pub fn group(&self) -> Option<&CandidateGroup> {
        match self {
            Self::Pair(pair) => Some(pair.group()),
            Self::NoPair { group, .. } => Some(group),
            Self::Failed { .. } => None,
        }
    }

    /// Whether it is a preference pair.
    pub fn is_pair(&self) -> bool {
        matches!(self, Self::Pair(_))
    }

    /// Whether the task is consumed, so that no later outcome of it counts.
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Failed { retryable: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Barred, Digest, Finish, Guardrail, InvalidGroup, LearnerEpoch, PolicyVersion, Reward, Standing,
        Trajectory,
    };

    fn candidate(task: u64, token: u32) -> Candidate {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        let trajectory = Trajectory::new(
            TaskId(task),
            version,
            vec![token, 2],
            vec![-1.0, -0.1],
            "x".into(),
            Finish::Stop,
        );
        Candidate {
            trajectory: trajectory.unwrap(),
            image: Some(Digest::from_bytes([token as u8; 32])),
            defects: 0,
            standing: Standing::Scored(Reward::new(f64::from(token)).unwrap()),
        }
    }

    fn group(tokens: [u32; 2]) -> CandidateGroup {
        let candidates = tokens.map(|t| candidate(9, t)).to_vec();
        CandidateGroup::from_candidates(TaskId(9), candidates, Some(Digest::from_bytes([0; 32]))).unwrap()
    }

    #[test]
    fn a_group_refuses_a_candidate_of_another_task() {
        let mixed = vec![candidate(9, 5), candidate(8, 6)];
        let refusal = CandidateGroup::from_candidates(TaskId(9), mixed, Some(Digest::from_bytes([0; 32])));
        assert_eq!(
            refusal,
            Err(InvalidGroup::OtherTask {
                task: TaskId(9),
                position: 1,
                found: TaskId(8)
            })
        );
    }

    #[test]
    fn a_pair_is_two_different_completions_with_a_real_margin() {
        assert!(PreferencePair::new(group([5, 6]), 1, 0, 0.5).is_ok());
        assert!(matches!(
            PreferencePair::new(group([5, 6]), 0, 0, 0.5),
            Err(InvalidPair::Positions { .. })
        ));
        assert!(matches!(
            PreferencePair::new(group([5, 6]), 2, 0, 0.5),
            Err(InvalidPair::Positions { .. })
        ));
        assert!(matches!(
            PreferencePair::new(group([5, 6]), 1, 0, f64::NAN),
            Err(InvalidPair::Margin { .. })
        ));
        assert!(matches!(
            PreferencePair::new(group([5, 5]), 1, 0, 0.5),
            Err(InvalidPair::SameTokens { .. })
        ));
    }

    #[test]
    fn what_is_barred_is_neither_chosen_nor_rejected() {
        let mut barred = candidate(9, 7);
        barred.standing = Standing::Barred(Barred {
            guardrail: Guardrail::Blank,
            measured: Some(0.01),
        });
        let candidates = vec![candidate(9, 5), barred, candidate(9, 6)];
        let model = Some(Digest::from_bytes([0; 32]));
        let group = CandidateGroup::from_candidates(TaskId(9), candidates, model).unwrap();
        for (chosen, rejected) in [(0, 1), (1, 2)] {
            let refused = PreferencePair::new(group.clone(), chosen, rejected, 0.5);
            let (task, position) = (TaskId(9), 1);
            assert_eq!(refused, Err(InvalidPair::NoReward { task, position }));
        }
        assert!(PreferencePair::new(group, 2, 0, 0.5).is_ok());
    }

    #[test]
    fn only_a_retryable_failure_leaves_the_task_open() {
        let failed = |retryable| RolloutOutcome::Failed {
            task: TaskId(9),
            reason: FailureReason::RewardUnavailable,
            retryable,
            blame: Blame::Task,
            detail: String::new(),
        };
        assert!(!failed(true).is_terminal());
        assert!(failed(false).is_terminal());
        assert!(
            RolloutOutcome::NoPair {
                group: group([5, 6]),
                reason: NoPairReason::Tie
            }
            .is_terminal()
        );
    }
}
