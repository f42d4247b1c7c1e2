//! The numbers of each sampler's steps.

use super::config::{Prediction, SamplerConfig, Spacing};
use super::levels::{self, Training};
use super::{Blend, Estimate, Next, Sampler, Schedule, Step};

/// Whether a step of Euler's method goes too far down and adds fresh noise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Churn {
    None,
    Ancestral,
}

/// Euler's method: along the line from the latents to the estimate, from one level to the next.
pub(super) fn euler(config: &SamplerConfig, steps: usize, churn: Churn) -> Schedule {
    let sampler = match churn {
        Churn::None => Sampler::Euler,
        Churn::Ancestral => Sampler::EulerA,
    };
    let (training, spacing) = (Training::new(config), config.spacing(sampler));
    // f32, as diffusers keeps them.
    let mut timesteps: Vec<f64> = levels::timesteps(config, spacing, steps)
        .into_iter()
        .map(|timestep| f64::from(timestep as f32))
        .collect();
    let mut sigmas: Vec<f64> = timesteps
        .iter()
        .map(|&t| f64::from(training.sigma_at(t)))
        .collect();
    if config.use_karras_sigmas && churn == Churn::None {
        sigmas = levels::karras(sigmas[0], sigmas[steps - 1], steps);
        timesteps = sigmas.iter().map(|&sigma| training.timestep_of(sigma)).collect();
        sigmas = rounded(sigmas);
    }
    sigmas.push(0.0);
    let step = |(levels, &timestep): (&[f64], &f64)| {
        let (from, to) = (levels[0], levels[1]);
        let (down, up) = match churn {
            Churn::None => (to, 0.0),
            Churn::Ancestral => {
                let up = (to.powi(2) * (from.powi(2) - to.powi(2)) / from.powi(2))
                    .max(0.0)
                    .sqrt();
                ((to.powi(2) - up.powi(2)).max(0.0).sqrt(), up)
            }
        };
        let estimate = match config.prediction_type {
            Prediction::Epsilon => (1.0, -from),
            Prediction::VPrediction => (1.0 / (from.powi(2) + 1.0), -from / (from.powi(2) + 1.0).sqrt()),
        };
        Step {
            timestep,
            input: 1.0 / (from.powi(2) + 1.0).sqrt(),
            estimate: unlimited(estimate),
            next: Next {
                latents: down / from,
                denoised: 1.0 - down / from,
                noise: up,
                ..Next::default()
            },
            behind: Blend {
                clean: 1.0,
                noise: to,
            },
        }
    };
    let most = sigmas.iter().copied().fold(0.0, f64::max);
    Schedule {
        initial: match spacing {
            Spacing::Leading => (most.powi(2) + 1.0).sqrt(),
            Spacing::Linspace | Spacing::Trailing => most,
        },
        steps: sigmas.windows(2).zip(&timesteps).map(step).collect(),
    }
}

/// DDIM without fresh noise: the estimate at the next level, with the noise that the network told.
pub(super) fn ddim(config: &SamplerConfig, steps: usize) -> Schedule {
    let (training, spacing) = (Training::new(config), config.spacing(Sampler::Ddim));
    let timesteps: Vec<f64> = levels::timesteps(config, spacing, steps)
        .into_iter()
        .map(f64::round_ties_even)
        .collect();
    let alpha =
        |timestep: f64| f64::from(training.alphas[(timestep as usize).min(training.alphas.len() - 1)]);
    let last = if config.set_alpha_to_one { 1.0 } else { alpha(0.0) };
    let stride = (config.num_train_timesteps / steps) as f64;
    let step = |(index, &timestep): (usize, &f64)| {
        let next = timestep - stride;
        let (now, then) = (alpha(timestep), if next >= 0.0 { alpha(next) } else { last });
        let (picture, noise) = (now.sqrt(), (1.0 - now).sqrt());
        let direction = (1.0 - then).sqrt();
        let (estimate, of_latents, of_output) = match config.prediction_type {
            Prediction::Epsilon => ((1.0 / picture, -noise / picture), 0.0, direction),
            Prediction::VPrediction => ((picture, -noise), direction * noise, direction * picture),
        };
        let behind = timesteps.get(index + 1).map_or(1.0, |&timestep| alpha(timestep));
        Step {
            timestep,
            input: 1.0,
            estimate: Estimate {
                limit: config.clip_sample.then_some(config.clip_sample_range),
                ..unlimited(estimate)
            },
            next: Next {
                latents: of_latents,
                denoised: then.sqrt(),
                output: of_output,
                ..Next::default()
            },
            behind: Blend {
                clean: behind.sqrt(),
                noise: (1.0 - behind).max(0.0).sqrt(),
            },
        }
    };
    Schedule {
        initial: 1.0,
        steps: timesteps.iter().enumerate().map(step).collect(),
    }
}

