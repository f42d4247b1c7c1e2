//! What raw margins mean: three numbers fitted by likelihood on products that the network was not trained on.
//!
//! Each fit is a convex problem in one variable, solved by golden-section search or bisection; there is nothing to tune.

use crate::dataset::LabelledPair;
use crate::served::RawScores;
use data::ClickCounts;
use models::ctr::Calibration;

/// Raw scores of one product's creatives beside what happened to them.
#[derive(Debug, Clone)]
pub(crate) struct ScoredProduct {
    /// One raw score a creative.
    pub(crate) scores: Vec<f64>,
    /// Impressions and clicks of each.
    pub(crate) counts: Vec<ClickCounts>,
    /// Raw margins of the labelled pairs, the creative with more clicks first.
    pub(crate) margins: Vec<f64>,
}

impl ScoredProduct {
    /// A product's creatives as a model scored them.
    pub(crate) fn new(raw: RawScores, counts: &[ClickCounts], pairs: &[LabelledPair]) -> Self {
        let margin = |pair: &LabelledPair| raw.margins.margin(pair.higher, pair.lower);
        Self {
            margins: pairs.iter().map(margin).collect(),
            scores: raw.scores,
            counts: counts.to_vec(),
        }
    }
}

/// Bounds of the logarithm of temperature and scale: a factor of 1000 both ways.
const LOG_RANGE: [f64; 2] = [-6.9, 6.9];

/// Bounds of the click-through rate's intercept: rates from 1e-9 to almost 1.
const INTERCEPT_RANGE: [f64; 2] = [-20.7, 20.7];

/// Fits a calibration; parts that the products say nothing about keep the default's value.
pub(crate) fn fit(products: &[ScoredProduct]) -> Calibration {
    let none = Calibration::default();
    let reward_scale = fit_scale(products).unwrap_or(none.reward_scale);
    Calibration {
        reward_scale,
        temperature: fit_temperature(products).unwrap_or(none.temperature),
        ctr_intercept: fit_intercept(products, reward_scale).unwrap_or(none.ctr_intercept),
    }
}

/// The temperature under which the observed winners are most likely: min over T of Σ -log σ(margin / T) (Guo et al.
/// 2017, "On calibration of modern neural networks").
fn fit_temperature(products: &[ScoredProduct]) -> Option<f64> {
    let margins: Vec<f64> = products
        .iter()
        .flat_map(|product| product.margins.iter().copied())
        .collect();
    if margins.iter().all(|margin| *margin == 0.0) {
        return None;
    }
    let loss = |log_t: f64| {
        margins
            .iter()
            .map(|margin| softplus(-margin / log_t.exp()))
            .sum::<f64>()
    };
    Some(golden_section(loss).exp())
}

/// The scale under which each product's clicks fall on its creatives as they did: min over a of
/// Σ -k log softmax(a s + ln n), which no product's base rate enters.
fn fit_scale(products: &[ScoredProduct]) -> Option<f64> {
    let spread = |product: &&ScoredProduct| product.scores.iter().any(|score| *score != product.scores[0]);
    let informative: Vec<_> = products.iter().filter(spread).collect();
    if informative
        .iter()
        .all(|product| product.counts.iter().all(|count| count.clicks == 0))
    {
        return None;
    }
    let loss = |log_a: f64| {
        informative
            .iter()
            .map(|product| conditional_loss(product, log_a.exp()))
            .sum()
    };
    Some(golden_section(loss).exp())
}

fn conditional_loss(product: &ScoredProduct, scale: f64) -> f64 {
    let shown = product
        .scores
        .iter()
        .zip(&product.counts)
        .filter(|(_, count)| count.impressions > 0);
    let logits: Vec<(f64, f64)> = shown
        .map(|(score, count)| {
            (
                scale * score + (count.impressions as f64).ln(),
                count.clicks as f64,
            )
        })
        .collect();
    let highest = logits
        .iter()
        .fold(f64::NEG_INFINITY, |highest, (logit, _)| highest.max(*logit));
    let total = logits
        .iter()
        .map(|(logit, _)| (logit - highest).exp())
        .sum::<f64>()
        .ln()
        + highest;
    logits
        .iter()
        .map(|(logit, clicks)| clicks * (total - logit))
        .sum()
}

