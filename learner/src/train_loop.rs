//! The loop of the paper: batch, log-probabilities, loss, step, publish. One thread, no await.
//!
//! Where pairs come from is the source's affair, where weights go the publisher's.

mod minibatches;

use crate::account::Account;
use crate::clock;
use crate::collate::{Collator, PairMicroBatch, TrainingBatch};
use crate::config::{LearnerConfig, LossConfig, MAX_MICRO_BATCHES, tell_of_cut_warmup};
use crate::error::LearnerError;
use crate::log_probs::{PairNats, PairReference, nats, policy_by_pair, reference_passes};
use crate::loss::{PairLogProbs, importance, pcpo_loss};
use crate::metrics::{Metrics, StepMetrics, StepTaken, version_metrics};
use crate::step_log::{StepLog, StepRecord};
use crate::training_pair::{PairBatch, PairSource, TrainingPair};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{PolicyVersion, Purpose, TaskId, derive_seed};
use failpoint::Point;
use minibatches::minibatches;
use models::gradients;
use models::llava::Llava;
use models::log_probs::CompletionLogits;
use models::optimizer::{AdamW, OptimizerState};
use models::weights::{NamedTensors, check_finite};
use proto::trace::{Stage, TraceId};
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
    /// The optimizer as it was left, where the version is one that a later start may go on from.
    pub(crate) optimizer: Option<OptimizerState>,
    /// Optimizer steps of the run until then.
    pub(crate) steps: u64,
    /// What it was trained from.
    pub(crate) tasks: Vec<TaskId>,
    /// Where the run then stands in its ledger; `None` where pairs come from elsewhere.
    pub(crate) account: Option<Account>,
}

/// The pairs of a minibatch that are computed together.
struct MicroBatch<'a> {
    /// Its place in the minibatch.
    index: usize,
    pairs: Vec<&'a TrainingPair>,
    rows: PairMicroBatch,
    reference: &'a [&'a PairReference],
}

/// What the forward and backward passes of a minibatch come to.
struct Backward {
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

