//! Trajectories with their images and rewards.

use crate::{Barred, Digest, ProductTask, Reward, Standing, TaskId, Trajectory};

/// One candidate advertisement: a trajectory, the image rendered from it and what can be said of that.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The description and how it was sampled.
    pub trajectory: Trajectory,
    /// The rendered image in the run's store; `None` where none was made.
    pub image: Option<Digest>,
    /// Parts of the description that the image generator could not render, plus one for a missing end token. Where no image was
    /// made, the latter alone.
    pub defects: u32,
    /// Whether it has a reward.
    pub standing: Standing,
}

impl Candidate {
    /// The reward model's score of the image, where there is one.
    pub fn reward(&self) -> Option<Reward> {
        self.standing.reward()
    }
}

/// What became of one description.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CandidateImage {
    /// The image in the run's store; `None` where none was made.
    pub digest: Option<Digest>,
    /// As [`Candidate::defects`].
    pub defects: u32,
    /// Why it is unusable; `None` when it can be scored.
    pub barred: Option<Barred>,
}

/// The candidates of one task, at least two. All that no guardrail bars are scored by one reward model, and they are at least two; or
/// those two or more are unscored, because the model that is named abstained; or at most one is not barred, and nobody was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateGroup {
    task: TaskId,
    candidates: Vec<Candidate>,
    reward_model: Option<Digest>,
    confidence: Option<f64>,
}

/// Candidates that are no group.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// Each candidate has one image, and each image that can be scored one reward, or none of them has.
    #[error(
        "{task}: {trajectories} trajectories, {images} images, {rewards} rewards for {usable} usable images"
    )]
    Lengths {
        /// The task.
        task: TaskId,
        /// Trajectories given.
        trajectories: usize,
        /// Images given.
        images: usize,
        /// Those of them that nothing bars.
        usable: usize,
        /// Rewards given.
        rewards: usize,
    },
    /// What is not barred has an image.
    #[error("{task}: candidate {position} has no image, and nothing says why")]
    NoImage {
        /// The task.
        task: TaskId,
        /// Which candidate.
        position: usize,
    },
    /// Candidates are scored together or not at all.
    #[error(
        "{task}: {scored} candidates are scored and {unscored} are left unscored; expected at least two scored and none left, none \
         scored and at most one left, or none scored and the reward model named that abstained"
    )]
    Standings {
        /// The task.
        task: TaskId,
        /// Candidates with a reward.
        scored: usize,
        /// Candidates that could have one.
        unscored: usize,
    },
    /// Rewards come with the model that computed them.
    #[error("{task}: {scored} candidates are scored, and the reward model is {}", if *named { "named" } else { "not named" })]
    RewardModel {
        /// The task.
        task: TaskId,
        /// Candidates with a reward.
        scored: usize,
        /// Whether a reward model is named.
        named: bool,
    },
    /// How sure a reward model was is a probability, and told of an abstention alone.
    #[error(
        "{task}: a confidence of {confidence}; expected one from 0 to 1, of a group that the reward model abstained from"
    )]
    Confidence {
        /// The task.
        task: TaskId,
        /// What was given.
        confidence: f64,
    },
}

impl CandidateGroup {
    /// Joins what the steps of a rollout produced for `task`. `images` holds what became of each trajectory; `scored` one reward for
    /// each of the images that nothing bars, in their order, and the model that computed them, or nothing when nobody was asked.
    ///
    /// # Errors
    /// [`InvalidGroup`] when lengths differ or [`CandidateGroup::from_candidates`] refuses.
    pub fn new(
        task: &ProductTask,
        trajectories: Vec<Trajectory>,
        images: Vec<CandidateImage>,
        scored: Option<(Vec<Reward>, Digest)>,
    ) -> Result<Self, InvalidGroup> {
        let (rewards, reward_model) = scored.unzip();
        Self::joined(task, trajectories, images, rewards, reward_model)
    }

    /// The same where `model` was asked and abstained: its best candidate beats the worst with a probability of `confidence`, where that
    /// was told, and it does not call that sure.
    ///
    /// # Errors
    /// [`InvalidGroup`] as [`CandidateGroup::new`], or when `confidence` is no probability.
    pub fn abstained(
        task: &ProductTask,
        trajectories: Vec<Trajectory>,
        images: Vec<CandidateImage>,
        model: Digest,
        confidence: Option<f64>,
    ) -> Result<Self, InvalidGroup> {
        let group = Self::joined(task, trajectories, images, None, Some(model))?;
        group.with_confidence(confidence)
    }

