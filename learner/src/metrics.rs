//! The numbers a run reports: pure arithmetic on log-probabilities, in 64 bits on the host.
//!
//! The names are public: reports, plots and people rely on them. Rewards, margins and accuracies are those of DPO's authors;
//! CAIG's code leaves those of the product-centric term commented out, here they are reported.

use crate::config::LossConfig;
use crate::log_probs::PairNats;
use crate::pair_buffer::PairBatch;
use std::collections::BTreeMap;

/// Metrics by name.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// What one optimizer step measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepMetrics {
    values: BTreeMap<&'static str, f64>,
}

/// How one step was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepTaken {
    /// Norm of the whole gradient before clipping.
    pub(crate) grad_norm: f64,
    /// Learning rate of the step.
    pub(crate) learning_rate: f64,
}

impl StepMetrics {
    /// The means over a minibatch, given the policy's and the reference's log-probabilities of each of its pairs (at least
    /// one).
    pub(crate) fn new(
        policy: &[PairNats],
        reference: &[PairNats],
        config: &LossConfig,
        step: StepTaken,
    ) -> Self {
        let ratios: Vec<PairNats> = policy.iter().zip(reference).map(|(p, r)| p.minus(r)).collect();
        let mean =
            |value: &dyn Fn(&PairNats) -> f64| ratios.iter().map(value).sum::<f64>() / ratios.len() as f64;
        let dpo = |pair: &PairNats| pair.chosen - pair.rejected;
        let loss_dpo = mean(&|pair| softplus(-config.beta * dpo(pair)));
        let mut values = BTreeMap::from([
            ("loss", loss_dpo),
            ("loss_dpo", loss_dpo),
            ("rewards_chosen", mean(&|pair| config.beta * pair.chosen)),
            ("rewards_rejected", mean(&|pair| config.beta * pair.rejected)),
            ("rewards_margin", mean(&|pair| config.beta * dpo(pair))),
            ("accuracy_dpo", mean(&|pair| share(dpo(pair)))),
            ("grad_norm", step.grad_norm),
            ("learning_rate", step.learning_rate),
        ]);
        if ratios.iter().all(|pair| pair.negative.is_some()) {
            let pc = |pair: &PairNats| pair.chosen - pair.negative.unwrap_or(0.0);
            let loss_pcpo = mean(&|pair| softplus(-config.pcpo_beta * pc(pair)));
            values.insert("loss", loss_dpo + config.pcpo_weight * loss_pcpo);
            values.insert("loss_pcpo", loss_pcpo);
            values.insert("margin_pcpo", mean(&|pair| config.pcpo_beta * pc(pair)));
            values.insert("accuracy_pcpo", mean(&|pair| share(pc(pair))));
        }
        if config.nll_weight > 0.0 {
            let nll = |pair: &PairNats| -pair.chosen / pair.chosen_tokens;
            let loss_nll = policy.iter().map(nll).sum::<f64>() / policy.len() as f64;
            values.insert("loss", values["loss"] + config.nll_weight * loss_nll);
            values.insert("loss_nll", loss_nll);
        }
        Self { values }
    }

    /// The loss of the step.
    pub(crate) fn loss(&self) -> f64 {
        self.values["loss"]
    }
}

/// The metrics of a version: means over its steps, and what its batch tells. `reference` holds the reference's
/// log-probabilities of the batch's pairs.
pub(crate) fn version_metrics(steps: &[StepMetrics], batch: &PairBatch, reference: &[PairNats]) -> Metrics {
    let mut metrics = batch_metrics(batch, reference);
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
    metrics
}

