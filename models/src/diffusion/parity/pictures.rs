//! The whole pipeline.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use image::{GrayImage, RgbImage};
use serde::Deserialize;

use super::{Expected, controlnet, fixtures, largest_difference, report, tiny};
use crate::diffusion::noise::NoiseStream;
use crate::diffusion::pipeline::{Canvas, GivenNoise, Inpainting, Picture, PipelineConfig, Wanted};
use crate::diffusion::prompt::{LongPrompts, PromptStyle};
use crate::directory::read_json;
use crate::error::ModelError;

/// Of a colour from 0 to 1. PyTorch's own f32 differs from its f64 by 6.6e-5 here.
const TOLERANCE: f64 = 1e-3;

/// Every which row and column is kept in the fixture.
const STRIDE: usize = 7;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    width: usize,
    height: usize,
    steps: usize,
    prompts: Vec<String>,
    latents_seed: Option<u64>,
}

fn cases() -> Vec<Case> {
    let file: Cases = read_json(&fixtures().join("expected/pipeline.json")).unwrap();
    file.cases
}

fn opened(path: &Path) -> image::DynamicImage {
    image::open(path).unwrap()
}

impl Case {
    fn canvas(&self) -> Canvas {
        let path = |what: &str| fixtures().join(format!("pictures/{}.{what}.png", self.name));
        let init: RgbImage = opened(&path("init")).into_rgb8();
        let repaint: GrayImage = opened(&path("mask")).into_luma8();
        Canvas::new(init, repaint, opened(&path("control")).into_rgb8()).unwrap()
    }

    fn latents(&self) -> Option<GivenNoise> {
        let shape = [self.prompts.len(), 4, self.height / 8, self.width / 8];
        let mut stream = NoiseStream::new(self.latents_seed?);
        Some(GivenNoise::new(stream.normal(shape, &Device::flex())))
    }

    fn paint(&self, batch: usize) -> Vec<Picture> {
        let config = PipelineConfig {
            steps: self.steps,
            batch,
            ..PipelineConfig::default()
        };
        painted(
            &mut pipeline(config),
            self,
            &self.prompts,
            42,
            self.latents().as_ref(),
        )
    }

    fn compare(&self, expected: &Expected, pictures: &[Picture]) {
        let kept: Vec<f64> = pictures.iter().flat_map(|picture| self.kept(picture)).collect();
        let theirs = expected.numbers(&format!("{}.images_u16", self.name));
        let theirs: Vec<f64> = theirs.into_iter().map(|value| value / 65535.0).collect();
        assert_eq!(kept.len(), theirs.len());
        let difference = largest_difference(&kept, &theirs);
        report(&format!("whole picture, {}", self.name), difference);
        assert!(difference < TOLERANCE, "{}: {difference:e}", self.name);
    }

    fn kept(&self, picture: &Picture) -> Vec<f64> {
        let (width, height) = picture.dimensions();
        assert_eq!((width, height), (self.width, self.height));
        let value = |y: usize, x: usize, c: usize| f64::from(picture.values()[(c * height + y) * width + x]);
        (0..height)
            .step_by(STRIDE)
            .flat_map(|y| (0..width).step_by(STRIDE).map(move |x| (y, x)))
            .flat_map(|(y, x)| [0, 1, 2].map(|c| value(y, x, c)))
            .collect()
    }
}

fn wanted(prompts: &[String], seed: u64) -> Vec<Wanted> {
    let one = |description: &String| Wanted {
        description: description.clone(),
        seed,
    };
    prompts.iter().map(one).collect()
}

fn painted(
    pipeline: &mut Inpainting,
    case: &Case,
    prompts: &[String],
    seed: u64,
    latents: Option<&GivenNoise>,
) -> Vec<Picture> {
    let pictures = pipeline.paint(&case.canvas(), &wanted(prompts, seed), latents, &mut |_| ());
    pictures.unwrap().into_iter().map(Result::unwrap).collect()
}

