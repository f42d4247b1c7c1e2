//! Pairs of creatives as labels, and the accuracy that a perfect model would reach on them.

use super::{BetaPrior, product_priors};
use crate::ClickLog;
use std::ops::Range;

/// Two creatives of one product, one of which was clicked more often than the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CreativePair {
    /// Index of the creative with the higher observed rate.
    pub higher: usize,
    /// Index of the creative with the lower observed rate.
    pub lower: usize,
    /// What the label is worth, 0 to 1: see [`super::CtrPosterior::pair_weight`].
    pub weight: f64,
}

/// All pairs of creatives of one product, for the products in `products`, where both were shown more than
/// `min_impressions` times and their observed rates differ. CAIG uses 1000 impressions
/// (`shuffle_ali_data_preprocess.py`).
pub fn creative_pairs(log: &dyn ClickLog, products: Range<usize>, min_impressions: u64) -> Vec<CreativePair> {
    let priors = product_priors(log);
    let mut by_product = vec![Vec::new(); log.products().len()];
    for (index, creative) in log.creatives().iter().enumerate() {
        if creative.impressions > min_impressions {
            by_product[creative.product].push(index);
        }
    }
    let mut pairs = Vec::new();
    for product in products {
        for (position, &a) in by_product[product].iter().enumerate() {
            let others = &by_product[product][position + 1..];
            pairs.extend(others.iter().filter_map(|&b| label(log, &priors[product], a, b)));
        }
    }
    pairs
}

fn label(log: &dyn ClickLog, prior: &BetaPrior, a: usize, b: usize) -> Option<CreativePair> {
    let (first, second) = (log.creatives()[a].counts(), log.creatives()[b].counts());
    let (higher, lower) = match first.rate().partial_cmp(&second.rate())? {
        std::cmp::Ordering::Greater => (a, b),
        std::cmp::Ordering::Less => (b, a),
        std::cmp::Ordering::Equal => return None,
    };
    let weight = prior.posterior(first).pair_weight(&prior.posterior(second));
    Some(CreativePair {
        higher,
        lower,
        weight,
    })
}

/// The pair accuracy of a model that knows the true rates, against these observed labels. `None` without pairs or when
/// the log does not know the truth.
pub fn known_label_ceiling(log: &dyn ClickLog, pairs: &[CreativePair]) -> Option<f64> {
    let mut right = 0.0;
    for pair in pairs {
        let (higher, lower) = (log.true_ctr(pair.higher)?, log.true_ctr(pair.lower)?);
        right += if higher > lower { 1.0 } else { 0.0 };
    }
    (!pairs.is_empty()).then(|| right / pairs.len() as f64)
}

/// The same ceiling estimated from the counts alone: the mean probability that the order of a pair is the true one.
/// `None` without pairs.
pub fn estimated_label_ceiling(log: &dyn ClickLog, pairs: &[CreativePair]) -> Option<f64> {
    let priors = product_priors(log);
    let certainty = |pair: &CreativePair| {
        let prior = priors[log.creatives()[pair.higher].product];
        let posterior = |creative: usize| prior.posterior(log.creatives()[creative].counts());
        posterior(pair.higher).probability_above(&posterior(pair.lower))
    };
    (!pairs.is_empty()).then(|| pairs.iter().map(certainty).sum::<f64>() / pairs.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_quality::test_log::TestLog;

    #[test]
    fn pairs_stay_within_a_product_and_above_the_impression_floor() {
        let log = TestLog::new(&[
            &[(2_000, 60), (2_000, 40), (900, 9)],
            &[(3_000, 30), (3_000, 90), (3_000, 30)],
        ]);
        let pairs = creative_pairs(&log, 0..2, 1_000);
        let ends: Vec<_> = pairs.iter().map(|pair| (pair.higher, pair.lower)).collect();
        assert_eq!(ends, [(0, 1), (4, 3), (4, 5)]);
        assert!(
            creative_pairs(&log, 1..2, 1_000)
                .iter()
                .all(|pair| pair.higher >= 3)
        );
    }

    #[test]
    fn a_clear_difference_weighs_more_than_a_small_one() {
        let log = TestLog::new(&[&[(5_000, 100), (5_000, 104), (5_000, 200)]]);
        let pairs = creative_pairs(&log, 0..1, 1_000);
        assert!(pairs[0].weight < 0.4 && pairs[1].weight > 0.9, "{pairs:?}");
    }

    #[test]
    fn the_known_ceiling_counts_labels_that_agree_with_the_truth() {
        let log = TestLog::new(&[&[(2_000, 60), (2_000, 40), (2_000, 50)]]).with_truth(&[0.03, 0.02, 0.01]);
        let pairs = creative_pairs(&log, 0..1, 1_000);
        assert_eq!(known_label_ceiling(&log, &pairs), Some(2.0 / 3.0));
    }

    #[test]
    fn ceilings_are_unknown_without_pairs_or_truth() {
        let log = TestLog::new(&[&[(2_000, 60), (2_000, 40)]]);
        let pairs = creative_pairs(&log, 0..1, 1_000);
        assert_eq!(known_label_ceiling(&log, &pairs), None);
        assert_eq!(estimated_label_ceiling(&log, &[]), None);
        assert!(estimated_label_ceiling(&log, &pairs).unwrap() > 0.5);
    }
}
