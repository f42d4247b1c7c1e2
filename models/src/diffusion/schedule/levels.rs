//! Noise levels: of the training's timesteps, of those that are visited, and Karras's.

use super::config::{BetaSchedule, SamplerConfig, Spacing};

/// The noise of the training, in f32 where PyTorch has it in f32.
pub(super) struct Training {
    /// How much of the picture is left at each timestep, as a share of variance.
    pub(super) alphas: Vec<f32>,
    /// Deviation of the noise against the picture at each timestep.
    pub(super) sigmas: Vec<f32>,
}

impl Training {
    pub(super) fn new(config: &SamplerConfig) -> Self {
        let (count, start, end) = (config.num_train_timesteps, config.beta_start, config.beta_end);
        let betas = match config.beta_schedule {
            BetaSchedule::Linear => linspace_f32(start, end, count),
            BetaSchedule::ScaledLinear => {
                let roots = linspace_f32(start.sqrt(), end.sqrt(), count);
                roots.into_iter().map(|root| root * root).collect()
            }
        };
        // PyTorch multiplies in f64 and keeps f32.
        let mut product = 1.0f64;
        let alphas: Vec<f32> = betas
            .iter()
            .map(|beta| {
                product *= f64::from(1.0 - beta);
                product as f32
            })
            .collect();
        let sigmas = alphas
            .iter()
            .map(|alpha| ((1.0 - alpha) / alpha).sqrt())
            .collect();
        Self { alphas, sigmas }
    }

    /// The level at a timestep that may lie between two.
    pub(super) fn sigma_at(&self, timestep: f64) -> f32 {
        let last = self.sigmas.len() - 1;
        let below = (timestep.max(0.0) as usize).min(last);
        let above = (below + 1).min(last);
        let (low, high) = (f64::from(self.sigmas[below]), f64::from(self.sigmas[above]));
        (low + (high - low) * (timestep - below as f64).clamp(0.0, 1.0)) as f32
    }

    /// The timestep of a level, linear in its logarithm.
    pub(super) fn timestep_of(&self, sigma: f64) -> f64 {
        let log = |index: usize| f64::from(self.sigmas[index].ln());
        let log_sigma = sigma.max(1e-10).ln();
        let reached = self
            .sigmas
            .partition_point(|level| f64::from(level.ln()) <= log_sigma);
        let low = reached.saturating_sub(1).min(self.sigmas.len() - 2);
        let share = (log(low) - log_sigma) / (log(low) - log(low + 1));
        low as f64 + share.clamp(0.0, 1.0)
    }
}

/// PyTorch's `linspace` in f32: each half is counted from its own end.
fn linspace_f32(start: f64, end: f64, count: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / (count - 1) as f32;
    let value = |i: usize| match i < count / 2 {
        true => start + step * i as f32,
        false => end - step * (count - 1 - i) as f32,
    };
    (0..count).map(value).collect()
}

/// `count` evenly spaced numbers from the first to the last.
pub(super) fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    let step = (end - start) / (count - 1).max(1) as f64;
    (0..count).map(|i| start + step * i as f64).collect()
}

/// The visited timesteps of Euler's methods and DDIM, from the noisiest; whole numbers but for `linspace`.
pub(super) fn timesteps(config: &SamplerConfig, spacing: Spacing, steps: usize) -> Vec<f64> {
    let count = config.num_train_timesteps;
    match spacing {
        Spacing::Linspace => linspace(0.0, (count - 1) as f64, steps)
            .into_iter()
            .rev()
            .collect(),
        Spacing::Leading => {
            let ratio = count / steps;
            let at = |i: usize| (i * ratio + config.steps_offset) as f64;
            (0..steps).rev().map(at).collect()
        }
        Spacing::Trailing => trailing(count, steps),
    }
}

/// The last timestep of each of `steps` intervals.
pub(super) fn trailing(count: usize, steps: usize) -> Vec<f64> {
    let ratio = count as f64 / steps as f64;
    let at = |i: usize| (count as f64 - i as f64 * ratio).round_ties_even() - 1.0;
    (0..steps).map(at).collect()
}

/// Levels whose seventh roots are evenly spaced ([arXiv 2206.00364](https://arxiv.org/abs/2206.00364), eq. 5, rho = 7).
pub(super) fn karras(most: f64, least: f64, steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (high, low) = (most.powf(1.0 / RHO), least.powf(1.0 / RHO));
    let level = |share: f64| (high + share * (low - high)).powf(RHO);
    linspace(0.0, 1.0, steps).into_iter().map(level).collect()
}
