//! Rendering, with a painter in the place of the image generator.

mod room;

use super::*;
use crate::{GuardrailsConfig, room::Room};
use common::{
    Blame, Finish, Guardrail, LearnerEpoch, PolicyVersion, ProductId, ProductTask, RolloutOutcome, RunId,
    TaskId,
};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use std::time::Duration;

/// Paints the noise seed and the length of the description; fails at "fail", panics at "panic".
struct Painter;

impl ImageGenerator for Painter {
    fn name(&self) -> &str {
        "painter"
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn generate(
        &self,
        _: &RgbaImage,
        descriptions: &[String],
        seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        let failure = |lasting| match lasting {
            true => GenerateError::Refused {
                generator: "painter".into(),
                reason: "no such paint".into(),
            },
            false => GenerateError::Generator {
                generator: "painter".into(),
                source: "out of paint".into(),
            },
        };
        let mut images = vec![];
        for description in descriptions {
            images.push(match description.as_str() {
                "fail" | "refuse" => return Err(failure(description == "refuse")),
                "away" | "full" => return Err(outage(description == "full")),
                "slow" => {
                    std::thread::sleep(Duration::from_millis(1_200));
                    continue;
                }
                "panic" => panic!("the painter fell"),
                "lose" => continue,
                "too long" => Err(NoImage::Description("it is too long".into())),
                "withhold" => Err(NoImage::Withheld("the safety checker".into())),
                "garbage" => Err(NoImage::Invalid("not a PNG".into())),
                _ => Ok(GeneratedImage {
                    image: RgbImage::from_pixel(2, 2, colour(seed, description)),
                    placed: None,
                    defects: 1,
                }),
            });
        }
        Ok(images)
    }
}

fn outage(full: bool) -> GenerateError {
    GenerateError::Unavailable {
        generator: "painter".into(),
        full,
        source: "at lunch".into(),
    }
}

fn colour(seed: u64, description: &str) -> Rgb<u8> {
    Rgb([seed as u8, (seed >> 8) as u8, description.len() as u8])
}

fn lease(tasks: Vec<ProductTask>) -> Lease {
    Lease::of(tasks, Duration::from_secs(60))
}

fn renderer() -> (Renderer, ProductTask) {
    let renderer = Renderer {
        generator: Arc::new(Painter),
        guardrails: Arc::default(),
        room: Arc::new(Room::new(1 << 30, 2, 1)),
        store: Store::open("memory:///").unwrap(),
        place: RunId::new("spring").unwrap().images_prefix(),
        run_seed: 7,
        concurrency: 2,
        unrendered: UndoneLeases::drawn_from(1),
    };
    let task = ProductTask {
        id: TaskId(4),
        product: ProductId::new("lamp").unwrap(),
        caption: String::new(),
        instruction: String::new(),
        image: Digest::from_bytes([1; 32]),
    };
    (renderer, task)
}

/// The cut-outs of so many tasks, of four pixels each.
fn cut_outs(renderer: &Renderer, tasks: usize) -> PerTask<Arc<CutOut>> {
    let image = Arc::new(RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 255])));
    let cut_out = |_| {
        let (image, share) = (image.clone(), renderer.room.task(image.as_raw().len())?);
        Ok(Arc::new(CutOut { image, share }))
    };
    (0..tasks).map(cut_out).collect()
}

/// What becomes of a lease whose cut-outs are let go of then.
async fn rendered(
    renderer: &mut Renderer,
    lease: &Lease,
    sampled: &PerTask<Vec<Trajectory>>,
) -> PerTask<RenderedGroup> {
    let cut_outs = cut_outs(renderer, lease.tasks.len());
    renderer.render(lease, &cut_outs, sampled).await
}

fn trajectory(task: u64, text: &str) -> Trajectory {
    let version = PolicyVersion::initial(LearnerEpoch(1));
    Trajectory::new(
        TaskId(task),
        version,
        vec![5],
        vec![-0.5],
        text.into(),
        Finish::Stop,
    )
    .unwrap()
}

