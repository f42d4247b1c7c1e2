//! The loop of the paper: batch, log-probabilities, loss, step, publish. One thread, no await.
//!
//! Where pairs come from is the source's affair, where weights go the publisher's.

mod minibatches;

use crate::collate::{Collator, PairMicroBatch, TrainingBatch};
use crate::config::{LearnerConfig, MAX_MICRO_BATCHES, tell_of_cut_warmup};
use crate::error::LearnerError;
use crate::log_probs::{PairNats, by_pair, reference_log_probs};
use crate::loss::{PairLogProbs, pcpo_loss};
use crate::metrics::{Metrics, StepMetrics, StepTaken, version_metrics};
use crate::step_log::{StepLog, StepRecord};
use crate::training_pair::{PairBatch, PairSource};
use burn::module::Module;
use burn::optim::GradientsParams;
use common::{PolicyVersion, Purpose, TaskId, derive_seed};
use minibatches::minibatches;
use models::gradients;
use models::llava::Llava;
use models::log_probs::CompletionLogProbs;
use models::optimizer::AdamW;
use models::weights::{NamedTensors, check_finite};
use tokio_util::sync::CancellationToken;

/// The policy in training and all that trains it.
pub(crate) struct Trainer {
    /// On an autodiff device; only the adapter gets gradients.
    policy: Llava,
    /// The same weights without the adapter.
    reference: Llava,
    collator: Collator,
    optimizer: AdamW,
    config: LearnerConfig,
    run_seed: u64,
    threads: usize,
}

/// A trained version, ready to be published.
pub(crate) struct TrainedVersion {
    /// Its number.
    pub(crate) version: PolicyVersion,
    /// Its adapter under PEFT's names.
    pub(crate) adapter: NamedTensors,
    /// What its training measured.
    pub(crate) metrics: Metrics,
}

/// What the forward and backward passes of a minibatch come to.
struct Passes {
    /// The number whose gradient was taken.
    loss: f64,
    gradients: GradientsParams,
    /// The policy's log-probabilities, in the order of the minibatch.
    policy_lp: Vec<PairNats>,
}

impl Trainer {
    /// Trains the adapter of `policy`, which must have one.
    ///
    /// # Errors
    /// [`LearnerError::Model`] when the optimizer's settings are out of range.
    pub(crate) fn new(
        policy: Llava,
        collator: Collator,
        config: LearnerConfig,
        run_seed: u64,
        threads: usize,
    ) -> Result<Self, LearnerError> {
        let settings = config.optimizer();
        tell_of_cut_warmup(&config.optimizer, &settings);
        let optimizer = AdamW::new(settings)?;
        let reference = policy.without_adapter();
        let policy = policy.trainable_adapter_only().train();
        Ok(Self {
            policy,
            reference,
            collator,
            optimizer,
            config,
            run_seed,
            threads,
        })
    }

    /// Trains version after version from `version` on, until the run is complete.
    ///
    /// # Errors
    /// [`LearnerError::Cancelled`] on `stop`, [`LearnerError::NotFinite`], [`LearnerError::Model`],
    /// [`LearnerError::Panicked`], or what `source`, `log` and `publish` return.
    pub(crate) fn train(
        &mut self,
        mut version: PolicyVersion,
        source: &mut impl PairSource,
        stop: &CancellationToken,
        log: &mut StepLog,
        mut publish: impl FnMut(TrainedVersion) -> Result<(), LearnerError>,
    ) -> Result<(), LearnerError> {
        while version.number < self.config.versions {
            let pairs = source.next_batch(version)?;
            let batch = self.collator.collate(&pairs)?;
            let ref_lp = self.reference_log_probs(&batch)?;
            let mut steps = vec![];
            for minibatch in minibatches(batch.len(), &self.config, self.run_seed, version) {
                if stop.is_cancelled() {
                    return Err(LearnerError::Cancelled);
                }
                let metrics = self.step(&pairs, &batch, &minibatch, &ref_lp)?;
                log.record(&StepRecord {
                    step: self.optimizer.steps(),
                    version: version.next(),
                    metrics: &metrics,
                })?;
                steps.push(metrics);
            }
            version = version.next();
            let metrics = version_metrics(&steps, &pairs, &ref_lp);
            publish(TrainedVersion {
                version,
                adapter: self.adapter()?,
                metrics,
            })?;
        }
        Ok(())
    }

