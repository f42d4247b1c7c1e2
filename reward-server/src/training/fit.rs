//! The loop that both kinds of training share: batch, loss, gradient, step.

use super::TrainingProduct;
use super::batches::{MicroBatch, epoch_batches};
use crate::config::RewardConfig;
use crate::error::RewardError;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use models::gradients::{accumulate_passes, clip_global_norm};
use models::init::stream_seed;
use models::optimizer::{AdamW, AdamWConfig, Schedule};
use tokio_util::sync::CancellationToken;

/// Where training stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardProgress {
    /// Steps taken.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The last step's pairwise loss, the mean of its labels weighted by their worth.
    pub pair_loss: f64,
    /// The last step's second loss: nats per click (siamese) or squared error of a rate (concat).
    pub point_loss: f64,
}

/// What every step needs.
pub(super) struct Run<'a, Creative> {
    pub(super) config: &'a RewardConfig,
    pub(super) products: &'a [TrainingProduct<Creative>],
    pub(super) seed: u64,
    pub(super) threads: usize,
    /// The text of a product whose caption is withheld.
    pub(super) blank: Vec<u32>,
    pub(super) cancel: &'a CancellationToken,
}

impl<Creative: Clone + Send + Sync> Run<'_, Creative> {
    /// The network after all epochs. `pass` gives the gradients of a micro-batch's share of the loss.
    pub(super) fn fit<M: Module + Sync>(
        &self,
        network: M,
        progress: &mut dyn FnMut(RewardProgress),
        pass: impl Fn(&M, MicroBatch<Creative>) -> (GradientsParams, LossParts) + Sync,
    ) -> Result<M, RewardError> {
        let config = self.config;
        let steps = config.epochs * self.products.len().div_ceil(config.products_per_batch);
        let mut optimizer = AdamW::new(AdamWConfig {
            learning_rate: config.learning_rate,
            weight_decay: config.weight_decay,
            schedule: Schedule::Cosine,
            warmup_steps: config.warmup_steps.min(steps as u64 - 1),
            total_steps: steps as u64,
            ..AdamWConfig::default()
        })?;
        let mut network = network.train();
        for epoch in 0..config.epochs {
            for batch in epoch_batches(
                self.products,
                &self.blank,
                config,
                stream_seed(self.seed, &format!("epoch.{epoch}")),
            ) {
                if self.cancel.is_cancelled() {
                    return Err(RewardError::Cancelled);
                }
                let step = optimizer.steps() as usize + 1;
                let (mut gradients, parts) = accumulate_passes(&network, batch, self.threads, &pass)?;
                let norm = clip_global_norm(&network, &mut gradients, config.max_grad_norm);
                let parts = LossParts::sum(&parts);
                parts.check_finite(step, norm)?;
                network = optimizer.step(network, gradients);
                let LossParts {
                    pair: pair_loss,
                    point: point_loss,
                } = parts;
                progress(RewardProgress {
                    step,
                    steps,
                    pair_loss,
                    point_loss,
                });
            }
        }
        Ok(network.valid())
    }
}

/// The gradients of a micro-batch's loss.
pub(super) fn gradients<M: Module>(
    network: &M,
    (loss, parts): (Tensor<1>, LossParts),
) -> (GradientsParams, LossParts) {
    (GradientsParams::from_grads(loss.backward(), network), parts)
}

/// A micro-batch's share of both losses, unweighted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LossParts {
    pub(super) pair: f64,
    pub(super) point: f64,
}

impl LossParts {
    pub(super) fn sum(parts: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| parts.iter().map(part).sum();
        Self {
            pair: of(|part| part.pair),
            point: of(|part| part.point),
        }
    }

    fn check_finite(&self, step: usize, norm: f64) -> Result<(), RewardError> {
        let numbers = [
            ("pairwise loss", self.pair),
            ("second loss", self.point),
            ("gradient norm", norm),
        ];
        match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
            Some((quantity, value)) => Err(RewardError::NotFinite {
                step,
                quantity,
                value,
            }),
            None => Ok(()),
        }
    }
}