/// DPM-Solver++ 2M: the second order comes from the estimate of the step before.
pub(super) fn dpm_solver(config: &SamplerConfig, steps: usize) -> Schedule {
    let (training, spacing) = (Training::new(config), config.spacing(Sampler::Dpmpp2m));
    let mut timesteps = dpm_timesteps(config, spacing, steps);
    let mut sigmas: Vec<f64> = timesteps
        .iter()
        .map(|&t| f64::from(training.sigma_at(t)))
        .collect();
    if config.use_karras_sigmas {
        let (least, most) = (training.sigmas[0], training.sigmas[training.sigmas.len() - 1]);
        sigmas = levels::karras(f64::from(most), f64::from(least), steps);
        timesteps = sigmas
            .iter()
            .map(|&sigma| training.timestep_of(sigma).round_ties_even())
            .collect();
        sigmas = rounded(sigmas);
    }
    sigmas.push(0.0);
    let level = |index: usize| Level::new(sigmas[index]);
    let step = |(index, &timestep): (usize, &f64)| {
        let (from, to) = (level(index), level(index + 1));
        let stride = to.half_log_snr() - from.half_log_snr();
        let reached = -to.picture * ((-stride).exp() - 1.0);
        let is_last = index + 1 == steps;
        // The last step ends without noise, where only the first order is defined.
        let first_order = index == 0 || is_last;
        let (denoised, previous) = if first_order {
            (reached, 0.0)
        } else {
            let before = from.half_log_snr() - level(index - 1).half_log_snr();
            let correction = 0.5 * reached * stride / before;
            (reached + correction, -correction)
        };
        let estimate = match config.prediction_type {
            Prediction::Epsilon => (1.0 / from.picture, -from.noise / from.picture),
            Prediction::VPrediction => (from.picture, -from.noise),
        };
        Step {
            timestep,
            input: 1.0,
            estimate: unlimited(estimate),
            next: Next {
                latents: to.noise / from.noise,
                denoised,
                previous,
                ..Next::default()
            },
            behind: Blend {
                clean: to.picture,
                noise: to.noise,
            },
        }
    };
    Schedule {
        initial: 1.0,
        steps: timesteps.iter().enumerate().map(step).collect(),
    }
}

/// Whole timesteps; one more than is wanted is spread, of which the cleanest is left out.
fn dpm_timesteps(config: &SamplerConfig, spacing: Spacing, steps: usize) -> Vec<f64> {
    let count = config.num_train_timesteps;
    match spacing {
        Spacing::Linspace => {
            let spread = levels::linspace(0.0, (count - 1) as f64, steps + 1);
            spread[1..].iter().rev().map(|t| t.round_ties_even()).collect()
        }
        Spacing::Leading => {
            let ratio = count / (steps + 1);
            let at = |i: usize| (i * ratio + config.steps_offset) as f64;
            (1..=steps).rev().map(at).collect()
        }
        Spacing::Trailing => levels::trailing(count, steps),
    }
}

/// A level with variance 1 in all.
struct Level {
    picture: f64,
    noise: f64,
}

impl Level {
    fn new(sigma: f64) -> Self {
        let picture = 1.0 / (sigma.powi(2) + 1.0).sqrt();
        Self {
            picture,
            noise: sigma * picture,
        }
    }

    /// Half the logarithm of the ratio of signal to noise, lambda in the papers; infinite without noise.
    fn half_log_snr(&self) -> f64 {
        self.picture.ln() - self.noise.ln()
    }
}

fn unlimited((of_latents, of_output): (f64, f64)) -> Estimate {
    Estimate {
        of_latents,
        of_output,
        limit: None,
    }
}

/// As f32, as diffusers keeps levels.
fn rounded(levels: Vec<f64>) -> Vec<f64> {
    levels.into_iter().map(|level| f64::from(level as f32)).collect()
}
