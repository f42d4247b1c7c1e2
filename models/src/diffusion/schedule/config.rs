//! What diffusers' `scheduler_config.json` says, under its names.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Sampler;
use crate::directory::read;
use crate::error::ModelError;
use crate::foreign::{complete, parse, require};
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
    /// DDIM: whether the estimate of the clean latents is limited. Off in Stable Diffusion, and in files of other samplers.
    pub clip_sample: bool,
    /// DDIM: to what it is limited.
    pub clip_sample_range: f64,
    /// DDIM: whether the last step ends without any noise instead of with the first timestep's.
    pub set_alpha_to_one: bool,
    /// Everything else that the file says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What changes every sampler's numbers and is done one way only here.
fn fixed() -> Vec<(&'static str, Value)> {
    vec![
        ("trained_betas", Value::Null),
        ("rescale_betas_zero_snr", json!(false)),
    ]
}

/// The same of one sampler: a file may hold what another one's numbers depend on.
fn fixed_of(sampler: Sampler) -> Vec<(&'static str, Vec<Value>)> {
    let one = |key, value: Value| (key, vec![value]);
    let spaced = || {
        [
            one("use_exponential_sigmas", json!(false)),
            one("use_beta_sigmas", json!(false)),
        ]
    };
    match sampler {
        Sampler::EulerA => vec![],
        Sampler::Ddim => vec![one("thresholding", json!(false))],
        Sampler::Euler => spaced()
            .into_iter()
            .chain([
                one("interpolation_type", json!("linear")),
                one("timestep_type", json!("discrete")),
                one("final_sigmas_type", json!("zero")),
                one("sigma_min", Value::Null),
                one("sigma_max", Value::Null),
            ])
            .collect(),
        Sampler::Dpmpp2m => spaced()
            .into_iter()
            .chain([
                one("thresholding", json!(false)),
                one("final_sigmas_type", json!("zero")),
                one("lambda_min_clipped", Value::Null),
                one("variance_type", Value::Null),
                one("use_lu_lambdas", json!(false)),
                one("use_flow_sigmas", json!(false)),
                one("solver_order", json!(2)),
                // What diffusers takes in other samplers' files for its own default.
                ("algorithm_type", vec![json!("dpmsolver++"), json!("deis")]),
                (
                    "solver_type",
                    vec![json!("midpoint"), json!("logrho"), json!("bh1"), json!("bh2")],
                ),
            ])
            .collect(),
    }
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
            rest: Map::new(),
        }
    }

    /// Reads the file of a `scheduler_config.json`.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let bytes = read(path)?;
        let json = match serde_json::from_slice(&bytes) {
            Ok(json) => json,
            // Python writes bounds that are none as a word that is no JSON.
            Err(_) => {
                let text = String::from_utf8_lossy(&bytes)
                    .replace(": -Infinity", ": null")
                    .replace(": Infinity", ": null");
                serde_json::from_str(&text).map_err(|error| ModelError::Content {
                    path: path.to_owned(),
                    reason: format!("not valid JSON: {error}"),
                })?
            }
        };
        Self::read(json).map_err(|error| error.in_file(path))
    }

    /// Reads what a `scheduler_config.json` says.
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
        // Limits are those samplers' default; the files of others say nothing about them, and Stable Diffusion's latents go beyond.
        let class = json
            .get("_class_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let limits = class.starts_with("DDIM") || class.starts_with("DDPM");
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
                "clip_sample": limits,
                "clip_sample_range": 1.0,
                "set_alpha_to_one": true,
            }),
        );
        let config: Self = parse(json)?;
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

    /// Refuses what a sampler's numbers depend on and is not built here.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] with the key and what would be right.
    pub(super) fn check_for(&self, sampler: Sampler) -> Result<(), ModelError> {
        for (key, allowed) in fixed_of(sampler) {
            let is_known = |value| require(&self.rest, "", &[(key, value)]).is_ok();
            if !allowed.iter().cloned().any(is_known) {
                require(
                    &self.rest,
                    "scheduler_config.json: ",
                    &[(key, allowed[0].clone())],
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn spacing(&self, sampler: Sampler) -> Spacing {
        let default = match sampler {
            Sampler::Ddim => Spacing::Leading,
            Sampler::EulerA | Sampler::Euler | Sampler::Dpmpp2m => Spacing::Linspace,
        };
        self.timestep_spacing.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::diffusion::schedule::Schedule;

    fn loaded(text: &str) -> Result<SamplerConfig, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scheduler_config.json");
        fs::write(&path, text).unwrap();
        SamplerConfig::load(&path)
    }

    #[test]
    fn a_file_of_another_sampler_says_what_they_share() {
        let deis = r#"{"_class_name": "DEISMultistepScheduler", "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "algorithm_type": "deis", "solver_type": "logrho", "solver_order": 2,
            "lambda_min_clipped": -Infinity, "steps_offset": 1}"#;
        let config = loaded(deis).unwrap();
        for sampler in Sampler::ALL {
            Schedule::new(sampler, &config, 5).unwrap();
        }
    }

    /// diffusers' `DDIMScheduler.from_config` limits the estimate of the clean latents there, which Stable Diffusion's latents exceed.
    #[test]
    fn ddim_limits_the_estimate_only_where_the_file_is_its_own_or_says_so() {
        let limit = |text: &str| {
            let schedule = Schedule::new(Sampler::Ddim, &loaded(text).unwrap(), 5).unwrap();
            let limits: Vec<Option<f64>> = schedule.steps.iter().map(|step| step.estimate.limit).collect();
            assert!(limits.iter().all(|limit| *limit == limits[0]));
            limits[0]
        };
        for class in [
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "DPMSolverMultistepScheduler",
        ] {
            assert_eq!(
                limit(&format!(r#"{{"_class_name": "{class}"}}"#)),
                None,
                "{class}"
            );
        }
        assert_eq!(limit(r#"{"_class_name": "DDIMScheduler"}"#), Some(1.0));
        assert_eq!(
            limit(r#"{"_class_name": "DDIMScheduler", "clip_sample": false}"#),
            None
        );
        assert_eq!(
            limit(
                r#"{"_class_name": "EulerDiscreteScheduler", "clip_sample": true, "clip_sample_range": 3}"#
            ),
            Some(3.0)
        );
    }

    #[test]
    fn what_would_change_a_samplers_numbers_is_refused_for_that_sampler_alone() {
        let config = loaded(r#"{"final_sigmas_type": "sigma_min", "thresholding": true}"#).unwrap();
        Schedule::new(Sampler::EulerA, &config, 5).unwrap();
        for (sampler, key) in [
            (Sampler::Euler, "final_sigmas_type"),
            (Sampler::Ddim, "thresholding"),
            (Sampler::Dpmpp2m, "thresholding"),
        ] {
            let refused = Schedule::new(sampler, &config, 5).unwrap_err().to_string();
            assert!(
                refused.contains(key) && refused.contains("scheduler_config.json"),
                "{refused}"
            );
        }
        let defaults = r#"{"use_karras_sigmas": true, "_use_default_values": ["use_karras_sigmas"]}"#;
        assert!(!loaded(defaults).unwrap().use_karras_sigmas);
        assert!(
            loaded("{")
                .unwrap_err()
                .to_string()
                .contains("scheduler_config.json")
        );
    }
}
