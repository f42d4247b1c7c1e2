//! Posteriors of click-through rates under an empirical-Bayes prior.

use super::normal_cdf;
use crate::{ClickCounts, ClickLog};

/// A Beta distribution over a click-through rate before its creative was shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaPrior {
    /// Pseudo-clicks; above 0.
    pub alpha: f64,
    /// Pseudo-impressions without click; above 0.
    pub beta: f64,
}

/// What is known of a creative's click-through rate after it was shown: again a Beta distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CtrPosterior {
    alpha: f64,
    beta: f64,
}

/// Pseudo-impressions of a prior are kept within these bounds: from almost no pooling to almost complete pooling.
const PSEUDO_IMPRESSIONS: std::ops::RangeInclusive<f64> = 2.0..=1e7;

/// One prior for each product of `log`, by product index: centred on the product's pooled rate, as concentrated as the
/// creatives of one product are alike over the whole log.
///
/// Likeness is the intra-class correlation rho of beta-binomial counts, estimated by moments: Pearson's statistic of a
/// creative has the expectation 1 + (n - 1) rho, and alpha + beta = 1 / rho - 1 (Williams 1982, "Extra-binomial variation
/// in logistic linear models").
pub fn product_priors(log: &dyn ClickLog) -> Vec<BetaPrior> {
    let mut counts = vec![Vec::new(); log.products().len()];
    for creative in log.creatives() {
        counts[creative.product].push(creative.counts());
    }
    let rates: Vec<f64> = counts.iter().map(|counts| pooled_rate(counts)).collect();
    let rho = intra_class_correlation(&counts, &rates);
    let pseudo = (1.0 / rho - 1.0).clamp(*PSEUDO_IMPRESSIONS.start(), *PSEUDO_IMPRESSIONS.end());
    rates
        .iter()
        .map(|rate| BetaPrior {
            alpha: rate * pseudo,
            beta: (1.0 - rate) * pseudo,
        })
        .collect()
}

/// The rate of all creatives together, with one half click and one impression added so that it is never 0 or 1.
fn pooled_rate(counts: &[ClickCounts]) -> f64 {
    let clicks: u64 = counts.iter().map(|c| c.clicks).sum();
    let impressions: u64 = counts.iter().map(|c| c.impressions).sum();
    (clicks as f64 + 0.5) / (impressions as f64 + 1.0)
}

fn intra_class_correlation(counts: &[Vec<ClickCounts>], rates: &[f64]) -> f64 {
    let (mut excess, mut weight) = (0.0, 0.0);
    for (counts, rate) in counts.iter().zip(rates).filter(|(counts, _)| counts.len() > 1) {
        let shown: f64 = counts.iter().map(|c| c.impressions as f64).sum();
        for count in counts.iter().filter(|count| count.impressions > 0) {
            let n = count.impressions as f64;
            let deviation = count.clicks as f64 - n * rate;
            excess += deviation * deviation / (n * rate * (1.0 - rate)) - (1.0 - n / shown);
            weight += (n - 1.0) * (1.0 - n / shown);
        }
    }
    if weight > 0.0 {
        (excess / weight).clamp(1e-9, 0.5)
    } else {
        0.5
    }
}

impl BetaPrior {
    /// What is known after `counts`.
    pub fn posterior(&self, counts: ClickCounts) -> CtrPosterior {
        CtrPosterior {
            alpha: self.alpha + counts.clicks as f64,
            beta: self.beta + (counts.impressions - counts.clicks.min(counts.impressions)) as f64,
        }
    }
}

impl CtrPosterior {
    /// The expected rate.
    pub fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// The variance of the rate.
    pub fn variance(&self) -> f64 {
        let total = self.alpha + self.beta;
        self.alpha * self.beta / (total * total * (total + 1.0))
    }

    /// The probability that this rate is above `other`'s: Phi of the standardised difference of their cube roots, which
    /// are nearly normal even after a handful of clicks (Wilson and Hilferty 1931, "The distribution of chi-square").
    pub fn probability_above(&self, other: &CtrPosterior) -> f64 {
        let (mean, variance) = self.cube_root();
        let (other_mean, other_variance) = other.cube_root();
        normal_cdf((mean - other_mean) / (variance + other_variance).sqrt())
    }