    /// Goes on with the optimizer as another process left it.
    ///
    /// # Errors
    /// [`LearnerError::Model`] when its state is not that of this policy's adapter.
    pub(crate) fn resume(&mut self, optimizer: OptimizerState, device: &Device) -> Result<(), LearnerError> {
        let device = device.clone().without_autodiff();
        Ok(self.optimizer.resume(optimizer, &self.policy, &device)?)
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
            let begun = clock::now();
            let batch = self.collator.collate(&pairs)?;
            let reference = self.reference_passes(&batch)?;
            let mut steps = vec![];
            for minibatch in minibatches(batch.len(), &self.config, self.run_seed, version) {
                if stop.is_cancelled() {
                    return Err(LearnerError::Cancelled);
                }
                steps.push(self.told_step(&pairs, &batch, &minibatch, &reference, log)?);
            }
            failpoint::reach(Point::Stepped);
            version = version.next();
            let metrics = version_metrics(&steps, &pairs, &nats(&reference));
            let took = clock::now().saturating_duration_since(begun);
            log.version(self.optimizer.steps(), &metrics, took);
            publish(self.trained(version, pairs, metrics)?)?;
        }
        Ok(())
    }

    /// One optimizer step, told to `log` and to the traces of its samples.
    fn told_step(
        &mut self,
        pairs: &PairBatch,
        batch: &TrainingBatch,
        minibatch: &[usize],
        reference: &[PairReference],
        log: &mut StepLog,
    ) -> Result<StepMetrics, LearnerError> {
        let begun = clock::now();
        let metrics = self.step(pairs, batch, minibatch, reference)?;
        let took = clock::now().saturating_duration_since(begun);
        let tasks = minibatch.iter().map(|&pair| pairs.pairs[pair].task);
        Stage::TrainStep.over(took, tasks.map(|task| TraceId::of(self.run_seed, task.0)));
        log.record(&StepRecord {
            step: self.optimizer.steps(),
            version: pairs.version.next(),
            metrics: &metrics,
            took,
        })?;
        Ok(metrics)
    }

    /// One optimizer step along the gradient of the minibatch's loss.
    fn step(
        &mut self,
        pairs: &PairBatch,
        batch: &TrainingBatch,
        minibatch: &[usize],
        reference: &[PairReference],
    ) -> Result<StepMetrics, LearnerError> {
        let reference: Vec<&PairReference> = minibatch.iter().map(|&pair| &reference[pair]).collect();
        let Backward {
            loss,
            mut gradients,
            policy_lp,
        } = self.backward(pairs, batch, minibatch, &reference)?;
        let grad_norm = gradients::clip_global_norm(&self.policy, &mut gradients, self.config.clip_norm);
        let taken = StepTaken {
            loss,
            grad_norm,
            learning_rate: self.optimizer.learning_rate(),
        };
        let pairs: Vec<_> = minibatch.iter().map(|&pair| &pairs.pairs[pair]).collect();
        let metrics = StepMetrics::new(&pairs, &policy_lp, &nats(reference), &self.config.loss, taken);
        self.check_finite("loss", metrics.loss())?;
        self.check_finite("gradient norm", grad_norm)?;
        self.policy = self.optimizer.step(self.policy.clone(), gradients);
        Ok(metrics)
    }

    /// The mean loss over the minibatch's pairs and its gradient, the micro-batches side by side. `reference` is what the
    /// reference says of those pairs.
    fn backward(
        &self,
        pairs: &PairBatch,
        batch: &TrainingBatch,
        minibatch: &[usize],
        reference: &[&PairReference],
    ) -> Result<Backward, LearnerError> {
        let size = minibatch.len().div_ceil(self.config.micro_batches);
        let micro_batches = minibatch
            .chunks(size)
            .zip(reference.chunks(size))
            .enumerate()
            .map(|(index, (part, reference))| {
                let micro_batch = MicroBatch {
                    index,
                    pairs: part.iter().map(|&pair| &pairs.pairs[pair]).collect(),
                    rows: batch.micro_batch(part)?,
                    reference,
                };
                Ok(micro_batch)
            })
            .collect::<Result<Vec<_>, LearnerError>>()?;
        let pass = |policy: &Llava, micro_batch: MicroBatch<'_>| {
            let batch = &micro_batch.rows;
            let loss_of = |logits: &CompletionLogits| {
                let loss = &self.config.loss;
                let (losses, policy_lp) = pair_losses(logits, batch, micro_batch.reference, loss);
                let policy_lp = policy_lp.to_host();
                let clip = self.config.loss.importance_clip;
                let losses = importance::weighed(losses, &micro_batch.pairs, &policy_lp, clip);
                let loss = losses.sum().div_scalar(minibatch.len() as f64);
                let share = loss.clone().into_scalar::<f64>();
                (loss, (share, policy_lp))
            };
            let seed = self.dropout_seed(pairs.version, micro_batch.index);
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
        Ok(Backward {
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

    fn reference_passes(&self, batch: &TrainingBatch) -> Result<Vec<PairReference>, LearnerError> {
        let (loss, chunk) = (&self.config.loss, self.config.minibatch_pairs);
        reference_passes(&self.reference, batch, loss, chunk, self.threads)
    }

    fn check_finite(&self, what: &'static str, value: f64) -> Result<(), LearnerError> {
        let step = self.optimizer.steps();
        if value.is_finite() {
            Ok(())
        } else {
            Err(LearnerError::NotFinite { what, value, step })
        }
    }

    /// The `version` that `pairs` have been trained into.
    fn trained(
        &self,
        version: PolicyVersion,
        pairs: PairBatch,
        metrics: Metrics,
    ) -> Result<TrainedVersion, LearnerError> {
        let is_kept = pairs.sampled.is_some() && self.config.is_checkpointed(version);
        Ok(TrainedVersion {
            version,
            adapter: self.adapter()?,
            metrics,
            optimizer: is_kept.then(|| self.optimizer.state()),
            steps: self.optimizer.steps(),
            tasks: pairs.pairs.iter().map(|pair| pair.task).collect(),
            account: pairs.sampled.map(|sampled| sampled.account),
        })
    }

    /// The adapter as it is now; refused when a weight is not finite.
    fn adapter(&self) -> Result<NamedTensors, LearnerError> {
        let adapter = self.policy.adapter();
        check_finite(&adapter)?;
        Ok(adapter)
    }
}

/// The loss of each pair of a micro-batch, `[pairs]`, and the policy's log-probabilities that it is made of.
fn pair_losses(
    logits: &CompletionLogits,
    batch: &PairMicroBatch,
    reference: &[&PairReference],
    config: &LossConfig,
) -> (Tensor<1>, PairLogProbs) {
    let policy_lp = policy_by_pair(logits, batch, reference);
    let ref_lp = nats(reference.iter().copied());
    let ref_lp = PairLogProbs::from_host(&ref_lp, &batch.features.device());
    (pcpo_loss(&policy_lp, &ref_lp, config), policy_lp)
}

#[cfg(test)]
mod adapter_gradient;
#[cfg(test)]
mod closed_form;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod tests;
