//! What was measured of one version, and the row it becomes in the report.

use super::swapped_inputs::SwappedInputs;
use crate::demo::Round;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeMap;

/// One version's figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Evaluation {
    /// Mean reward of the samples that have an image.
    pub(crate) reward: f64,
    /// The reward of every sample, product after product; `None` of one without an image.
    #[serde(skip)]
    pub(crate) rewards: Vec<Option<f64>>,
    /// Mean true click-through rate, where it is known.
    pub(crate) true_ctr: Option<f64>,
    /// Share of descriptions that match their product, where it is known.
    pub(crate) match_rate: Option<f64>,
    /// Mean of log pi - log ref, in nats per completion.
    pub(super) kl: f64,
    /// What happens when products change places; none when there are no two that could.
    #[serde(flatten)]
    pub(super) swapped_inputs: Option<SwappedInputs>,
    /// Nats per token.
    pub(super) entropy: f64,
    /// Mean tokens of a completion.
    pub(super) completion_tokens: f64,
    /// Share of descriptions with a part that cannot be rendered, without an end, or without an image.
    pub(crate) invalid_rate: f64,
    /// Different valid descriptions.
    pub(crate) distinct_descriptions: u64,
    /// The first sample of each product.
    #[serde(skip)]
    pub(crate) samples: Vec<Sample>,
}

/// One advertisement, as the contact sheet shows it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The product, as an index into the catalogue.
    pub(crate) product: usize,
    /// What was asked for.
    pub(crate) description: String,
    /// Noise of its picture.
    pub(crate) noise_seed: u64,
    /// The reward model's estimate of its click-through rate, where it has one.
    pub(crate) predicted_ctr: Option<f64>,
    /// The oracle's.
    pub(crate) true_ctr: Option<f64>,
}

impl Evaluation {
    /// What whoever looks at the run is told of the version (docs/metrics.md).
    pub(crate) fn told(&self) -> BTreeMap<String, f64> {
        let always = [
            ("reward", self.reward),
            ("kl", self.kl),
            ("entropy", self.entropy),
            ("completion_tokens", self.completion_tokens),
            ("invalid_rate", self.invalid_rate),
            ("distinct_descriptions", self.distinct_descriptions as f64),
        ];
        let known = [("true_ctr", self.true_ctr), ("match_rate", self.match_rate)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let figures = always.into_iter().chain(known);
        figures.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// These figures beside those of the training that led to the version.
    ///
    /// # Errors
    /// When the learner's metrics lack one.
    pub(crate) fn round(&self, number: u64, metrics: &BTreeMap<String, f64>) -> anyhow::Result<Round> {
        let metric = |name: &str| {
            metrics
                .get(name)
                .copied()
                .with_context(|| format!("no metric {name} of version {number}"))
        };
        let count = |name: &str| {
            if number == 0 {
                Ok(0)
            } else {
                metric(name).map(|value| value.round() as u64)
            }
        };
        Ok(Round {
            round: number,
            version: number,
            reward: if number == 0 {
                None
            } else {
                Some(metric("reward")?)
            },
            reward_test_products: self.reward,
            true_ctr: self.true_ctr,
            match_rate: self.match_rate,
            kl: self.kl,
            entropy: self.entropy,
            completion_tokens: self.completion_tokens,
            invalid_rate: self.invalid_rate,
            distinct_descriptions: self.distinct_descriptions,
            product_nats: self.swapped_inputs.map(|swapped| swapped.product_nats),
            swap_followed: self.swapped_inputs.map(|swapped| swapped.followed),
            pairs: count("pairs")?,
            no_pairs: count("no_pairs")?,
            staleness_max: count("staleness_max")?,
        })
    }
}

/// The arithmetic mean; 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// The mean; none when any value is unknown.
pub(super) fn mean_known(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values
        .collect::<Option<Vec<f64>>>()
        .map(|known| mean(known.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        Evaluation {
            reward: 0.4,
            rewards: vec![],
            true_ctr: Some(0.03),
            match_rate: Some(0.8),
            kl: 0.0,
            swapped_inputs: None,
            entropy: 0.7,
            completion_tokens: 14.0,
            invalid_rate: 0.05,
            distinct_descriptions: 400,
            samples: vec![],
        }
    }

    #[test]
    fn the_start_needs_no_metrics_and_a_trained_version_does() {
        let start = evaluation().round(0, &BTreeMap::new()).unwrap();
        assert_eq!((start.reward, start.pairs), (None, 0));
        let error = evaluation().round(1, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("reward"), "{error}");
        let metrics = [
            ("reward", 0.2),
            ("pairs", 256.0),
            ("no_pairs", 3.0),
            ("staleness_max", 1.0),
        ];
        let round = evaluation()
            .round(1, &metrics.map(|(k, v)| (k.to_owned(), v)).into())
            .unwrap();
        assert_eq!(
            (round.reward, round.pairs, round.no_pairs, round.staleness_max),
            (Some(0.2), 256, 3, 1)
        );
    }

    #[test]
    fn one_unknown_value_makes_the_mean_unknown() {
        assert_eq!(mean_known([Some(1.0), Some(3.0)].into_iter()), Some(2.0));
        assert_eq!(mean_known([Some(1.0), None].into_iter()), None);
    }
}
