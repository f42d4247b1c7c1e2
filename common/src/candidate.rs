//! Trajectories with their images and rewards.

use crate::{Digest, ProductTask, Reward, TaskId, Trajectory};

/// One candidate advertisement: a trajectory, the image rendered from it and what the reward model says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The description and how it was sampled.
    pub trajectory: Trajectory,
    /// The rendered image in the run's store.
    pub image: Digest,
    /// Parts of the description that the image generator could not render, plus one for a missing end token.
    pub defects: u32,
    /// The reward model's score of the image.
    pub reward: Reward,
}

/// The candidates of one task, at least two.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateGroup {
    task: TaskId,
    candidates: Vec<Candidate>,
    reward_model: Digest,
}

/// Candidates that are no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroup {
    /// A preference needs two candidates.
    #[error("{task}: a group needs at least two candidates, not {found}")]
    TooFew {
        /// The task.
        task: TaskId,
        /// Candidates given.
        found: usize,
    },
    /// All candidates of a group answer one task.
    #[error("{task}: candidate {position} answers {found}")]
    OtherTask {
        /// The group's task.
        task: TaskId,
        /// Which candidate.
        position: usize,
        /// The task it answers.
        found: TaskId,
    },
    /// Each candidate has one image and one reward.
    #[error("{task}: {trajectories} trajectories, {images} images, {rewards} rewards")]
    Lengths {
        /// The task.
        task: TaskId,
        /// Trajectories given.
        trajectories: usize,
        /// Images given.
        images: usize,
        /// Rewards given.
        rewards: usize,
    },
}

impl CandidateGroup {
    /// Joins what the steps of a rollout produced for `task`. `images` holds, for each trajectory, the image's digest
    /// and its defects.
    ///
    /// # Errors
    /// [`InvalidGroup`] when lengths differ or [`CandidateGroup::from_candidates`] refuses.
    pub fn new(
        task: &ProductTask,
        trajectories: Vec<Trajectory>,
        images: Vec<(Digest, u32)>,
        rewards: Vec<Reward>,
        reward_model: Digest,
    ) -> Result<Self, InvalidGroup> {
        if trajectories.len() != images.len() || images.len() != rewards.len() {
            return Err(InvalidGroup::Lengths {
                task: task.id,
                trajectories: trajectories.len(),
                images: images.len(),
                rewards: rewards.len(),
            });
        }
        let candidates = trajectories
            .into_iter()
            .zip(images)
            .zip(rewards)
            .map(|((trajectory, (image, defects)), reward)| Candidate {
                trajectory,
                image,
                defects,
                reward,
            })
            .collect();
        Self::from_candidates(task.id, candidates, reward_model)
    }

    /// Checks that the candidates answer one task.
    ///
    /// # Errors
    /// [`InvalidGroup`] for fewer than two candidates or a candidate of another task.
    pub fn from_candidates(
        task: TaskId,
        candidates: Vec<Candidate>,
        reward_model: Digest,
    ) -> Result<Self, InvalidGroup> {
        if candidates.len() < 2 {
            return Err(InvalidGroup::TooFew {
                task,
                found: candidates.len(),
            });
        }
        if let Some(position) = candidates.iter().position(|c| c.trajectory.task() != task) {
            let found = candidates[position].trajectory.task();
            return Err(InvalidGroup::OtherTask {
                task,
                position,
                found,
            });
        }
        Ok(Self {
            task,
            candidates,
            reward_model,
        })
    }

    /// The task all candidates answer.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The candidates, in sampling order.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The reward model that scored them.
    pub fn reward_model(&self) -> Digest {
        self.reward_model
    }

    /// The mean reward of the candidates.
    pub fn mean_reward(&self) -> f64 {
        self.candidates.iter().map(|c| c.reward.value()).sum::<f64>() / self.candidates.len() as f64
    }
}