/// What the batch itself tells of the policy that sampled it.
fn batch_metrics(batch: &PairBatch, reference: &[PairNats]) -> Metrics {
    let (mut kl, mut nats, mut tokens) = (0.0, 0.0, 0);
    for (pair, reference) in batch.pairs.iter().zip(reference) {
        for (candidate, reference) in [
            (pair.chosen(), reference.chosen),
            (pair.rejected(), reference.rejected),
        ] {
            let behaviour = candidate.trajectory.log_prob_sum();
            kl += behaviour - reference;
            nats -= behaviour;
            tokens += candidate.trajectory.token_ids().len();
        }
    }
    let completions = 2.0 * batch.pairs.len() as f64;
    let named = [
        ("kl", kl / completions),
        ("entropy", nats / tokens as f64),
        ("completion_tokens", tokens as f64 / completions),
        ("reward", batch.mean_reward),
        ("staleness_max", batch.staleness_max as f64),
        ("pairs", batch.pairs.len() as f64),
        ("no_pairs", batch.no_pairs as f64),
    ];
    named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
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
            negative: self.negative.zip(other.negative).map(|(own, other)| own - other),
            chosen_tokens: self.chosen_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{pair_of, version};

    fn nats(chosen: f64, rejected: f64, negative: Option<f64>) -> PairNats {
        PairNats {
            chosen,
            rejected,
            negative,
            chosen_tokens: 4.0,
        }
    }

    /// CAIG's weights, without an anchor.
    fn config() -> LossConfig {
        LossConfig {
            beta: 0.5,
            pcpo_beta: 0.5,
            pcpo_weight: 1.0,
            nll_weight: 0.0,
            ..LossConfig::default()
        }
    }

    fn step() -> StepTaken {
        StepTaken {
            grad_norm: 2.0,
            learning_rate: 1e-3,
        }
    }

    #[test]
    fn equal_log_probs_give_ln_2_twice_and_even_accuracies() {
        let pairs = [nats(-10.0, -12.0, Some(-30.0)); 2];
        let config = LossConfig {
            nll_weight: 0.4,
            ..config()
        };
        let metrics = StepMetrics::new(&pairs, &pairs, &config, step());
        // Four tokens of 2.5 nats each.
        assert_eq!(metrics.values["loss_nll"], 2.5);
        assert!((metrics.loss() - 2.0 * std::f64::consts::LN_2 - 0.4 * 2.5).abs() < 1e-12);
        assert_eq!(
            (metrics.values["accuracy_dpo"], metrics.values["accuracy_pcpo"]),
            (0.5, 0.5)
        );
    }

    #[test]
    fn rewards_margins_and_accuracies_are_betas_times_log_ratios() {
        let policy = [nats(-9.0, -14.0, Some(-30.0)), nats(-11.0, -11.0, Some(-25.0))];
        let reference = [nats(-10.0, -12.0, Some(-28.0)), nats(-10.0, -12.0, Some(-28.0))];
        let metrics = StepMetrics::new(&policy, &reference, &config(), step()).values;
        assert_eq!(metrics["rewards_chosen"], 0.0);
        assert_eq!(metrics["rewards_rejected"], 0.5 * (-2.0 + 1.0) / 2.0);
        assert_eq!(metrics["rewards_margin"], 0.5 * (3.0 - 2.0) / 2.0);
        assert_eq!(metrics["margin_pcpo"], 0.5 * (3.0 - 4.0) / 2.0);
        assert_eq!((metrics["accuracy_dpo"], metrics["accuracy_pcpo"]), (0.5, 0.5));
    }

    #[test]
    fn plain_dpo_reports_no_product_centric_numbers() {
        let pairs = [nats(-1.0, -2.0, None)];
        let metrics = StepMetrics::new(&pairs, &pairs, &config(), step()).values;
        assert!(!metrics.contains_key("loss_pcpo") && !metrics.contains_key("loss_nll"));
        assert_eq!(metrics["loss"], metrics["loss_dpo"]);
    }

    #[test]
    fn kl_entropy_and_length_are_those_of_the_behaviour_policy() {
        // Every token was sampled with log-probability -0.5.
        let pairs = vec![pair_of(0, 0, [&[5, 2], &[6, 7, 8, 2]])];
        let batch = PairBatch {
            version: version(1),
            pairs,
            mean_reward: 0.25,
            no_pairs: 3,
            staleness_max: 1,
        };
        let steps: Vec<_> = [1.0, 3.0]
            .map(|grad_norm| {
                let pairs = [nats(-1.0, -2.0, None)];
                StepMetrics::new(&pairs, &pairs, &config(), StepTaken { grad_norm, ..step() })
            })
            .into();
        let metrics = version_metrics(&steps, &batch, &[nats(-3.0, -1.5, None)]);
        assert_eq!(metrics["kl"], ((-2.0 + 3.0) + (-1.0 + 1.5)) / 2.0);
        assert_eq!((metrics["entropy"], metrics["completion_tokens"]), (0.5, 3.0));
        assert_eq!(
            (metrics["grad_norm"], metrics["no_pairs"], metrics["reward"]),
            (2.0, 3.0, 0.25)
        );
    }
}
