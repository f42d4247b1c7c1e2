//! The loss of the form that scores each creative: weighted Bradley-Terry on pairs plus the likelihood of how a product's clicks
//! fell on its creatives.

use super::{combine, indices, noisy_pixels, nonzero, vector, with_first_index};
use crate::config::RewardConfig;
use crate::dataset::LabelledPair;
use crate::training::batches::{BatchProduct, MicroBatch};
use crate::training::fit::LossParts;
use burn::tensor::{Device, Tensor, activation};
use models::attention::FORBIDDEN;
use models::ctr::{Siamese, TokenRectangle};
use models::dropout::Dropout;

/// Loss of the siamese form:
///
/// `pair_weight · Σ w · -log σ((s_h - s_l) / τ) / Σ w + point_weight · mean over products of Σ -(k / Σk) log softmax(s + ln n)`
///
/// The second term is the likelihood of which creative was clicked given that the product was: for rare clicks the
/// product's base rate cancels, so that it needs no parameter of its own (conditional logistic regression, Breslow and
/// Day 1980, chapter 7). The binomial likelihood itself would be `Σ -k log softmax(s + ln n)`; dividing by the product's
/// clicks `Σk` deviates from it, so that a product counts once and not as often as it was clicked: a few products that
/// were shown much more than others would otherwise outweigh them all. The scores that fit one product best stay the same.
pub(in crate::training) fn siamese(
    network: &Siamese,
    batch: MicroBatch,
    config: &RewardConfig,
) -> (Tensor<1>, LossParts) {
    let device = network.score.weight.val().device().without_autodiff();
    let texts = batch
        .products
        .iter()
        .flat_map(|product| product.creatives.iter().map(|_| &product.text[..]));
    let texts = TokenRectangle::new(texts, config.max_text_tokens);
    let pixels = noisy_pixels(&batch, config, &device);
    let mut dropout = Dropout::new(config.dropout, batch.seed);
    let scores = network.forward(pixels, &texts, Some(&mut dropout));
    let pair = bradley_terry(&scores, &batch, config.pair_temperature, &device);
    let point = conditional_likelihood(&scores, &batch.products, &device) / batch.totals.products;
    combine(pair, point, config)
}

/// `Σ w · -log σ((s_h - s_l) / τ) / Σ w` over the labelled pairs (Bradley and Terry 1952); the second sum is the whole
/// step's.
fn bradley_terry(scores: &Tensor<1>, batch: &MicroBatch, temperature: f64, device: &Device) -> Tensor<1> {
    let pairs: Vec<(usize, LabelledPair)> = with_first_index(&batch.products)
        .flat_map(|(first, product)| product.pairs.iter().map(move |pair| (first, *pair)))
        .collect();
    if pairs.is_empty() {
        return scores.clone().sum() * 0.0;
    }
    let pick = |place: fn(&LabelledPair) -> usize| {
        scores.clone().select(
            0,
            indices(pairs.iter().map(|(first, pair)| first + place(pair)), device),
        )
    };
    let margins = (pick(|pair| pair.higher) - pick(|pair| pair.lower)) / temperature;
    let weights = vector(pairs.iter().map(|(_, pair)| pair.weight), device);
    (activation::log_sigmoid(margins) * weights).sum().neg() / nonzero(batch.totals.weight)
}

/// `Σ over products of Σ -(k / Σk) log softmax(s + ln n)`: each product's clicks count as one label, spread over its
/// creatives. Products without clicks add nothing.
fn conditional_likelihood(scores: &Tensor<1>, products: &[BatchProduct], device: &Device) -> Tensor<1> {
    let columns = products
        .iter()
        .map(|product| product.counts.len())
        .max()
        .unwrap_or(0);
    let (mut places, mut offsets, mut shares) = (vec![], vec![], vec![]);
    for (first, product) in with_first_index(products) {
        let clicks: u64 = product.counts.iter().map(|count| count.clicks).sum();
        for column in 0..columns {
            let count = product.counts.get(column).filter(|count| count.impressions > 0);
            places.push(first + if count.is_some() { column } else { 0 });
            offsets.push(count.map_or(f64::from(FORBIDDEN), |count| (count.impressions as f64).ln()));
            shares.push(count.map_or(0.0, |count| count.clicks as f64 / clicks.max(1) as f64));
        }
    }
    let shape = [products.len(), columns];
    let rectangle = |flat: Tensor<1>| flat.reshape(shape);
    let logits = rectangle(scores.clone().select(0, indices(places.into_iter(), device)))
        + rectangle(vector(offsets.into_iter(), device));
    (activation::log_softmax(logits, 1) * rectangle(vector(shares.into_iter(), device)))
        .sum()
        .neg()
}

#[cfg(test)]
mod tests {
    use super::super::tests::product;
    use super::*;
    use crate::training::batches::Totals;
    use burn::tensor::TensorData;

