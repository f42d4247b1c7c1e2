//! The numbers a run reports: pure arithmetic on log-probabilities, in 64 bits on the host.
//!
//! The names are public: reports, plots and people rely on them; docs/metrics.md defines each. Rewards, margins and
//! accuracies are those of DPO's authors; CAIG's code leaves those of the product-centric term commented out, here they are
//! reported.

use crate::config::LossConfig;
use crate::log_probs::PairNats;
use crate::loss::{Contrast, importance};
use crate::training_pair::{Completion, PairBatch, TrainingPair};
use serde::Serialize;
use std::collections::BTreeMap;

/// The name of [`behaviour_gap`].
const BEHAVIOUR_GAP: &str = "train_behaviour_logprob_gap";

/// Metrics by name.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// What one optimizer step measured, means over its minibatch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct StepMetrics {
    values: BTreeMap<&'static str, f64>,
}

/// How one step was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepTaken {
    /// The number whose gradient it followed.
    pub(crate) loss: f64,
    /// Norm of the whole gradient before clipping.
    pub(crate) grad_norm: f64,
    /// Learning rate of the step.
    pub(crate) learning_rate: f64,
}

impl StepMetrics {
    /// The metrics of a step, given the pairs of its minibatch (at least one) with the policy's and the reference's
    /// log-probabilities of each.
    pub(crate) fn new(
        pairs: &[&TrainingPair],
        policy: &[PairNats],
        reference: &[PairNats],
        config: &LossConfig,
        step: StepTaken,
    ) -> Self {
        let ratios: Vec<PairNats> = policy.iter().zip(reference).map(|(p, r)| p.minus(r)).collect();
        let mean =
            |value: &dyn Fn(&PairNats) -> f64| ratios.iter().map(value).sum::<f64>() / ratios.len() as f64;
        let dpo = |pair: &PairNats| pair.chosen - pair.rejected;
        let mut values = BTreeMap::from([
            ("loss", step.loss),
            ("loss_dpo", mean(&|pair| softplus(-config.beta * dpo(pair)))),
            ("rewards_chosen", mean(&|pair| config.beta * pair.chosen)),
            ("rewards_rejected", mean(&|pair| config.beta * pair.rejected)),
            ("rewards_margin", mean(&|pair| config.beta * dpo(pair))),
            ("accuracy_dpo", mean(&|pair| share(dpo(pair)))),
            ("grad_norm", step.grad_norm),
            ("learning_rate", step.learning_rate),
            ("pairs", ratios.len() as f64),
        ]);
        values.extend(sampling_metrics(pairs.iter().copied().zip(reference)));
        values.extend(behaviour_gap(pairs, policy).map(|gap| (BEHAVIOUR_GAP, gap)));
        let contrasts: Option<Vec<Contrast<f64>>> = ratios.iter().map(|pair| pair.contrast).collect();
        values.extend(
            contrasts
                .into_iter()
                .flat_map(|sides| product_centric(&sides, config)),
        );
        if config.nll_weight > 0.0 {
            let nll = |pair: &PairNats| -pair.chosen / pair.chosen_tokens;
            let loss_nll = policy.iter().map(nll).sum::<f64>() / policy.len() as f64;
            values.insert("loss_nll", loss_nll);
        }
        if config.importance_clip > 0.0 {
            let weights = pairs.iter().zip(policy);
            let weights = weights.map(|(pair, nats)| importance::weight(pair, nats, config.importance_clip));
            values.insert("importance_weight", weights.sum::<f64>() / pairs.len() as f64);
        }
        let supports: Option<Vec<f64>> = policy.iter().map(|pair| pair.support).collect();
        if let Some(supports) = supports {
            let loss_support = -supports.iter().sum::<f64>() / supports.len() as f64;
            values.insert("loss_support", loss_support);
        }
        Self { values }
    }

    /// All of them by name.
    pub(crate) fn values(&self) -> &BTreeMap<&'static str, f64> {
        &self.values
    }

    /// The loss of the step.
    pub(crate) fn loss(&self) -> f64 {
        self.values["loss"]
    }

    /// One of them, where the mode has it.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