    /// One optimizer step along the gradient of the minibatch's loss.
    fn step(
        &mut self,
        pairs: &PairBatch,
        batch: &TrainingBatch,
        minibatch: &[usize],
        ref_lp: &[PairNats],
    ) -> Result<StepMetrics, LearnerError> {
        let ref_lp: Vec<PairNats> = minibatch.iter().map(|&pair| ref_lp[pair]).collect();
        let Passes {
            loss,
            mut gradients,
            policy_lp,
        } = self.passes(batch, minibatch, &ref_lp, pairs.version)?;
        let grad_norm = gradients::clip_global_norm(&self.policy, &mut gradients, self.config.clip_norm);
        let taken = StepTaken {
            loss,
            grad_norm,
            learning_rate: self.optimizer.learning_rate(),
        };
        let pairs: Vec<_> = minibatch.iter().map(|&pair| &pairs.pairs[pair]).collect();
        let metrics = StepMetrics::new(&pairs, &policy_lp, &ref_lp, &self.config.loss, taken);
        self.check_finite("loss", metrics.loss())?;
        self.check_finite("gradient norm", grad_norm)?;
        self.policy = self.optimizer.step(self.policy.clone(), gradients);
        Ok(metrics)
    }

    /// The mean loss over the minibatch's pairs and its gradient, the micro-batches side by side. `ref_lp` are those of the
    /// minibatch.
    fn passes(
        &self,
        batch: &TrainingBatch,
        minibatch: &[usize],
        ref_lp: &[PairNats],
        version: PolicyVersion,
    ) -> Result<Passes, LearnerError> {
        let size = minibatch.len().div_ceil(self.config.micro_batches);
        let micro_batches = minibatch
            .chunks(size)
            .zip(ref_lp.chunks(size))
            .enumerate()
            .map(|(index, (pairs, ref_lp))| Ok((index, batch.micro_batch(pairs)?, ref_lp)))
            .collect::<Result<Vec<_>, LearnerError>>()?;
        let pass = |policy: &Llava, (index, batch, ref_lp): (usize, PairMicroBatch, &[PairNats])| {
            let loss_of = |completions: &CompletionLogProbs| {
                let policy_lp = by_pair(completions, &batch);
                let ref_lp = PairLogProbs::from_host(ref_lp, &batch.features.device());
                let loss = pcpo_loss(&policy_lp, &ref_lp, &self.config.loss)
                    .sum()
                    .div_scalar(minibatch.len() as f64);
                let share = loss.clone().into_scalar::<f64>();
                (loss, (share, policy_lp.to_host()))
            };
            let seed = self.dropout_seed(version, index);
            policy
                .with_adapter_dropout(self.config.lora.dropout, seed)
                .backward(
                    &batch.rows,
                    Some(&batch.features),
                    self.config.activation_checkpointing,
                    loss_of,
                )
        };
        let (gradients, done) =
            gradients::accumulate_passes(&self.policy, micro_batches, self.threads, pass)?;
        let (shares, policy_lp): (Vec<f64>, Vec<_>) = done.into_iter().unzip();
        Ok(Passes {
            loss: shares.iter().sum(),
            gradients,
            policy_lp: policy_lp.concat(),
        })
    }

    /// Seed of the dropout masks of a step's micro-batch.
    fn dropout_seed(&self, version: PolicyVersion, micro_batch: usize) -> u64 {
        let draw = self.optimizer.steps() * MAX_MICRO_BATCHES as u64 + micro_batch as u64;
        derive_seed(self.run_seed, TaskId(draw), version, Purpose::AdapterDropout)
    }

    fn reference_log_probs(&self, batch: &TrainingBatch) -> Result<Vec<PairNats>, LearnerError> {
        reference_log_probs(&self.reference, batch, self.config.minibatch_pairs, self.threads)
    }

    fn check_finite(&self, what: &'static str, value: f64) -> Result<(), LearnerError> {
        let step = self.optimizer.steps();
        if value.is_finite() {
            Ok(())
        } else {
            Err(LearnerError::NotFinite { what, value, step })
        }
    }

    /// The adapter as it is now; refused when a weight is not finite.
    fn adapter(&self) -> Result<NamedTensors, LearnerError> {
        let adapter = self.policy.adapter();
        check_finite(&adapter)?;
        Ok(adapter)
    }
}

#[cfg(test)]
mod closed_form;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod tests;
