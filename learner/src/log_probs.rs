//! Log-probabilities of pairs: under the policy with gradients, and under the reference once a batch.
//!
//! The reference is the policy with its adapter off. What it says does not change while a batch is trained on, so it is
//! computed for the whole batch first, on several threads, and kept on the host.

use crate::collate::{PairMicroBatch, TrainingBatch};
use crate::config::LossConfig;
use crate::error::LearnerError;
use crate::loss::evidence::Evidence;
use crate::loss::{Contrast, PairLogProbs};
use burn::tensor::{Device, Tensor, TensorData};
use models::llava::Llava;
use models::log_probs::{CompletionLogProbs, CompletionLogits};
use models::token_support::TokenSupport;
use std::ops::Range;
use std::thread;

/// Log-probabilities of one pair's completions in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairNats {
    /// Of the chosen completion.
    pub(crate) chosen: f64,
    /// Of the rejected completion.
    pub(crate) rejected: f64,
    /// What the product-centric term compares.
    pub(crate) contrast: Option<Contrast<f64>>,
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
    /// What each token of the chosen completion speaks for its product, where the loss asks for it.
    pub(crate) evidence: Option<Evidence>,
}

/// The log-probabilities alone.
pub(crate) fn nats<'a>(reference: impl IntoIterator<Item = &'a PairReference>) -> Vec<PairNats> {
    reference.into_iter().map(|pair| pair.nats).collect()
}

/// What the completions of a micro-batch's rows come to for each pair; `evidence` of its chosen completions `[pairs, completion_length]`.
fn by_pair(
    completions: &CompletionLogProbs,
    batch: &PairMicroBatch,
    evidence: Option<Tensor<2>>,
) -> PairLogProbs {
    let (sums, lengths) = (completions.sums(), completions.lengths());
    let part = |rows: Range<usize>| sums.clone().narrow(0, rows.start, rows.len());
    let counted = |rows: Range<usize>| match &evidence {
        Some(evidence) => completions.weighed_sums(rows, evidence.clone()),
        None => part(rows),
    };
    PairLogProbs {
        chosen: part(batch.chosen()),
        rejected: part(batch.rejected()),
        contrast: batch.has_negatives.then(|| Contrast {
            own: counted(batch.chosen()),
            negative: counted(batch.negatives()),
        }),
        support: None,
        chosen_tokens: lengths.narrow(0, 0, batch.pairs),
    }
}

/// The same of the policy by its logits, with how much of it lies on what the reference holds possible.
pub(crate) fn policy_by_pair(
    logits: &CompletionLogits,
    batch: &PairMicroBatch,
    reference: &[&PairReference],
) -> PairLogProbs {
    let supports: Option<Vec<&TokenSupport>> = reference.iter().map(|pair| pair.support.as_ref()).collect();
    let evidence: Option<Vec<&Evidence>> = reference.iter().map(|pair| pair.evidence.as_ref()).collect();
    let completions = logits.log_probs();
    let evidence = evidence.map(|evidence| table(&evidence, &completions));
    PairLogProbs {
        support: supports.map(|supports| logits.log_mass(batch.negatives(), &supports)),
        ..by_pair(&completions, batch, evidence)
    }
}

/// The evidence of a micro-batch's chosen completions.
///
/// # Shapes
/// `[pairs, completion_length]`
fn table(evidence: &[&Evidence], completions: &CompletionLogProbs) -> Tensor<2> {
    let [_, length] = completions.mask.dims();
    Evidence::table(evidence, length, &completions.mask.device())
}

/// What `reference` says of a micro-batch's pairs.
pub(crate) fn reference_by_pair(
    reference: &Llava,
    batch: &PairMicroBatch,
    loss: &LossConfig,
) -> Vec<PairReference> {
    let logits = reference.completion_logits(&batch.rows, Some(&batch.features));
    let completions = logits.log_probs();
    let evidence = (loss.has_evidence() && batch.has_negatives).then(|| -> Vec<Evidence> {
        let own = completions.tokens_of(batch.chosen());
        let negative = completions.tokens_of(batch.negatives());
        let pairs = own.iter().zip(&negative);
        pairs.map(|(own, negative)| Evidence::of(own, negative)).collect()
    });
    let counted = evidence
        .as_ref()
        .map(|evidence| table(&evidence.iter().collect::<Vec<_>>(), &completions));
    let nats = by_pair(&completions, batch, counted).to_host();
    let supports = (loss.has_support() && batch.has_negatives)
        .then(|| logits.supports(batch.negatives(), loss.support_threshold));
    let mut supports = supports.map(Vec::into_iter);
    let mut evidence = evidence.map(Vec::into_iter);
    let of_pair = |nats| PairReference {
        nats,
        support: supports.as_mut().and_then(Iterator::next),
        evidence: evidence.as_mut().and_then(Iterator::next),
    };
    nats.into_iter().map(of_pair).collect()
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
        let contrast = self.contrast.as_ref();
        let contrast = contrast.map(|sides| (host(&sides.own), host(&sides.negative)));
        let support = self.support.as_ref().map(host);
        let chosen_tokens = host(&self.chosen_tokens);
        let pair = |i: usize| PairNats {
            chosen: chosen[i],
            rejected: rejected[i],
            contrast: contrast.as_ref().map(|(own, negative)| Contrast {
                own: own[i],
                negative: negative[i],
            }),
            support: support.as_ref().map(|values| values[i]),
            chosen_tokens: chosen_tokens[i],
        };
        (0..chosen.len()).map(pair).collect()
    }

    /// The reference's numbers as constants on `device`.
    pub(crate) fn from_host(pairs: &[PairNats], device: &Device) -> Self {
        let column = |values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f32> = values.map(|value| value as f32).collect();
            Tensor::from_data(TensorData::new(values, [pairs.len()]), device)
        };
        let contrasts: Option<Vec<Contrast<f64>>> = pairs.iter().map(|pair| pair.contrast).collect();
        Self {
            chosen: column(&mut pairs.iter().map(|pair| pair.chosen)),
            rejected: column(&mut pairs.iter().map(|pair| pair.rejected)),
            contrast: contrasts.map(|sides| Contrast {
                own: column(&mut sides.iter().map(|sides| sides.own)),
                negative: column(&mut sides.iter().map(|sides| sides.negative)),
            }),
            support: None,
            chosen_tokens: column(&mut pairs.iter().map(|pair| pair.chosen_tokens)),
        }
    }
}
