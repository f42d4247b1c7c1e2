//! Stage A: supervised fine-tuning of a policy on instructions and completions over every subset of image and text.
//!
//! The loss is on completion tokens only. Of a fresh policy every weight is trained, vision tower included, so image
//! features belong into the graph of each step; of a loaded one an adapter, and everything else is frozen. Samples are made
//! ahead on a thread of their own (`pretrain/samples.rs`).

mod config;
mod rows;
mod samples;

pub use config::PretrainConfig;
pub use rows::check_corpus;

use crate::config::{MAX_MICRO_BATCHES, tell_of_cut_warmup};
use crate::error::{LearnerError, panic_message};
use burn::module::Module;
use burn::tensor::Device;
use common::{LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use crossbeam::channel;
use data::Corpus;
use models::gradients;
use models::llava::Llava;
use models::log_probs::CompletionLogits;
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
    /// What training starts from.
    pub start: PretrainStart<'a>,
    /// What it is trained on.
    pub corpus: &'a dyn Corpus,
    /// Of its weights and of the samples drawn.
    pub seed: u64,
    /// Micro-batches at a time.
    pub threads: usize,
}

/// What pre-training starts from.
pub enum PretrainStart<'a> {
    /// Nothing: a tokenizer is trained, then every weight of a fresh policy.
    Fresh {
        /// The policy's shape.
        preset: Preset,
        /// Where it is trained.
        device: &'a Device,
    },
    /// A policy off a disk: an adapter is trained beside its frozen weights.
    Loaded(Box<Policy>),
}

/// Trains the initial policy. One that was loaded comes back with its adapter attached. `progress` is told every step.
///
/// # Errors
/// [`LearnerError::Config`]; [`LearnerError::Rows`] before the first step when rows of the corpus's file do not fit the
/// context, [`LearnerError::Sample`] when a sample of another corpus does not; [`LearnerError::NotFinite`];
/// [`LearnerError::Cancelled`] on `cancel`.
pub fn pretrain(
    plan: Pretraining<'_>,
    progress: &mut dyn FnMut(PretrainProgress),
    cancel: &CancellationToken,
) -> Result<Policy, LearnerError> {
    let Pretraining {
        config,
        start,
        corpus,
        seed,
        threads,
    } = plan;
    config.validate()?;
    let (policy, trained) = prepare(start, config, corpus, seed)?;
    check_corpus(&policy, corpus)?;
    let source = SampleSource {
        policy: &policy,
        corpus,
        config,
        seed: seed_for(seed, Purpose::Pretraining),
    };
    let model = thread::scope(|scope| {
        let (send, batches) = channel::bounded(BATCHES_AHEAD);
        let ahead = scope.spawn(move || source.send_all(&send));
        let trained = fit(trained, config, seed, batches, threads, progress, cancel);
        match ahead.join() {
            Ok(()) => trained,
            Err(panic) => Err(LearnerError::panicked("making samples", &panic_message(&*panic))),
        }
    })?;
    let model = model.valid();
    let adapter = model.adapter();
    match adapter.is_empty() {
        true => check_finite(&collect(&model, |_| true))?,
        false => check_finite(&adapter)?,
    }
    Ok(Policy { model, ..policy })
}

/// The policy as it is before the first step, and its network with what is trained marked, on an autodiff device.
fn prepare(
    start: PretrainStart<'_>,
    config: &PretrainConfig,
    corpus: &dyn Corpus,
    seed: u64,
) -> Result<(Policy, Llava), LearnerError> {
    match start {
        PretrainStart::Fresh { preset, device } => {
            let policy = fresh_policy(preset, config, corpus, device, seed)?;
            let model = policy.model.clone().train();
            Ok((policy, model))
        }
        PretrainStart::Loaded(policy) => {
            let seed = seed_for(seed, Purpose::Initialisation);
            let model = policy.model.clone().with_adapter(&config.lora, seed)?;
            Ok((*policy, model.trainable_adapter_only().train()))
        }
    }
}

/// The policy that pre-training from nothing begins with. Its tokenizer is the corpus's; its weights are drawn when they are first used.
///
/// # Errors
/// [`LearnerError::Model`] when the corpus makes no tokenizer.
pub fn fresh_policy(
    preset: Preset,
    config: &PretrainConfig,
    corpus: &dyn Corpus,
    device: &Device,
    seed: u64,
) -> Result<Policy, LearnerError> {
    let (texts, seed) = (corpus.texts(), seed_for(seed, Purpose::Initialisation));
    let tokenizer = Tokenizer::train(texts.iter(), config.vocab_size, SpecialTokens::default())?;
    Ok(preset.policy(tokenizer, device, seed))
}

/// One step a batch.
fn fit(
    mut model: Llava,
    config: &PretrainConfig,
    seed: u64,
    batches: channel::Receiver<Result<SampleBatch, LearnerError>>,
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
        let step = optimizer.steps();
        let pass = |model: &Llava, (index, batch): (usize, SampleMicroBatch)| {
            let masks = dropout_seed(seed, step, index);
            let model = model.with_adapter_dropout(config.lora.dropout, masks);
            let features = batch.pixels.map(|pixels| model.encode_images(&pixels));
            let share_of = |logits: &CompletionLogits| {
                let share = logits.log_probs().token_log_probs.sum().neg().div_scalar(tokens);
                (share.clone(), f64::from(share.into_scalar::<f32>()))
            };
            model.backward(
                &batch.rows,
                features.as_ref(),
                config.activation_checkpointing,
                share_of,
            )
        };
        let parts = batch.micro_batches.into_iter().enumerate().collect();
        let (mut gradients, shares) = gradients::accumulate_passes(&model, parts, threads, pass)?;
        let grad_norm = gradients::clip_global_norm(&model, &mut gradients, config.clip_norm);
        let loss = shares.iter().sum::<f64>();
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

/// Seed of the dropout masks of a step's micro-batch.
fn dropout_seed(seed: u64, step: u64, micro_batch: usize) -> u64 {
    let draw = step * MAX_MICRO_BATCHES as u64 + micro_batch as u64;
    let version = PolicyVersion::initial(LearnerEpoch(1));
    derive_seed(seed, TaskId(draw), version, Purpose::AdapterDropout)
}

fn seed_for(seed: u64, purpose: Purpose) -> u64 {
    derive_seed(seed, TaskId(0), PolicyVersion::initial(LearnerEpoch(1)), purpose)
}

#[cfg(test)]
mod tests;