    /// How much the order of two rates is worth as a label, 0 (a coin) to 1 (certain): |2 Phi(z) - 1|.
    pub fn pair_weight(&self, other: &CtrPosterior) -> f64 {
        (2.0 * self.probability_above(other) - 1.0).abs()
    }

    /// Mean and variance of the cube root of the rate, by the delta method.
    fn cube_root(&self) -> (f64, f64) {
        let mean = self.mean();
        let share = (1.0 - mean) / (9.0 * self.alpha);
        (mean.cbrt() * (1.0 - share), mean.cbrt().powi(2) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_quality::test_log::TestLog;
    use proptest::prelude::*;
    use statrs::{
        distribution::{Beta, Continuous, ContinuousCDF},
        function::beta::beta_reg,
    };

    fn posterior(clicks: u64, impressions: u64) -> CtrPosterior {
        BetaPrior {
            alpha: 1.0,
            beta: 30.0,
        }
        .posterior(ClickCounts { impressions, clicks })
    }

    proptest! {
        #[test]
        fn the_two_orders_of_a_pair_sum_to_one(a in 0u64..200, b in 0u64..200, n in 200u64..50_000) {
            let (a, b) = (posterior(a, n), posterior(b, n));
            prop_assert!((a.probability_above(&b) + b.probability_above(&a) - 1.0).abs() < 1e-9);
            prop_assert!((a.pair_weight(&b) - b.pair_weight(&a)).abs() < 1e-9);
        }

        #[test]
        fn more_clicks_make_a_rate_more_likely_the_higher(k in 0u64..100, n in 200u64..5_000) {
            let other = posterior(20, 1_000);
            let (fewer, more) = (posterior(k, n).probability_above(&other), posterior(k + 1, n).probability_above(&other));
            prop_assert!(more > fewer || fewer > 0.999_999, "{fewer} {more}");
        }
    }

    /// P(a > b) by integration of a's density times b's distribution function.
    fn integrated(a: &CtrPosterior, b: &CtrPosterior) -> f64 {
        let density = Beta::new(a.alpha, a.beta).unwrap();
        let steps = 20_000;
        let upper = density.inverse_cdf(1.0 - 1e-9);
        let width = upper / f64::from(steps);
        let mids = (0..steps).map(|i| (f64::from(i) + 0.5) * width);
        mids.map(|x| density.pdf(x) * beta_reg(b.alpha, b.beta, x) * width)
            .sum()
    }

    #[test]
    fn the_probability_is_close_to_the_exact_integral() {
        for (a, b) in [
            ((30, 1_000), (20, 1_000)),
            ((12, 400), (150, 6_000)),
            ((3, 250), (9, 300)),
        ] {
            let (a, b) = (posterior(a.0, a.1), posterior(b.0, b.1));
            let (quick, exact) = (a.probability_above(&b), integrated(&a, &b));
            assert!((quick - exact).abs() < 0.015, "{quick} is not {exact}");
        }
    }

    #[test]
    fn creatives_that_differ_only_by_chance_are_pooled_and_others_are_not() {
        let alike = TestLog::new(&[&[(10_000, 300), (10_000, 310), (10_000, 290)]]);
        let unlike = TestLog::new(&[&[(10_000, 100), (10_000, 300), (10_000, 600)]]);
        let pseudo = |log: &TestLog| product_priors(log).iter().map(|p| p.alpha + p.beta).sum::<f64>();
        assert!(pseudo(&alike) > 100_000.0, "{}", pseudo(&alike));
        assert!(pseudo(&unlike) < 5_000.0, "{}", pseudo(&unlike));
    }

    #[test]
    fn products_without_creatives_or_clicks_still_have_a_prior() {
        for prior in product_priors(&TestLog::new(&[&[], &[(500, 0), (0, 0)]])) {
            assert!(
                prior.alpha > 0.0 && prior.beta > 0.0 && prior.alpha.is_finite() && prior.beta.is_finite()
            );
        }
    }
}