#[tokio::test]
async fn candidates_of_a_group_share_their_noise_and_groups_do_not() {
    let (mut renderer, task) = renderer();
    let other = ProductTask {
        id: TaskId(5),
        ..task.clone()
    };
    let sampled = vec![
        Ok(vec![trajectory(4, "oak"), trajectory(4, "elm")]),
        Ok(vec![trajectory(5, "oak")]),
    ];
    let rendered = rendered(&mut renderer, &lease(vec![task, other]), &sampled).await;
    let (group, other) = (rendered[0].as_ref().unwrap(), rendered[1].as_ref().unwrap());
    assert_eq!(group[0].candidate.digest, group[1].candidate.digest);
    assert_ne!(group[0].candidate.digest, other[0].candidate.digest);
}

#[tokio::test]
async fn images_are_in_the_store_under_their_digest_before_anybody_hears_of_them() {
    let (mut renderer, task) = renderer();
    let rendered = rendered(
        &mut renderer,
        &lease(vec![task]),
        &vec![Ok(vec![trajectory(4, "oak"), trajectory(4, "teak")])],
    )
    .await;
    for image in rendered[0].as_ref().unwrap() {
        let digest = image.candidate.digest.unwrap();
        let stored = renderer.store.get_content("runs/spring/images", &digest).await;
        assert_eq!(stored.unwrap(), image.png);
        assert_eq!((image.candidate.defects, image.candidate.barred), (1, None));
    }
}