/// The intercept under which as many clicks are expected as happened: Σ n σ(c + reward) = Σ k.
fn fit_intercept(products: &[ScoredProduct], scale: f64) -> Option<f64> {
    let shown = products
        .iter()
        .flat_map(|product| product.scores.iter().zip(&product.counts));
    let shown: Vec<(f64, f64)> = shown
        .map(|(score, count)| (scale * score, count.impressions as f64))
        .collect();
    let clicks: u64 = products
        .iter()
        .flat_map(|product| &product.counts)
        .map(|count| count.clicks)
        .sum();
    let impressions: f64 = shown.iter().map(|(_, impressions)| impressions).sum();
    if clicks == 0 || clicks as f64 >= impressions {
        return None;
    }
    let expected = |c: f64| {
        shown
            .iter()
            .map(|(reward, n)| n / (1.0 + (-c - reward).exp()))
            .sum::<f64>()
    };
    let [mut low, mut high] = INTERCEPT_RANGE;
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if expected(middle) < clicks as f64 {
            low = middle
        } else {
            high = middle
        }
    }
    Some((low + high) / 2.0)
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Minimum of a function with one valley over [`LOG_RANGE`], to 1e-7.
fn golden_section(loss: impl Fn(f64) -> f64) -> f64 {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let [mut low, mut high] = LOG_RANGE;
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_a, mut at_b) = (loss(a), loss(b));
    while high - low > 1e-7 {
        if at_a <= at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - ratio * (high - low);
            at_a = loss(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + ratio * (high - low);
            at_b = loss(b);
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product whose clicks are exactly as expected when scores times `scale` are log odds above `base`.
    fn product(scores: &[f64], scale: f64, base: f64) -> ScoredProduct {
        let impressions = 10_000_000u64;
        let clicks =
            |score: &f64| (impressions as f64 / (1.0 + (-base - scale * score).exp())).round() as u64;
        let counts = scores
            .iter()
            .map(|score| ClickCounts {
                impressions,
                clicks: clicks(score),
            })
            .collect();
        ScoredProduct {
            scores: scores.to_vec(),
            counts,
            margins: vec![],
        }
    }

    #[test]
    fn the_scale_of_the_scores_is_recovered_whatever_the_products_base_rates() {
        let products = [
            product(&[0.0, 1.0, -2.0], 0.25, -5.0),
            product(&[3.0, 1.5, 0.5], 0.25, -6.0),
        ];
        let scale = fit(&products).reward_scale;
        // Conditioning on the number of clicks is exact for rare clicks.
        assert!((scale - 0.25).abs() < 0.003, "{scale}");
    }

    #[test]
    fn the_intercept_gives_as_many_clicks_as_there_were() {
        let intercept = fit(&[product(&[0.0, 1.0, -1.0], 0.5, -3.6)]).ctr_intercept;
        assert!((intercept + 3.6).abs() < 0.05, "{intercept}");
    }

    #[test]
    fn the_temperature_makes_probabilities_as_certain_as_outcomes_were() {
        // Margins of 1 whose left creative won 3 of 4 times: σ(1 / T) = 0.75.
        let margins = vec![1.0, 1.0, 1.0, -1.0];
        let scored = ScoredProduct {
            scores: vec![],
            counts: vec![],
            margins,
        };
        let calibration = fit(&[scored]);
        assert!((calibration.probability(1.0) - 0.75).abs() < 1e-5);
        assert_eq!((calibration.reward_scale, calibration.ctr_intercept), (1.0, 0.0));
    }

    #[test]
    fn a_margin_that_always_wins_gives_certainty_and_not_infinity() {
        let scored = ScoredProduct {
            scores: vec![],
            counts: vec![],
            margins: vec![1.0, 2.0],
        };
        let temperature = fit(&[scored]).temperature;
        assert!(temperature > 0.0 && temperature < 0.01);
    }
}
