//! What diffusers' `scheduler_config.json` says, under its names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Sampler;
use crate::error::ModelError;
use crate::foreign::{complete, require};
use crate::limits;

/// What the network was trained to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity ("Progressive distillation for fast sampling of diffusion models",
    /// [arXiv 2202.00512](https://arxiv.org/abs/2202.00512)).
    VPrediction,
}

/// Which of the training's timesteps are visited
/// ([arXiv 2305.08891](https://arxiv.org/abs/2305.08891), table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly from the first to the last.
    Linspace,
    /// The first of each interval.
    Leading,
    /// The last of each interval.
    Trailing,
}

/// How the variance of the noise grows over the training's timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Linearly.
    Linear,
    /// As the square of what grows linearly: Stable Diffusion's.
    ScaledLinear,
}

/// The noise of the training and how the samplers walk through it. A file names one sampler; the others read what they
/// share with it, as diffusers' `from_config` does, and have the library's defaults for the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplerConfig {
    /// Timesteps of the training.
    pub num_train_timesteps: usize,
    /// Variance added in the first.
    pub beta_start: f64,
    /// Variance added in the last.
    pub beta_end: f64,
    /// In between.
    pub beta_schedule: BetaSchedule,
    /// What the network tells.
    pub prediction_type: Prediction,
    /// Which timesteps are visited. Default: `leading` for DDIM, `linspace` for the others.
    #[serde(default)]
    pub timestep_spacing: Option<Spacing>,
    /// Added to the timesteps of `leading`.
    pub steps_offset: usize,
    /// Whether noise levels follow [arXiv 2206.00364](https://arxiv.org/abs/2206.00364), eq. 5; Euler and DPM-Solver only.
    pub use_karras_sigmas: bool,
    /// DDIM: whether the estimate of the clean latents is limited. Off in Stable Diffusion.
    pub clip_sample: bool,
    /// DDIM: to what it is limited.
    pub clip_sample_range: f64,
    /// DDIM: whether the last step ends without any noise instead of with the first timestep's.
    pub set_alpha_to_one: bool,
}

/// What changes the numbers and is done one way only here.
fn fixed() -> Vec<(&'static str, Value)> {
    vec![
        ("trained_betas", Value::Null),
        ("rescale_betas_zero_snr", json!(false)),
        ("thresholding", json!(false)),
        ("interpolation_type", json!("linear")),
        ("timestep_type", json!("discrete")),
        ("final_sigmas_type", json!("zero")),
        ("use_exponential_sigmas", json!(false)),
        ("use_beta_sigmas", json!(false)),
        ("use_lu_lambdas", json!(false)),
        ("use_flow_sigmas", json!(false)),
        ("solver_order", json!(2)),
        ("solver_type", json!("midpoint")),
        ("algorithm_type", json!("dpmsolver++")),
        ("sigma_min", Value::Null),
        ("sigma_max", Value::Null),
    ]
}

impl SamplerConfig {
    /// Stable Diffusion 1.5's.
    pub fn stable_diffusion_15() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 1,
            use_karras_sigmas: false,
            clip_sample: false,
            clip_sample_range: 1.0,
            set_alpha_to_one: false,
        }
    }

    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] for a key that asks for other numbers, [`ModelError::Config`] for one out of range.
    pub fn read(mut json: Map<String, Value>) -> Result<Self, ModelError> {
        // What the library filled in by itself says nothing about another sampler.
        if let Some(Value::Array(defaults)) = json.remove("_use_default_values") {
            for key in defaults.iter().filter_map(Value::as_str) {
                json.remove(key);
            }
        }
        require(&json, "", &fixed())?;
        complete(
            &mut json,
            json!({
                "num_train_timesteps": 1000,
                "beta_start": 0.0001,
                "beta_end": 0.02,
                "beta_schedule": "linear",
                "prediction_type": "epsilon",
                "steps_offset": 0,
                "use_karras_sigmas": false,
                "clip_sample": true,
                "clip_sample_range": 1.0,
                "set_alpha_to_one": true,
            }),
        );
        let config: Self =
            serde_json::from_value(Value::Object(json)).map_err(|error| ModelError::Foreign {
                reason: error.to_string(),
            })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let share = |key, value: f64| {
            (
                value > 0.0 && value < 1.0,
                key,
                value.to_string(),
                "above 0 and below 1",
            )
        };
        limits::check([
            (
                (2..=1 << 16).contains(&self.num_train_timesteps),
                "num_train_timesteps",
                self.num_train_timesteps.to_string(),
                "from 2 to 65536",
            ),
            share("beta_start", self.beta_start),
            share("beta_end", self.beta_end),
            (
                self.steps_offset <= 1,
                "steps_offset",
                self.steps_offset.to_string(),
                "0 or 1",
            ),
            limits::positive("clip_sample_range", self.clip_sample_range),
        ])
    }

    pub(super) fn spacing(&self, sampler: Sampler) -> Spacing {
        let default = match sampler {
            Sampler::Ddim => Spacing::Leading,
            Sampler::EulerA | Sampler::Euler | Sampler::Dpmpp2m => Spacing::Linspace,
        };
        self.timestep_spacing.unwrap_or(default)
    }
}