    fn joined(
        task: &ProductTask,
        trajectories: Vec<Trajectory>,
        images: Vec<CandidateImage>,
        rewards: Option<Vec<Reward>>,
        reward_model: Option<Digest>,
    ) -> Result<Self, InvalidGroup> {
        let usable = images.iter().filter(|image| image.barred.is_none()).count();
        let fitting = rewards.as_ref().is_none_or(|rewards| rewards.len() == usable);
        if trajectories.len() != images.len() || !fitting {
            return Err(InvalidGroup::Lengths {
                task: task.id,
                trajectories: trajectories.len(),
                images: images.len(),
                usable,
                rewards: rewards.map_or(0, |rewards| rewards.len()),
            });
        }
        let mut rewards = rewards.into_iter().flatten();
        let mut standing = |barred: Option<Barred>| match barred {
            Some(barred) => Standing::Barred(barred),
            None => rewards.next().map_or(Standing::Unscored, Standing::Scored),
        };
        let candidate = |(trajectory, image): (Trajectory, CandidateImage)| Candidate {
            trajectory,
            image: image.digest,
            defects: image.defects,
            standing: standing(image.barred),
        };
        let candidates = trajectories.into_iter().zip(images).map(candidate).collect();
        Self::from_candidates(task.id, candidates, reward_model)
    }

    /// Checks that the candidates answer one task, and that all of them that can be compared are scored, or none where the model abstained.
    ///
    /// # Errors
    /// [`InvalidGroup`] saying which of that is not so.
    pub fn from_candidates(
        task: TaskId,
        candidates: Vec<Candidate>,
        reward_model: Option<Digest>,
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
        check_standings(task, &candidates, reward_model.is_some())?;
        Ok(Self {
            task,
            candidates,
            reward_model,
            confidence: None,
        })
    }

    /// The same with how sure the reward model was that abstained, where it said so.
    ///
    /// # Errors
    /// [`InvalidGroup::Confidence`] when it is told and none abstained, or is no probability.
    pub fn with_confidence(self, confidence: Option<f64>) -> Result<Self, InvalidGroup> {
        match confidence {
            Some(confidence) if !self.is_abstention() || !(0.0..=1.0).contains(&confidence) => {
                let task = self.task;
                Err(InvalidGroup::Confidence { task, confidence })
            }
            confidence => Ok(Self { confidence, ..self }),
        }
    }

    /// The task all candidates answer.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The candidates, in sampling order.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The reward model that scored them, or abstained; `None` when none was asked.
    pub fn reward_model(&self) -> Option<Digest> {
        self.reward_model
    }

    /// Whether the reward model was asked and does not trust its own answer: no candidate has a reward.
    pub fn is_abstention(&self) -> bool {
        self.reward_model.is_some() && self.scored().next().is_none()
    }

    /// The probability that the best beats the worst, in the eyes of the reward model that abstained; `None` where it did not say, or scored.
    pub fn confidence(&self) -> Option<f64> {
        self.confidence
    }

    /// The candidates with a reward, each with its position: none, or at least two.
    pub fn scored(&self) -> impl Iterator<Item = (usize, &Candidate, Reward)> {
        let candidates = self.candidates.iter().enumerate();
        candidates.filter_map(|(position, candidate)| Some((position, candidate, candidate.reward()?)))
    }

    /// Why candidates are barred, one entry for each that is.
    pub fn barred(&self) -> impl Iterator<Item = Barred> {
        self.candidates
            .iter()
            .filter_map(|candidate| candidate.standing.barred())
    }

    /// The mean reward of the scored candidates; `None` when none is.
    pub fn mean_reward(&self) -> Option<f64> {
        let rewards: Vec<f64> = self.scored().map(|(_, _, reward)| reward.value()).collect();
        (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
    }
}

fn check_standings(task: TaskId, candidates: &[Candidate], named: bool) -> Result<(), InvalidGroup> {
    let has_image = |c: &Candidate| c.image.is_some() || c.standing.barred().is_some();
    if let Some(position) = candidates.iter().position(|c| !has_image(c)) {
        return Err(InvalidGroup::NoImage { task, position });
    }
    let scored = candidates.iter().filter(|c| c.reward().is_some()).count();
    let unscored = candidates
        .iter()
        .filter(|c| c.standing == Standing::Unscored)
        .count();
    match (scored, unscored) {
        (0, 2..) if named => Ok(()),
        (0, 0..=1) | (2.., 0) if named == (scored > 0) => Ok(()),
        (0, 0..=1) | (2.., 0) => Err(InvalidGroup::RewardModel { task, scored, named }),
        _ => Err(InvalidGroup::Standings {
            task,
            scored,
            unscored,
        }),
    }
}

#[cfg(test)]
mod tests;