fn pipeline(config: PipelineConfig) -> Inpainting {
    Inpainting::new(&tiny(), &controlnet(), None, config, &Device::flex(), DType::F32).unwrap()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

/// From given latents: two pictures of 512x512, one after the other, and two of 512x640 in one batch; from a seed, one of
/// 256x256.
#[test]
fn pictures_are_those_of_diffusers() {
    let expected = Expected::of("pipeline");
    for case in cases() {
        let batch = if case.name == "512x640" { 2 } else { 1 };
        case.compare(&expected, &case.paint(batch));
    }
}

#[test]
fn one_seed_gives_one_picture_bit_for_bit_alone_or_among_others() {
    let small = case("256x256");
    let two = &case("512x512").prompts;
    // On a CPU, where each row of a pass is computed by itself, also in one batch.
    for batch in [1, 2] {
        let config = PipelineConfig {
            steps: 2,
            batch,
            ..PipelineConfig::default()
        };
        let paint = |prompts: &[String]| painted(&mut pipeline(config.clone()), &small, prompts, 9, None);
        let both = paint(two);
        assert_eq!(both[..1], paint(&two[..1]), "{batch}");
        assert_eq!(both[1..], paint(&two[1..]), "{batch}");
        assert_ne!(both[0], both[1], "{batch}");
    }
}

#[test]
fn what_is_kept_or_given_back_between_pictures_changes_nothing() {
    let small = case("256x256");
    let config = PipelineConfig {
        steps: 1,
        ..PipelineConfig::default()
    };
    let mut keeping = pipeline(config.clone());
    let mut paint = |seed| painted(&mut keeping, &small, &small.prompts, seed, None);
    let first = paint(1);
    assert_ne!(first, paint(2));
    assert_eq!(first, paint(1));
    let mut releasing = pipeline(PipelineConfig {
        release: true,
        ..config
    });
    assert_eq!(first, painted(&mut releasing, &small, &small.prompts, 1, None));
}

/// How tiles are joined is compared in `networks`.
#[test]
fn a_tile_that_is_larger_than_the_picture_is_the_picture() {
    let small = case("256x256");
    let picture = |tile| {
        let config = PipelineConfig {
            steps: 1,
            tile,
            ..PipelineConfig::default()
        };
        painted(&mut pipeline(config), &small, &small.prompts, 1, None).remove(0)
    };
    let whole = picture(None);
    assert_eq!(whole, picture(Some(32)));
    assert_ne!(whole, picture(Some(16)));
}

#[test]
fn progress_counts_every_step_of_every_picture() {
    let mut small = case("256x256");
    small.prompts.push("green leaves".into());
    let config = PipelineConfig {
        steps: 3,
        ..PipelineConfig::default()
    };
    let mut seen = vec![];
    let mut pipeline = pipeline(config);
    let pictures = pipeline.paint(&small.canvas(), &wanted(&small.prompts, 1), None, &mut |step| {
        seen.push((step.done, step.all));
    });
    assert_eq!(pictures.unwrap().len(), 2);
    assert_eq!(seen, [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]);
}

#[test]
fn latents_of_another_size_are_refused_with_both_sizes() {
    let small = case("256x256");
    let wrong = GivenNoise::new(Tensor::zeros([1, 4, 16, 32], &Device::flex()));
    let refused = pipeline(PipelineConfig::default()).paint(
        &small.canvas(),
        &wanted(&small.prompts, 1),
        Some(&wrong),
        &mut |_| (),
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("[1, 4, 16, 32]") && message.contains("4, 32, 32"),
        "{message}"
    );
}

#[test]
fn a_description_that_is_too_long_costs_only_its_own_picture() {
    let small = case("256x256");
    let config = PipelineConfig {
        steps: 1,
        prompts: PromptStyle {
            long: LongPrompts::Refuse,
            ..PromptStyle::default()
        },
        ..PipelineConfig::default()
    };
    let mut pipeline = pipeline(config);
    let prompts = ["leaves ".repeat(90), small.prompts[0].clone()];
    let pictures = pipeline
        .paint(&small.canvas(), &wanted(&prompts, 1), None, &mut |_| ())
        .unwrap();
    assert!(
        matches!(&pictures[0], Err(ModelError::Prompt { .. })),
        "{:?}",
        pictures[0]
    );
    let alone = painted(&mut pipeline, &small, &small.prompts, 1, None);
    assert_eq!(pictures[1].as_ref().unwrap(), &alone[0]);
}

/// Chunks change what the U-net attends to; nothing else of a long description is lost.
#[test]
fn a_long_description_is_read_to_its_end() {
    let small = case("256x256");
    let config = PipelineConfig {
        steps: 1,
        ..PipelineConfig::default()
    };
    let mut pipeline = pipeline(config);
    let long = "leaves ".repeat(90);
    let mut paint = |text: &str| painted(&mut pipeline, &small, &[text.to_owned()], 1, None).remove(0);
    assert_ne!(paint(&format!("{long} stone")), paint(&format!("{long} water")));
}
