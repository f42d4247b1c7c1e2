//! Stage A: supervised fine-tuning of a fresh policy on instructions and completions over every subset of image and text.
//!
//! The loss is on completion tokens only; every weight is trained, vision tower included, so image features belong into the
//! graph of each step. Samples are made ahead on a thread of their own (`pretrain/samples.rs`).

mod config;
mod samples;

pub use config::PretrainConfig;

use crate::config::tell_of_cut_warmup;
use crate::error::{LearnerError, panic_message};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use common::{LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use crossbeam::channel;
use data::Corpus;
use models::ModelError;
use models::gradients;
use models::llava::Llava;
use models::optimizer::AdamW;
use models::policy::Policy;
use models::presets::Preset;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{check_finite, collect};
use samples::{SampleBatch, SampleMicroBatch, SampleSource};
use std::thread;
use tokio_util::sync::CancellationToken;

/// Batches made ahead: one is trained on, one waits.
const BATCHES_AHEAD: usize = 1;

/// How far pre-training has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PretrainProgress {
    /// Optimizer steps taken.
    pub step: u64,
    /// Optimizer steps of the whole training.
    pub steps: u64,
    /// Mean negative log-probability of a completion token in the last batch, in nats.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// What the initial policy is made of. The result is a function of everything but `threads`.
pub struct Pretraining<'a> {
    /// The settings.
    pub config: &'a PretrainConfig,
    /// The policy's shape.
    pub preset: Preset,
    /// What it is trained on.
    pub corpus: &'a dyn Corpus,
    /// Of its weights and of the samples drawn.
    pub seed: u64,
    /// Where it is trained.
    pub device: &'a Device,
    /// Micro-batches at a time.
    pub threads: usize,
}

/// Trains a tokenizer and a fresh policy. `progress` is told every step.
///
/// # Errors
/// [`LearnerError::Config`]; [`LearnerError::Model`] when a sample does not fit the context;
/// [`LearnerError::NotFinite`]; [`LearnerError::Cancelled`] on `cancel`.
pub fn pretrain(
    plan: &Pretraining<'_>,
    progress: &mut dyn FnMut(PretrainProgress),
    cancel: &CancellationToken,
) -> Result<Policy, LearnerError> {
    let &Pretraining {
        config,
        preset,
        corpus,
        seed,
        device,
        threads,
    } = plan;
    config.validate()?;
    let texts = corpus.texts();
    let tokenizer = Tokenizer::train(texts.iter(), config.vocab_size, SpecialTokens::default())?;
    let policy = preset.policy(tokenizer, device, seed_for(seed, Purpose::Initialisation));
    let source = SampleSource {
        policy: &policy,
        corpus,
        config,
        seed: seed_for(seed, Purpose::Pretraining),
    };
    let model = thread::scope(|scope| {
        let (send, batches) = channel::bounded(BATCHES_AHEAD);
        let ahead = scope.spawn(move || source.send_all(&send));
        let trained = fit(
            policy.model.clone().train(),
            config,
            batches,
            threads,
            progress,
            cancel,
        );
        match ahead.join() {
            Ok(()) => trained,
            Err(panic) => Err(LearnerError::panicked("making samples", &panic_message(&*panic))),
        }
    })?;
    check_finite(&collect(&model, |_| true))?;
    Ok(Policy {
        model: model.valid(),
        ..policy
    })
}

/// One step a batch.
fn fit(
    mut model: Llava,
    config: &PretrainConfig,
    batches: channel::Receiver<Result<SampleBatch, ModelError>>,
    threads: usize,
    progress: &mut dyn FnMut(PretrainProgress),
    cancel: &CancellationToken,
) -> Result<Llava, LearnerError> {
    let settings = config.optimizer();
    tell_of_cut_warmup(&config.optimizer, &settings);
    let mut optimizer = AdamW::new(settings)?;
    for batch in batches {
        if cancel.is_cancelled() {
            return Err(LearnerError::Cancelled);
        }
        let batch = batch?;
        let tokens = batch.completion_tokens() as f64;
        let share_of = |model: &Llava, micro_batch: SampleMicroBatch| {
            let share = negative_log_prob(model, micro_batch).div_scalar(tokens);
            (share.clone(), f64::from(share.into_scalar::<f32>()))
        };
        let (mut gradients, shares) = gradients::accumulate(&model, batch.micro_batches, threads, share_of)?;
        let grad_norm = gradients::clip_global_norm(&model, &mut gradients, config.clip_norm);
        let (loss, step) = (shares.iter().sum::<f64>(), optimizer.steps());
        for (what, value) in [("loss", loss), ("gradient norm", grad_norm)] {
            if !value.is_finite() {
                return Err(LearnerError::NotFinite { what, value, step });
            }
        }
        let learning_rate = optimizer.learning_rate();
        model = optimizer.step(model, gradients);
        progress(PretrainProgress {
            step: step + 1,
            steps: config.steps(),
            loss,
            learning_rate,
        });
    }
    Ok(model)
}

/// Sum over completion tokens of the negative log-probability.
fn negative_log_prob(model: &Llava, batch: SampleMicroBatch) -> Tensor<1> {
    let features = batch.pixels.map(|pixels| model.encode_images(&pixels));
    model
        .completion_log_probs(&batch.rows, features.as_ref())
        .token_log_probs
        .sum()
        .neg()
}

fn seed_for(seed: u64, purpose: Purpose) -> u64 {
    derive_seed(seed, TaskId(0), PolicyVersion::initial(LearnerEpoch(1)), purpose)
}

#[cfg(test)]
mod tests;
