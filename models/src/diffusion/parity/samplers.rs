//! Every sampler, spacing and prediction over 30 and over 7 steps, with a formula in place of the network.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Expected, fixtures, largest_difference, report};
use crate::diffusion::noise::NoiseStream;
use crate::diffusion::schedule::{Sampler, SamplerConfig, Schedule};
use crate::directory::read_json;

/// Latents reach some 15 at the first steps; this is 1e-5 of that.
const TOLERANCE: f64 = 2e-4;

/// Of the latents.
const SHAPE: [usize; 4] = [1, 4, 4, 4];

#[derive(Deserialize)]
struct Fixture {
    config: Map<String, Value>,
    more: Map<String, Value>,
    kept: Map<String, Value>,
    schedules: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    scheduler: String,
    spacing: String,
    steps: usize,
    init_noise_sigma: f64,
}

impl Fixture {
    fn config(&self, row: &Row, prediction: &str) -> SamplerConfig {
        let mut config = self.config.clone();
        config.extend(self.more[&row.scheduler].as_object().unwrap().clone());
        config.insert("timestep_spacing".into(), row.spacing.clone().into());
        config.insert("prediction_type".into(), prediction.into());
        SamplerConfig::read(config).unwrap()
    }

    fn kept(&self, row: &Row) -> Vec<usize> {
        let kept = self.kept[&row.steps.to_string()].as_array().unwrap();
        kept.iter().map(|step| step.as_u64().unwrap() as usize).collect()
    }
}

fn sampler(name: &str) -> Sampler {
    *Sampler::ALL
        .iter()
        .find(|sampler| name.starts_with(sampler.name()))
        .unwrap()
}

#[test]
fn every_sampler_takes_the_same_steps() {
    let fixture: Fixture = read_json(&fixtures().join("expected/schedulers.json")).unwrap();
    let (expected, device) = (Expected::of("schedulers"), Device::flex());
    assert!(fixture.schedules.len() >= 30);
    let mut worst = BTreeMap::new();
    for row in &fixture.schedules {
        for prediction in ["epsilon", "v_prediction"] {
            let config = fixture.config(row, prediction);
            let schedule = Schedule::new(sampler(&row.scheduler), &config, row.steps).unwrap();
            assert!(
                (schedule.initial - row.init_noise_sigma).abs() < 1e-4,
                "{}",
                row.key
            );
            let timesteps: Vec<f64> = schedule.steps.iter().map(|step| step.timestep).collect();
            let theirs = expected.numbers(&format!("{}.timesteps", row.key));
            assert!(
                largest_difference(&timesteps, &theirs) < 1e-3,
                "{}: {timesteps:?} {theirs:?}",
                row.key
            );
            let latents = run(&schedule, &fixture.kept(row), &device);
            let theirs = expected.numbers(&format!("{}.{prediction}", row.key));
            assert_eq!(latents.len(), theirs.len());
            let difference = largest_difference(&latents, &theirs);
            let worst = worst.entry(row.scheduler.clone()).or_insert(0.0f64);
            *worst = worst.max(difference);
            assert!(difference < TOLERANCE, "{} {prediction}: {difference:e}", row.key);
        }
    }
    for (sampler, worst) in worst {
        report(&format!("sampler {sampler}, latents"), worst);
    }
}

/// What the pipeline keeps around the product's place: its latents, as noisy as the next step expects them, and clean in the end.
#[test]
fn what_lies_behind_the_mask_is_as_noisy_as_the_next_step() {
    let fixture: Fixture = read_json(&fixtures().join("expected/schedulers.json")).unwrap();
    let (expected, device) = (Expected::of("schedulers"), Device::flex());
    let clean = NoiseStream::new(43).normal(SHAPE, &device);
    let noise = NoiseStream::new(42).normal(SHAPE, &device);
    let (mut seen, mut worst) = (BTreeSet::new(), 0.0f64);
    for row in &fixture.schedules {
        let (kept, theirs) = (
            fixture.kept(row),
            expected.numbers(&format!("{}.behind", row.key)),
        );
        for prediction in ["epsilon", "v_prediction"] {
            let sampler = sampler(&row.scheduler);
            let schedule = Schedule::new(sampler, &fixture.config(row, prediction), row.steps).unwrap();
            let behind = |&step: &usize| {
                let blend = schedule.steps[step - 1].behind;
                let blended = blend.of(clean.clone(), noise.clone()).into_data();
                blended.iter::<f64>().collect::<Vec<_>>()
            };
            let ours: Vec<f64> = kept.iter().flat_map(behind).collect();
            assert_eq!(ours.len(), theirs.len());
            let difference = largest_difference(&ours, &theirs);
            worst = worst.max(difference);
            assert!(difference < TOLERANCE, "{} {prediction}: {difference:e}", row.key);
            seen.insert(sampler.name());
        }
    }
    assert_eq!(seen, Sampler::ALL.iter().map(|sampler| sampler.name()).collect());
    report("latents behind the mask, all samplers", worst);
}

/// The latents behind the steps that are kept.
fn run(schedule: &Schedule, kept: &[usize], device: &Device) -> Vec<f64> {
    let mut stream = NoiseStream::new(42);
    let mut latents = stream.normal(SHAPE, device) * schedule.initial;
    let (mut before, mut found) = (None, vec![]);
    for (index, step) in schedule.steps.iter().enumerate() {
        let input: Tensor<4> = latents.clone() * step.input;
        let output = (input * 3.0).sin() * 0.8 + step.timestep / 1000.0 * 0.1;
        let noise = step.draws_noise().then(|| stream.normal(SHAPE, device));
        let (next, estimate) = step.apply(latents, output, before.take(), noise);
        latents = next;
        before = Some(estimate);
        if kept.contains(&(index + 1)) {
            found.extend(latents.to_data().iter::<f64>());
        }
    }
    found
}

#[test]
fn no_steps_and_more_steps_than_the_training_had_are_refused() {
    let config = SamplerConfig::stable_diffusion_15();
    for sampler in Sampler::ALL {
        for steps in [0, 1000, usize::MAX] {
            assert!(
                Schedule::new(sampler, &config, steps).is_err(),
                "{sampler:?} {steps}"
            );
        }
        for steps in [1, 2, 999] {
            let schedule = Schedule::new(sampler, &config, steps).unwrap();
            assert_eq!(schedule.steps.len(), steps, "{sampler:?}");
        }
    }
}