#[tokio::test]
async fn a_store_that_takes_no_image_is_no_fault_of_the_task() {
    let (mut renderer, task) = renderer();
    let directory = tempfile::tempdir().unwrap();
    renderer.store = Store::open(&format!("file://{}", directory.path().display())).unwrap();
    // Where the images were to go is something that is no directory.
    std::fs::write(directory.path().join("runs"), "").unwrap();
    let sampled = vec![Ok(vec![trajectory(4, "oak"), trajectory(4, "elm")])];
    let rendered = rendered(&mut renderer, &lease(vec![task]), &sampled).await;
    let outcome = rendered[0].clone().unwrap_err().outcome(TaskId(4));
    assert!(
        matches!(
            outcome,
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: true,
                blame: Blame::Service,
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_generator_that_fails_or_panics_fails_its_own_task_only() {
    let (mut renderer, task) = renderer();
    let sampled = ["fail", "oak", "panic", "refuse", "lose"]
        .map(|text| Ok(vec![trajectory(4, text), trajectory(4, "elm")]));
    let tasks = vec![task; sampled.len()];
    let rendered = rendered(&mut renderer, &lease(tasks), &sampled.to_vec()).await;
    assert!(rendered[1].is_ok());
    for (position, cause, may_pass) in [
        (0, "out of paint", true),
        (2, "the painter fell", true),
        (3, "no such paint", false),
        (4, "1 images for 2", true),
    ] {
        let outcome = rendered[position].clone().unwrap_err().outcome(TaskId(4));
        let RolloutOutcome::Failed {
            reason,
            retryable,
            detail,
            ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((reason, retryable), (FailureReason::Rendering, may_pass));
        assert!(detail.contains(cause), "{detail}");
    }
}

#[tokio::test]
async fn what_gave_no_image_is_barred_and_every_other_image_stays_with_its_description() {
    let (mut renderer, task) = renderer();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("words.txt");
    std::fs::write(&list, "beer\n").unwrap();
    let config = GuardrailsConfig {
        text_blocklist: list.to_str().unwrap().into(),
        // The painter's pictures have one colour.
        min_spread: 0.0,
        ..GuardrailsConfig::default()
    };
    renderer.guardrails = Arc::new(Guardrails::open(&config).unwrap());
    let texts = [
        "withhold",
        "oak",
        "a BEER garden",
        "garbage",
        "mahogany",
        "too long",
    ];
    let sampled = vec![Ok(texts.map(|text| trajectory(4, text)).to_vec())];
    let rendered = rendered(&mut renderer, &lease(vec![task]), &sampled).await;
    let group = rendered[0].as_ref().unwrap();
    let found: Vec<_> = group
        .iter()
        .map(|image| image.candidate.barred.map(|barred| barred.guardrail))
        .collect();
    assert_eq!(
        found,
        [
            Some(Guardrail::Withheld),
            None,
            Some(Guardrail::TextBlocklist),
            Some(Guardrail::Undecodable),
            None,
            Some(Guardrail::Description)
        ]
    );
    let version = PolicyVersion::initial(LearnerEpoch(1));
    let seed = derive_seed(7, TaskId(4), version, Purpose::RenderNoise);
    for (image, text) in group.iter().zip(texts) {
        if image.candidate.barred.is_some() {
            assert_eq!((image.candidate.digest, image.png.len()), (None, 0));
            continue;
        }
        let picture = data::cutout::decode_rgb(&image.png).unwrap();
        assert_eq!(*picture.get_pixel(0, 0), colour(seed, text));
    }
    assert_eq!(comparable(group).unwrap(), [&group[1], &group[4]]);
    assert_eq!(comparable(&group[..4].to_vec()), None);
}

#[tokio::test]
async fn a_group_of_which_nothing_may_be_rendered_asks_nobody() {
    let (mut renderer, task) = renderer();
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("words.txt");
    std::fs::write(&list, "panic\n").unwrap();
    let config = GuardrailsConfig {
        text_blocklist: list.to_str().unwrap().into(),
        // The painter's pictures have one colour.
        min_spread: 0.0,
        ..GuardrailsConfig::default()
    };
    renderer.guardrails = Arc::new(Guardrails::open(&config).unwrap());
    let sampled = vec![Ok(vec![trajectory(4, "panic"), trajectory(4, "Panic")])];
    let rendered = rendered(&mut renderer, &lease(vec![task]), &sampled).await;
    let group = rendered[0].as_ref().unwrap();
    assert!(group.iter().all(|image| image.candidate.barred.is_some()));
}

#[tokio::test]
async fn a_generator_that_is_away_or_too_slow_is_asked_no_more_in_this_lease_and_waited_for_before_the_next()
{
    let (mut renderer, task) = renderer();
    renderer.concurrency = 1;
    let sampled = |texts: [&str; 3]| {
        texts
            .map(|text| Ok(vec![trajectory(4, text), trajectory(4, "elm")]))
            .to_vec()
    };
    for (texts, ttl_ms, says) in [
        (["oak", "away", "panic"], 60_000, "at lunch"),
        (["oak", "slow", "panic"], 2_000, "lease_ttl_ms"),
    ] {
        let lease = Lease::of(vec![task.clone(); 3], Duration::from_millis(ttl_ms));
        let rendered = rendered(&mut renderer, &lease, &sampled(texts)).await;
        assert!(rendered[0].is_ok());
        for failure in &rendered[1..] {
            // The last one would have panicked.
            let failure = failure.clone().unwrap_err();
            assert!(failure.detail().contains(says), "{}", failure.detail());
            let outcome = failure.outcome(TaskId(4));
            assert!(!outcome.is_terminal(), "{outcome:?}");
        }
        let waits_for = renderer.waits_for().unwrap().what;
        assert!(
            waits_for.contains("painter") && waits_for.contains(says),
            "{waits_for}"
        );
        renderer.recovered().await.unwrap();
    }
    let whole = rendered(&mut renderer, &lease(vec![task; 3]), &sampled(["oak"; 3])).await;
    assert!(whole.iter().all(Result::is_ok));
    assert_eq!(renderer.waits_for(), None);
}

#[tokio::test]
async fn three_leases_that_a_generator_left_unrendered_are_too_many_unless_it_had_no_room() {
    let (mut renderer, task) = renderer();
    let lease = lease(vec![task]);
    let sampled = |text| vec![Ok(vec![trajectory(4, text), trajectory(4, "elm")])];
    for text in ["full", "away", "full", "away", "full"] {
        assert!(rendered(&mut renderer, &lease, &sampled(text)).await[0].is_err());
        renderer.recovered().await.unwrap();
    }
    assert!(rendered(&mut renderer, &lease, &sampled("away")).await[0].is_err());
    let error = renderer.recovered().await.unwrap_err();
    assert!(matches!(error, ActorError::ImageGenerator(_)), "{error}");
}
