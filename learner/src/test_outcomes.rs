//! Outcomes for tests: small, valid, made from a task and a version number.

use crate::broadcast::Weights;
use crate::ledger::Record;
use common::{
    Barred, Blame, Candidate, CandidateGroup, Digest, FailureReason, Finish, Guardrail, LearnerEpoch,
    NoPairReason, PolicyVersion, PreferencePair, ProductId, ProductTask, Reward, RolloutOutcome, Standing,
    TaskId, Trajectory,
};

/// A version of epoch 1.
pub(crate) fn version(number: u64) -> PolicyVersion {
    PolicyVersion {
        epoch: LearnerEpoch(1),
        number,
    }
}

/// A group of two completions with the given tokens.
pub(crate) fn group_of(task: u64, sampled_by: u64, completions: [&[u32]; 2]) -> CandidateGroup {
    group_sampled_by(version(sampled_by), task, completions)
}

/// The same, sampled by a version of any epoch.
pub(crate) fn group_sampled_by(
    version: PolicyVersion,
    task: u64,
    completions: [&[u32]; 2],
) -> CandidateGroup {
    let candidate = |(i, tokens): (usize, &&[u32])| {
        let log_probs = vec![-0.5; tokens.len()];
        let task = TaskId(task);
        let trajectory = Trajectory::new(
            task,
            version,
            tokens.to_vec(),
            log_probs,
            "x".into(),
            Finish::Stop,
        );
        Candidate {
            trajectory: trajectory.unwrap(),
            image: Some(Digest::from_bytes([i as u8; 32])),
            defects: 0,
            standing: Standing::Scored(Reward::new(i as f64).unwrap()),
        }
    };
    let candidates = completions.iter().enumerate().map(candidate).collect();
    CandidateGroup::from_candidates(TaskId(task), candidates, Some(Digest::from_bytes([9; 32]))).unwrap()
}

/// A pair: completion 1 of [`group_of`] preferred to completion 0.
pub(crate) fn pair_of(task: u64, sampled_by: u64, completions: [&[u32]; 2]) -> PreferencePair {
    PreferencePair::new(group_of(task, sampled_by, completions), 1, 0, 1.0).unwrap()
}

/// The record of an outcome.
pub(crate) fn record(sequence: u64, outcome: RolloutOutcome) -> Record {
    Record {
        sequence,
        epoch: LearnerEpoch(1),
        digest: Digest::from_bytes([1; 32]),
        outcome,
        product: ProductId::new("mug").unwrap(),
        prompt: Digest::from_bytes([2; 32]),
        actor: None,
    }
}

/// A task of this number.
pub(crate) fn task(number: u64) -> ProductTask {
    ProductTask {
        id: TaskId(number),
        product: ProductId::new("mug").unwrap(),
        caption: "a mug".into(),
        instruction: "show a mug".into(),
        image: Digest::from_bytes([3; 32]),
    }
}

pub(crate) fn pair(task: u64, sampled_by: u64) -> RolloutOutcome {
    RolloutOutcome::Pair(pair_of(task, sampled_by, [&[5, 2], &[6, 2]]))
}

pub(crate) fn no_pair(task: u64, sampled_by: u64) -> RolloutOutcome {
    RolloutOutcome::NoPair {
        group: group_of(task, sampled_by, [&[5, 2], &[5, 2]]),
        reason: NoPairReason::Tie,
    }
}

/// A group of three: one with a halo, one that could be used, one that was not rendered.
pub(crate) fn all_barred_but_one(task: u64, sampled_by: u64) -> RolloutOutcome {
    let scored = group_of(task, sampled_by, [&[5, 2], &[6, 2]]);
    let barred = |guardrail, measured| Standing::Barred(Barred { guardrail, measured });
    let standings = [
        barred(Guardrail::Halo, Some(0.25)),
        Standing::Unscored,
        barred(Guardrail::TextBlocklist, None),
    ];
    let mut candidates: Vec<Candidate> = scored.candidates().to_vec();
    candidates.push(Candidate {
        image: None,
        ..candidates[1].clone()
    });
    for (candidate, standing) in candidates.iter_mut().zip(standings) {
        candidate.standing = standing;
    }
    RolloutOutcome::NoPair {
        group: CandidateGroup::from_candidates(TaskId(task), candidates, None).unwrap(),
        reason: NoPairReason::Guardrail,
    }
}

pub(crate) fn failed(task: u64, retryable: bool) -> RolloutOutcome {
    let (task, reason) = (TaskId(task), FailureReason::RewardUnavailable);
    RolloutOutcome::Failed {
        task,
        reason,
        retryable,
        blame: Blame::Task,
        detail: "down".into(),
    }
}

/// A failure that another attempt may not meet, and that is a service's.
pub(crate) fn undone(task: u64, blame: Blame) -> RolloutOutcome {
    let (task, reason) = (TaskId(task), FailureReason::RewardUnavailable);
    RolloutOutcome::Failed {
        task,
        reason,
        retryable: true,
        blame,
        detail: "no room".into(),
    }
}

/// Weights of these bytes.
pub(crate) fn weights(adapter: &str) -> Weights {
    Weights {
        adapter: bytes::Bytes::from(adapter.to_owned()),
        canary: None,
    }
}
