//! Log-probabilities of pairs: under the policy with gradients, and under the reference once a batch.
//!
//! The reference is the policy with its adapter off. What it says does not change while a batch is trained on, so it is
//! computed for the whole batch first, on several threads, and kept on the host.

use crate::collate::{PairMicroBatch, TrainingBatch};
use crate::config::LossConfig;
use crate::error::LearnerError;
use crate::loss::PairLogProbs;
use burn::tensor::{Device, Tensor, TensorData};
use models::llava::Llava;
use models::log_probs::CompletionLogits;
use models::token_support::TokenSupport;
use std::thread;

/// Log-probabilities of one pair's completions in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairNats {
    /// Of the chosen completion.
    pub(crate) chosen: f64,
    /// Of the rejected completion.
    pub(crate) rejected: f64,
    /// Of the product-centric negative.
    pub(crate) negative: Option<f64>,
    /// That every token along the negative is one that the reference holds possible; of the policy only.
    pub(crate) support: Option<f64>,
    /// Tokens of the chosen completion.
    pub(crate) chosen_tokens: f64,
}

/// What the reference says of one pair.
#[derive(Debug, Clone)]
pub(crate) struct PairReference {
    /// Its log-probabilities.
    pub(crate) nats: PairNats,
    /// The tokens it holds possible along the negative, where the loss asks for them.
    pub(crate) support: Option<TokenSupport>,
}

/// The log-probabilities alone.
pub(crate) fn nats<'a>(reference: impl IntoIterator<Item = &'a PairReference>) -> Vec<PairNats> {
    reference.into_iter().map(|pair| pair.nats).collect()
}

/// What the completions of a micro-batch's rows come to for each pair, by their logits.
pub(crate) fn by_pair(logits: &CompletionLogits, batch: &PairMicroBatch) -> PairLogProbs {
    let completions = logits.log_probs();
    let (sums, lengths) = (completions.sums(), completions.lengths());
    let part = |index: usize| sums.clone().narrow(0, index * batch.pairs, batch.pairs);
    PairLogProbs {
        chosen: part(0),
        rejected: part(1),
        negative: batch.has_negatives.then(|| part(2)),
        support: None,
        chosen_tokens: lengths.narrow(0, 0, batch.pairs),
    }
}

/// The same with how much of the policy lies on what the reference holds possible.
pub(crate) fn policy_by_pair(
    logits: &CompletionLogits,
    batch: &PairMicroBatch,
    reference: &[&PairReference],
) -> PairLogProbs {
    let supports: Option<Vec<&TokenSupport>> = reference.iter().map(|pair| pair.support.as_ref()).collect();
    PairLogProbs {
        support: supports.map(|supports| logits.log_mass(batch.negatives(), &supports)),
        ..by_pair(logits, batch)
    }
}

/// What `reference` says of a micro-batch's pairs.
pub(crate) fn reference_by_pair(
    reference: &Llava,
    batch: &PairMicroBatch,
    loss: &LossConfig,
) -> Vec<PairReference> {
    let logits = reference.completion_logits(&batch.rows, Some(&batch.features));
    let nats = by_pair(&logits, batch).to_host();
    if !loss.has_support() || !batch.has_negatives {
        let without = |nats| PairReference { nats, support: None };
        return nats.into_iter().map(without).collect();
    }
    let supports = logits.supports(batch.negatives(), loss.support_threshold);
    let with = |(nats, support)| PairReference {
        nats,
        support: Some(support),
    };
    nats.into_iter().zip(supports).map(with).collect()
}

/// What the reference says of every pair of a batch, `chunk` pairs in a pass, up to `threads` passes at a time. The number
/// of threads does not change it.
///
/// # Errors
/// [`LearnerError::Model`] when rows cannot be laid out, [`LearnerError::Panicked`] when a pass panicked.
pub(crate) fn reference_passes(
    reference: &Llava,
    batch: &TrainingBatch,
    loss: &LossConfig,
    chunk: usize,
    threads: usize,
) -> Result<Vec<PairReference>, LearnerError> {
    let pairs: Vec<usize> = (0..batch.len()).collect();
    let micro_batches = pairs
        .chunks(chunk)
        .map(|pairs| batch.micro_batch(pairs))
        .collect::<Result<Vec<_>, _>>()?;
    let threads = threads.clamp(1, micro_batches.len().max(1));
    let work = |worker: usize| -> Vec<Vec<PairReference>> {
        let own = micro_batches.iter().skip(worker).step_by(threads);
        own.map(|micro_batch| reference_by_pair(reference, micro_batch, loss))
            .collect()
    };
    let mut done = thread::scope(|scope| {
        let start = |worker| -> Result<_, LearnerError> {
            // Kernels started from a pool of one thread stay on it: threads do not wait for each other.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            let pool = pool.map_err(models::ModelError::from)?;
            Ok(scope.spawn(move || pool.install(|| work(worker)).into_iter()))
        };
        let started = (0..threads).map(start).collect::<Result<Vec<_>, _>>()?;
        started
            .into_iter()
            .map(|worker| worker.join().map_err(panicked))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok((0..micro_batches.len())
        .filter_map(|index| done[index % threads].next())
        .flatten()
        .collect())
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> LearnerError {
    LearnerError::panicked("the reference pass", &crate::error::panic_message(&*panic))
}

impl PairLogProbs {
    /// The numbers of each pair.
    pub(crate) fn to_host(&self) -> Vec<PairNats> {
        let host = |tensor: &Tensor<1>| -> Vec<f64> { tensor.clone().into_data().iter::<f64>().collect() };
        let (chosen, rejected) = (host(&self.chosen), host(&self.rejected));
        let negative = self.negative.as_ref().map(host);
        let support = self.support.as_ref().map(host);
        let chosen_tokens = host(&self.chosen_tokens);
        let pair = |i: usize| PairNats {
            chosen: chosen[i],
            rejected: rejected[i],
            negative: negative.as_ref().map(|values| values[i]),
            support: support.as_ref().map(|values| values[i]),
            chosen_tokens: chosen_tokens[i],
        };
        (0..chosen.len()).map(pair).collect()
    }

    /// The reference's numbers as constants on `device`.
    pub(crate) fn from_host(pairs: &[PairNats], device: &Device) -> Self {
        let column = |values: Vec<f32>| {
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [count]), device)
        };
        let negatives: Option<Vec<f32>> = pairs
            .iter()
            .map(|pair| pair.negative.map(|nats| nats as f32))
            .collect();
        Self {
            chosen: column(pairs.iter().map(|pair| pair.chosen as f32).collect()),
            rejected: column(pairs.iter().map(|pair| pair.rejected as f32).collect()),
            negative: negatives.map(column),
            support: None,
            chosen_tokens: column(pairs.iter().map(|pair| pair.chosen_tokens as f32).collect()),
        }
    }
}
