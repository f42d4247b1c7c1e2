//! Groups of which some candidates are barred.

use super::*;
use crate::{Finish, Guardrail, LearnerEpoch, PolicyVersion, ProductId};
use proptest::prelude::*;

fn task() -> ProductTask {
    ProductTask {
        id: TaskId(4),
        product: ProductId::new("lamp").unwrap(),
        caption: String::new(),
        instruction: String::new(),
        image: Digest::from_bytes([1; 32]),
    }
}

fn trajectories(count: usize) -> Vec<Trajectory> {
    let version = PolicyVersion::initial(LearnerEpoch(1));
    let one = |i: usize| {
        let (task, tokens) = (TaskId(4), vec![i as u32]);
        Trajectory::new(task, version, tokens, vec![-1.0], "oak".into(), Finish::Stop).unwrap()
    };
    (0..count).map(one).collect()
}

/// What became of each description: usable, or barred with or without an image.
fn images(barred: &[Option<bool>]) -> Vec<CandidateImage> {
    let image = |(i, barred): (usize, &Option<bool>)| CandidateImage {
        digest: barred
            .unwrap_or(true)
            .then_some(Digest::from_bytes([i as u8; 32])),
        defects: i as u32,
        barred: barred.map(|_| Barred {
            guardrail: Guardrail::Blank,
            measured: Some(i as f64),
        }),
    };
    barred.iter().enumerate().map(image).collect()
}

fn rewards(count: usize) -> Vec<Reward> {
    (0..count).map(|i| Reward::new(i as f64).unwrap()).collect()
}

fn model() -> Digest {
    Digest::from_bytes([9; 32])
}

proptest! {
    /// Whatever is barred where, each reward stays with its image, and each image with its description.
    #[test]
    fn nothing_is_misaligned(barred in prop::collection::vec(prop::option::of(any::<bool>()), 2..9)) {
        let usable = barred.iter().filter(|barred| barred.is_none()).count();
        let scored = (usable >= 2).then(|| (rewards(usable), model()));
        let group = CandidateGroup::new(&task(), trajectories(barred.len()), images(&barred), scored).unwrap();
        let mut next = 0;
        for (i, candidate) in group.candidates().iter().enumerate() {
            prop_assert_eq!(candidate.trajectory.token_ids(), [i as u32]);
            prop_assert_eq!(candidate.defects, i as u32);
            match barred[i] {
                Some(has_image) => {
                    prop_assert_eq!(candidate.image.is_some(), has_image);
                    prop_assert_eq!(candidate.standing.barred().unwrap().measured, Some(i as f64));
                }
                None if usable >= 2 => {
                    prop_assert_eq!(candidate.image, Some(Digest::from_bytes([i as u8; 32])));
                    prop_assert_eq!(candidate.reward().unwrap().value(), f64::from(next));
                    next += 1;
                }
                None => prop_assert_eq!(candidate.standing, Standing::Unscored),
            }
        }
        let mean = (usable >= 2).then(|| (usable - 1) as f64 / 2.0);
        prop_assert_eq!(group.mean_reward(), mean);
        prop_assert_eq!(group.reward_model(), (usable >= 2).then(model));
    }
}

#[test]
fn a_reward_too_many_or_too_few_makes_no_group() {
    let barred = [None, Some(true), None];
    for (trajectory, image, reward) in [(3, 3, 3), (3, 3, 1), (2, 3, 2), (3, 2, 2), (3, 3, 0)] {
        let (images, rewards) = (images(&barred[..image]), rewards(reward));
        let refused = CandidateGroup::new(
            &task(),
            trajectories(trajectory),
            images,
            Some((rewards, model())),
        );
        assert!(
            matches!(refused, Err(InvalidGroup::Lengths { .. })),
            "{trajectory} {image} {reward}"
        );
    }
}

/// Candidates of these standings, each with an image.
fn group(standings: &[Standing], model: Option<Digest>) -> Result<CandidateGroup, InvalidGroup> {
    let candidates = trajectories(standings.len()).into_iter().zip(standings);
    let candidates = candidates.map(|(trajectory, &standing)| Candidate {
        trajectory,
        image: Some(Digest::from_bytes([2; 32])),
        defects: 0,
        standing,
    });
    CandidateGroup::from_candidates(TaskId(4), candidates.collect(), model)
}

#[test]
fn candidates_are_scored_together_or_not_at_all() {
    let scored = Standing::Scored(Reward::new(0.5).unwrap());
    let barred = Standing::Barred(Barred {
        guardrail: Guardrail::Halo,
        measured: None,
    });
    let left = Standing::Unscored;
    assert!(group(&[scored, barred, scored], Some(model())).is_ok());
    assert!(group(&[left, barred], None).is_ok());
    assert!(group(&[barred, barred], None).is_ok());
    for (standings, model) in [
        (&[scored, left, scored][..], Some(model())),
        (&[left, left], None),
        (&[scored, barred], Some(model())),
    ] {
        let refused = group(standings, model).unwrap_err();
        assert!(matches!(refused, InvalidGroup::Standings { .. }), "{refused}");
    }
    for (standings, model) in [([scored, scored], None), ([left, barred], Some(model()))] {
        let refused = group(&standings, model).unwrap_err();
        assert!(matches!(refused, InvalidGroup::RewardModel { .. }), "{refused}");
    }
    let mut candidates = group(&[scored, scored], Some(model()))
        .unwrap()
        .candidates()
        .to_vec();
    candidates[1].image = None;
    let refused = CandidateGroup::from_candidates(TaskId(4), candidates, Some(model()));
    assert_eq!(
        refused,
        Err(InvalidGroup::NoImage {
            task: TaskId(4),
            position: 1
        })
    );
}

#[test]
fn a_model_that_abstained_is_named_and_its_confidence_is_no_reward() {
    let (trajectories, images) = (|| trajectories(3), || images(&[None, Some(true), None]));
    let abstained =
        |confidence| CandidateGroup::abstained(&task(), trajectories(), images(), model(), confidence);
    for confidence in [None, Some(0.55)] {
        let group = abstained(confidence).unwrap();
        assert!(group.is_abstention());
        assert_eq!(
            (group.reward_model(), group.confidence()),
            (Some(model()), confidence)
        );
        assert_eq!((group.scored().count(), group.mean_reward()), (0, None));
    }
    for confidence in [f64::NAN, -0.1, 1.1] {
        let refused = abstained(Some(confidence));
        assert!(
            matches!(refused, Err(InvalidGroup::Confidence { .. })),
            "{confidence}"
        );
    }
    let scored = CandidateGroup::new(&task(), trajectories(), images(), Some((rewards(2), model()))).unwrap();
    assert!(!scored.is_abstention() && scored.clone().with_confidence(Some(0.55)).is_err());
    assert_eq!(scored.clone().with_confidence(None), Ok(scored));
}