/// What the product-centric term measured, given the log-ratios of its two sides.
fn product_centric(ratios: &[Contrast<f64>], config: &LossConfig) -> [(&'static str, f64); 5] {
    let mean =
        |value: &dyn Fn(&Contrast<f64>) -> f64| ratios.iter().map(value).sum::<f64>() / ratios.len() as f64;
    let margin = |sides: &Contrast<f64>| sides.own - sides.negative;
    let beta = config.pcpo_beta;
    [
        ("loss_pcpo", mean(&|sides| softplus(-beta * margin(sides)))),
        ("rewards_chosen_pcpo", mean(&|sides| beta * sides.own)),
        ("rewards_negative", mean(&|sides| beta * sides.negative)),
        ("margin_pcpo", mean(&|sides| beta * margin(sides))),
        ("accuracy_pcpo", mean(&|sides| share(margin(sides)))),
    ]
}

/// The metrics of a version: means over its steps, and what its batch tells. `reference` holds the reference's
/// log-probabilities of the batch's pairs.
pub(crate) fn version_metrics(steps: &[StepMetrics], batch: &PairBatch, reference: &[PairNats]) -> Metrics {
    let mut metrics = Metrics::new();
    for name in steps.iter().flat_map(|step| step.values.keys()) {
        let values: Vec<f64> = steps
            .iter()
            .filter_map(|step| step.values.get(name))
            .copied()
            .collect();
        metrics.insert(
            (*name).to_owned(),
            values.iter().sum::<f64>() / values.len() as f64,
        );
    }
    // Behind the first step the policy is another one than that which sampled.
    if let Some(gap) = steps.first().and_then(|step| step.values.get(BEHAVIOUR_GAP)) {
        metrics.insert(BEHAVIOUR_GAP.to_owned(), *gap);
    }
    // Steps are not all of the same size: what the batch tells of itself is more exact.
    metrics.insert("pairs".into(), batch.pairs.len() as f64);
    let of_batch = batch.sampled.iter().flat_map(|sampled| {
        [
            ("reward", sampled.mean_reward),
            ("staleness_max", sampled.staleness_max as f64),
            ("no_pairs", sampled.no_pairs as f64),
        ]
    });
    let of_pairs = sampling_metrics(batch.pairs.iter().zip(reference));
    for (name, value) in of_pairs.into_iter().chain(of_batch) {
        metrics.insert(name.to_owned(), value);
    }
    let barred = batch.sampled.iter().flat_map(|sampled| &sampled.barred);
    metrics.extend(barred.map(|(guardrail, count)| (format!("barred_{guardrail}"), *count as f64)));
    metrics
}

/// What pairs tell of their completions, and of the policy that sampled them where that is known, given the reference's
/// log-probabilities.
fn sampling_metrics<'a>(
    pairs: impl Iterator<Item = (&'a TrainingPair, &'a PairNats)>,
) -> Vec<(&'static str, f64)> {
    let completions: Vec<(&Completion, f64)> = pairs
        .flat_map(|(pair, reference)| {
            [
                (&pair.chosen, reference.chosen),
                (&pair.rejected, reference.rejected),
            ]
        })
        .collect();
    let count = completions.len() as f64;
    let lengths = completions
        .iter()
        .map(|(completion, _)| completion.token_ids.len());
    let tokens = lengths.sum::<usize>() as f64;
    let mut metrics = vec![("completion_tokens", tokens / count)];
    let behaviour: Option<Vec<f64>> = completions
        .iter()
        .map(|(completion, _)| completion.behaviour)
        .collect();
    if let Some(behaviour) = behaviour {
        let reference: f64 = completions.iter().map(|(_, reference)| reference).sum();
        let behaviour: f64 = behaviour.iter().sum();
        metrics.extend([
            ("kl", (behaviour - reference) / count),
            ("entropy", -behaviour / tokens),
        ]);
    }
    metrics
}

/// How far the policy's log-probabilities of the completions lie from those that whoever sampled them has told, in nats per
/// completion; `None` where that is not known of all.
fn behaviour_gap(pairs: &[&TrainingPair], policy: &[PairNats]) -> Option<f64> {
    let of_pair = |(pair, nats): (&&TrainingPair, &PairNats)| {
        let chosen = (nats.chosen - pair.chosen.behaviour?).abs();
        Some(chosen + (nats.rejected - pair.rejected.behaviour?).abs())
    };
    let gaps: Option<Vec<f64>> = pairs.iter().zip(policy).map(of_pair).collect();
    let gaps = gaps?;
    Some(gaps.iter().sum::<f64>() / (2 * gaps.len()) as f64)
}

/// `log(1 + exp(x))`, stable at both ends.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 for a won comparison, a half for a tie.
fn share(margin: f64) -> f64 {
    match margin.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    }
}

impl PairNats {
    fn minus(&self, other: &PairNats) -> PairNats {
        PairNats {
            chosen: self.chosen - other.chosen,
            rejected: self.rejected - other.rejected,
            contrast: self.contrast.zip(other.contrast).map(|(own, other)| Contrast {
                own: own.own - other.own,
                negative: own.negative - other.negative,
            }),
            support: None,
            chosen_tokens: self.chosen_tokens,
        }
    }
}

#[cfg(test)]
mod tests;