    fn scores(values: &[f32]) -> Tensor<1> {
        let device = models::device::parse_device("cpu").unwrap();
        Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
            .autodiff()
            .require_grad()
    }

    fn gradient(scores: &Tensor<1>, loss: Tensor<1>) -> Vec<f64> {
        scores
            .grad(&loss.backward())
            .unwrap()
            .into_data()
            .iter::<f64>()
            .collect()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn bradley_terry_and_its_gradient_are_the_closed_form() {
        let (a, b) = (
            product(&[(1, 0); 2], &[(0, 1, 0.5)]),
            product(&[(1, 0); 2], &[(1, 0, 0.25)]),
        );
        let totals = Totals {
            weight: 0.75,
            pairs: 2.0,
            products: 2.0,
        };
        let batch = MicroBatch {
            products: vec![a, b],
            seed: 0,
            totals,
        };
        let scores = scores(&[0.3, -0.2, 1.0, 90.0]);
        let loss = bradley_terry(&scores, &batch, 0.5, &scores.device().without_autodiff());
        let margins = [1.0, 178.0];
        let expected = (0.5 * -sigmoid(margins[0]).ln() + 0.25 * -sigmoid(margins[1]).ln()) / 0.75;
        assert!((loss.clone().into_scalar::<f64>() - expected).abs() < 1e-6);
        let slope = 0.5 / 0.75 * (1.0 - sigmoid(1.0)) / 0.5;
        let gradient = gradient(&scores, loss);
        for (found, expected) in gradient.iter().zip([-slope, slope, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn the_conditional_likelihood_pulls_predicted_shares_of_clicks_to_the_observed_ones() {
        let products = [
            product(&[(100, 3), (300, 1)], &[]),
            product(&[(50, 0), (200, 5), (100, 5)], &[]),
        ];
        let values = [0.3, -0.2, 1.0, 0.5, 0.0];
        let scores = scores(&values);
        let loss = conditional_likelihood(&scores, &products, &scores.device().without_autodiff());
        // -(k / Σk) log(n exp(s) / Σ n exp(s)), by product.
        let value = |n: &[f64], k: &[f64], s: &[f32]| -> f64 {
            let weights: Vec<f64> = n.iter().zip(s).map(|(n, s)| n * f64::from(*s).exp()).collect();
            let (total, clicks) = (weights.iter().sum::<f64>(), k.iter().sum::<f64>());
            let terms = weights.iter().zip(k).map(|(w, k)| -k / clicks * (w / total).ln());
            terms.sum()
        };
        let expected = value(&[100.0, 300.0], &[3.0, 1.0], &values[..2])
            + value(&[50.0, 200.0, 100.0], &[0.0, 5.0, 5.0], &values[2..]);
        let found = loss.clone().into_scalar::<f64>();
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        let gradient = gradient(&scores, loss);
        let expected = |n: &[f64], k: &[f64], s: &[f32]| -> Vec<f64> {
            let weights: Vec<f64> = n.iter().zip(s).map(|(n, s)| n * f64::from(*s).exp()).collect();
            let (total, clicks) = (weights.iter().sum::<f64>(), k.iter().sum::<f64>());
            weights
                .iter()
                .zip(k)
                .map(|(w, k)| w / total - k / clicks)
                .collect()
        };
        let expected = [
            expected(&[100.0, 300.0], &[3.0, 1.0], &values[..2]),
            expected(&[50.0, 200.0, 100.0], &[0.0, 5.0, 5.0], &values[2..]),
        ]
        .concat();
        for (found, expected) in gradient.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{gradient:?} is not {expected:?}"
            );
        }
    }

    #[test]
    fn creatives_that_were_never_shown_and_products_without_clicks_add_nothing() {
        let loss = |products: &[BatchProduct], values: &[f32]| {
            let scores = scores(values);
            let device = scores.device().without_autodiff();
            conditional_likelihood(&scores, products, &device).into_scalar::<f64>()
        };
        let plain = loss(&[product(&[(100, 3), (300, 1)], &[])], &[0.3, -0.2]);
        let more = [
            product(&[(100, 3), (300, 1), (0, 0)], &[]),
            product(&[(100, 0), (50, 0)], &[]),
        ];
        assert!((loss(&more, &[0.3, -0.2, 9.0, 1.0, 2.0]) - plain).abs() < 1e-6);
    }

    #[test]
    fn a_products_base_rate_does_not_matter() {
        let products = [product(&[(100, 3), (300, 1)], &[])];
        let loss = |shift: f32| {
            let scores = scores(&[0.3 + shift, -0.2 + shift]);
            let device = scores.device().without_autodiff();
            conditional_likelihood(&scores, &products, &device).into_scalar::<f64>()
        };
        assert!((loss(0.0) - loss(5.0)).abs() < 1e-5);
    }
}
