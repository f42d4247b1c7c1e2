//! One completion and how it came about.

use crate::{PolicyVersion, TaskId};

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The policy produced its end token.
    Stop,
    /// The token limit was reached first.
    Length,
}

/// One completion of a task: its tokens, the log-probabilities that the behaviour policy gave them, and that policy's
/// version.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    task: TaskId,
    behaviour: PolicyVersion,
    token_ids: Vec<u32>,
    log_probs: Vec<f32>,
    text: String,
    finish: Finish,
}

/// Tokens and log-probabilities that cannot belong to one completion.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidTrajectory {
    /// A completion has at least its end token.
    #[error("{task}: a trajectory needs at least one token")]
    Empty {
        /// The task.
        task: TaskId,
    },
    /// One log-probability a token.
    #[error("{task}: {tokens} tokens but {log_probs} log-probabilities")]
    Lengths {
        /// The task.
        task: TaskId,
        /// Tokens given.
        tokens: usize,
        /// Log-probabilities given.
        log_probs: usize,
    },
    /// A log-probability is a finite number not above 0 (a little slack for rounding).
    #[error("{task}: log-probability {value} of token {position} is not a finite number at most 0")]
    LogProb {
        /// The task.
        task: TaskId,
        /// Which token.
        position: usize,
        /// What was given.
        value: f32,
    },
}

/// Rounding slack above 0 that a 32-bit log-softmax may show.
const LOG_PROB_SLACK: f32 = 1e-4;

impl Trajectory {
    /// Checks and wraps one completion. `token_ids` includes the end token when it was produced; `log_probs` are the
    /// natural-log softmax of the raw logits (temperature 1, no truncation).
    ///
    /// # Errors
    /// [`InvalidTrajectory`] when it is empty, lengths differ, or a log-probability is impossible.
    pub fn new(
        task: TaskId,
        behaviour: PolicyVersion,
        token_ids: Vec<u32>,
        log_probs: Vec<f32>,
        text: String,
        finish: Finish,
    ) -> Result<Self, InvalidTrajectory> {
        if token_ids.is_empty() {
            return Err(InvalidTrajectory::Empty { task });
        }
        if token_ids.len() != log_probs.len() {
            return Err(InvalidTrajectory::Lengths {
                task,
                tokens: token_ids.len(),
                log_probs: log_probs.len(),
            });
        }
        let impossible = |v: &f32| !v.is_finite() || *v > LOG_PROB_SLACK;
        if let Some(position) = log_probs.iter().position(impossible) {
            return Err(InvalidTrajectory::LogProb {
                task,
                position,
                value: log_probs[position],
            });
        }
        Ok(Self {
            task,
            behaviour,
            token_ids,
            log_probs,
            text,
            finish,
        })
    }

    /// The task it answers.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The version that sampled it.
    pub fn behaviour(&self) -> PolicyVersion {
        self.behaviour
    }

    /// The completion's tokens.
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// One natural-log probability a token.
    pub fn log_probs(&self) -> &[f32] {
        &self.log_probs
    }

    /// The completion as text, without the end token.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why it ended.
    pub fn finish(&self) -> Finish {
        self.finish
    }

    /// The completion's log-probability under the behaviour policy, in nats.
    pub fn log_prob_sum(&self) -> f64 {
        self.log_probs.iter().map(|&v| f64::from(v)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LearnerEpoch;

    fn build(tokens: Vec<u32>, log_probs: Vec<f32>) -> Result<Trajectory, InvalidTrajectory> {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        Trajectory::new(
            TaskId(4),
            version,
            tokens,
            log_probs,
            "oak desk".into(),
            Finish::Stop,
        )
    }

    #[test]
    fn every_token_needs_one_possible_log_probability() {
        assert!(build(vec![5, 2], vec![-0.5, -1.25]).is_ok());
        assert!(matches!(
            build(vec![], vec![]),
            Err(InvalidTrajectory::Empty { .. })
        ));
        assert!(matches!(
            build(vec![5], vec![]),
            Err(InvalidTrajectory::Lengths { .. })
        ));
        for bad in [f32::NAN, f32::NEG_INFINITY, 0.5] {
            assert!(
                matches!(build(vec![5], vec![bad]), Err(InvalidTrajectory::LogProb { .. })),
                "{bad}"
            );
        }
    }
}
