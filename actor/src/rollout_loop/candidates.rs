//! The candidates of one task, put together from what the steps of a rollout have made of it.

use crate::{
    failure::Failure,
    rendering::{RenderedGroup, RenderedImage},
    reward_client::{Abstention, GroupRewards},
};
use common::{CandidateGroup, CandidateImage, FailureReason, Finish, ProductTask, Trajectory};

/// What the steps have made of one task, or why one of them failed.
pub(super) fn candidate_group(
    task: &ProductTask,
    trajectories: Result<Vec<Trajectory>, Failure>,
    images: Result<RenderedGroup, Failure>,
    rewards: Result<Option<GroupRewards>, Failure>,
) -> Result<CandidateGroup, Failure> {
    let (trajectories, images, rewards) = (trajectories?, images?, rewards?);
    let with_end = |(trajectory, image): (&Trajectory, &RenderedImage)| {
        let unfinished = u32::from(trajectory.finish() == Finish::Length);
        let defects = image.candidate.defects + unfinished;
        CandidateImage {
            defects,
            ..image.candidate
        }
    };
    let images = trajectories.iter().zip(&images).map(with_end).collect();
    let group = match rewards {
        None => CandidateGroup::new(task, trajectories, images, None),
        Some(GroupRewards {
            rewards: Ok(rewards),
            model,
        }) => CandidateGroup::new(task, trajectories, images, Some((rewards, model))),
        Some(GroupRewards {
            rewards: Err(Abstention { confidence }),
            model,
        }) => CandidateGroup::abstained(task, trajectories, images, model, confidence),
    };
    group.map_err(|error| Failure::lasting(FailureReason::RewardUnavailable, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Digest, LearnerEpoch, PolicyVersion, ProductId, Reward, TaskId};

    fn task() -> ProductTask {
        let (product, image) = (ProductId::new("lamp").unwrap(), Digest::from_bytes([1; 32]));
        ProductTask {
            id: TaskId(4),
            product,
            caption: String::new(),
            instruction: String::new(),
            image,
        }
    }

    fn trajectories() -> Vec<Trajectory> {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        [Finish::Stop, Finish::Length]
            .map(|finish| {
                Trajectory::new(TaskId(4), version, vec![7], vec![-1.0], "oak".into(), finish).unwrap()
            })
            .to_vec()
    }

    fn images() -> RenderedGroup {
        let image = |defects| RenderedImage {
            candidate: CandidateImage {
                digest: Some(Digest::from_bytes([2; 32])),
                defects,
                barred: None,
            },
            png: Default::default(),
        };
        vec![image(3), image(1)]
    }

    fn rewards(count: usize) -> Option<GroupRewards> {
        Some(GroupRewards {
            rewards: Ok(vec![Reward::new(0.5).unwrap(); count]),
            model: Digest::from_bytes([3; 32]),
        })
    }

    #[test]
    fn a_missing_end_token_is_one_more_defect() {
        let group = candidate_group(&task(), Ok(trajectories()), Ok(images()), Ok(rewards(2))).unwrap();
        let defects: Vec<u32> = group
            .candidates()
            .iter()
            .map(|candidate| candidate.defects)
            .collect();
        assert_eq!(defects, [3, 2]);
    }

    #[test]
    fn the_first_step_that_failed_is_the_reason() {
        let failed = |reason| Failure::lasting(reason, "broken");
        let (rendering, reward) = (
            failed(FailureReason::Rendering),
            failed(FailureReason::RewardUnavailable),
        );
        let found = candidate_group(&task(), Ok(trajectories()), Err(rendering.clone()), Err(reward));
        assert_eq!(found, Err(rendering));
    }

    #[test]
    fn steps_that_disagree_about_the_number_of_candidates_make_no_group() {
        assert!(candidate_group(&task(), Ok(trajectories()), Ok(images()), Ok(rewards(1))).is_err());
    }
}
