//! How noise is taken away step by step: the samplers, each reduced to a few numbers per step.
//!
//! Every sampler here is linear in the latents `x`, the network's output `m`, the last two estimates of the clean latents and
//! fresh noise. So a step is
//!
//! ```text
//! x0   = of_latents * x + of_output * m                                   (the estimate of the clean latents)
//! next = latents * x + denoised * x0 + previous * x0_before + output * m + noise * n
//! ```
//!
//! and a sampler is what computes those numbers (`schedule/methods.rs`). Numbers are computed in f64 from noise levels in f32, as
//! diffusers does.

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

mod config;
mod levels;
mod methods;

pub use config::{Prediction, SamplerConfig, Spacing};

/// A way to take noise away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Euler's method with fresh noise in every step ("Euler a"; Crowson's ancestral sampler over
    /// [arXiv 2206.00364](https://arxiv.org/abs/2206.00364)). CAIG's choice.
    #[default]
    EulerA,
    /// Euler's method ([arXiv 2206.00364](https://arxiv.org/abs/2206.00364), algorithm 2 without churn).
    Euler,
    /// Denoising diffusion implicit models ([arXiv 2010.02502](https://arxiv.org/abs/2010.02502)) without fresh noise.
    Ddim,
    /// DPM-Solver++ of order 2, multistep ([arXiv 2211.01095](https://arxiv.org/abs/2211.01095)).
    #[serde(rename = "dpmpp-2m")]
    Dpmpp2m,
}

impl Sampler {
    /// Every sampler.
    pub const ALL: [Self; 4] = [Self::EulerA, Self::Euler, Self::Ddim, Self::Dpmpp2m];

    /// Its name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EulerA => "euler-a",
            Self::Euler => "euler",
            Self::Ddim => "ddim",
            Self::Dpmpp2m => "dpmpp-2m",
        }
    }
}

/// All steps of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Deviation of the noise to begin with.
    pub initial: f64,
    /// The steps, from noise to picture.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What the network is told.
    pub timestep: f64,
    /// What the latents are multiplied by before the network sees them.
    pub input: f64,
    /// The estimate of the clean latents.
    pub estimate: Estimate,
    /// The next latents.
    pub next: Next,
    /// How clean latents look at the noise level behind this step.
    pub behind: Blend,
}

/// `x0 = of_latents * x + of_output * m`, limited to ±`limit` where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Factor of the latents.
    pub of_latents: f64,
    /// Factor of the network's output.
    pub of_output: f64,
    /// The most that an estimate may be.
    pub limit: Option<f64>,
}

/// Factors of what the next latents are made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Next {
    /// Of the latents.
    pub latents: f64,
    /// Of the estimate.
    pub denoised: f64,
    /// Of the estimate of the step before.
    pub previous: f64,
    /// Of the network's output.
    pub output: f64,
    /// Of fresh noise.
    pub noise: f64,
}

/// `clean * x + noise * n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// Factor of clean latents.
    pub clean: f64,
    /// Factor of noise.
    pub noise: f64,
}

impl Schedule {
    /// `steps` steps of a sampler.
    ///
    /// # Errors
    /// [`ModelError::Config`] for no steps, or more than the network was trained with; [`ModelError::Foreign`] for a setting of this
    /// sampler that is not built here.
    pub fn new(sampler: Sampler, config: &SamplerConfig, steps: usize) -> Result<Self, ModelError> {
        let most = config.num_train_timesteps;
        // DPM-Solver spreads one more than it takes.
        if steps == 0 || steps >= most {
            return Err(ModelError::Config {
                key: "steps",
                value: steps.to_string(),
                expected: "at least 1 and below num_train_timesteps of the scheduler",
            });
        }
        config.check_for(sampler)?;
        Ok(match sampler {
            Sampler::EulerA => methods::euler(config, steps, methods::Churn::Ancestral),
            Sampler::Euler => methods::euler(config, steps, methods::Churn::None),
            Sampler::Ddim => methods::ddim(config, steps),
            Sampler::Dpmpp2m => methods::dpm_solver(config, steps),
        })
    }
}

impl Step {
    /// Whether it wants fresh noise.
    pub fn draws_noise(&self) -> bool {
        self.next.noise > 0.0
    }

    /// The next latents and the estimate of the clean ones.
    ///
    /// # Shapes
    /// All tensors have the latents' shape.
    pub fn apply(
        &self,
        latents: Tensor<4>,
        output: Tensor<4>,
        before: Option<Tensor<4>>,
        noise: Option<Tensor<4>>,
    ) -> (Tensor<4>, Tensor<4>) {
        let Estimate {
            of_latents,
            of_output,
            limit,
        } = self.estimate;
        let estimate = latents.clone() * of_latents + output.clone() * of_output;
        let estimate = match limit {
            Some(limit) => estimate.clamp(-limit, limit),
            None => estimate,
        };
        let next = self.next;
        let parts = [
            (next.latents, Some(latents)),
            (next.previous, before),
            (next.output, Some(output)),
            (next.noise, noise),
        ];
        let parts = parts.into_iter().filter(|&(factor, _)| factor != 0.0);
        let sum = parts.fold(
            estimate.clone() * next.denoised,
            |sum, (factor, part)| match part {
                Some(part) => sum + part * factor,
                None => sum,
            },
        );
        (sum, estimate)
    }
}

impl Blend {
    /// # Shapes
    /// `clean` and `noise` have the same.
    pub fn of(&self, clean: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
        clean * self.clean + noise * self.noise
    }
}
