//! The loss of the networks that compare two creatives: CAIG's cross-entropy plus squared error of the two rates.

use super::{combine, indices, noisy_pixels, nonzero, vector, with_first_index};
use crate::config::RewardConfig;
use crate::dataset::LabelledPair;
use crate::training::batches::{BatchProduct, MicroBatch, Totals};
use crate::training::fit::LossParts;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData, activation};
use models::ctr::{CaigAnswer, CaigNetwork, Concat, PairPrediction, PairRows, TokenRectangle};

/// Loss of the concat form: see [`of_pairs`].
pub(in crate::training) fn concat(
    network: &Concat,
    batch: MicroBatch,
    config: &RewardConfig,
) -> (Tensor<1>, LossParts) {
    let device = network.score.weight.val().device().without_autodiff();
    let features = network.encode_images(noisy_pixels(&batch, config, &device));
    let placed = place_pairs(&batch.products);
    if placed.is_empty() {
        // A product without labelled pairs teaches this form nothing, but the step still needs a graph.
        let nothing = features.sum() * 0.0;
        return combine(nothing.clone(), nothing, config);
    }
    let side = |column: fn(&PlacedPair) -> usize| {
        features
            .clone()
            .select(0, indices(placed.iter().map(column), &device))
    };
    let texts = placed.iter().map(|pair| &batch.products[pair.product].text[..]);
    let texts = TokenRectangle::new(texts, config.max_text_tokens);
    let PairPrediction { logits, ctr } =
        network.compare(side(|pair| pair.left), side(|pair| pair.right), &texts);
    of_pairs(logits, Some(ctr), &placed, &batch.totals, config)
}

/// Gradients of the loss of CAIG's own network: see [`of_pairs`]. `lay_out` makes its rows of the pairs of creatives, each
/// with its text.
pub(in crate::training) fn caig<Creative>(
    network: &CaigNetwork,
    batch: &MicroBatch<Creative>,
    lay_out: impl FnOnce(&[(&Creative, &Creative)], &[&[u32]]) -> PairRows,
    config: &RewardConfig,
) -> (GradientsParams, LossParts) {
    let placed = place_pairs(&batch.products);
    if placed.is_empty() {
        return (GradientsParams::new(), LossParts::default());
    }
    let creatives: Vec<&Creative> = batch
        .products
        .iter()
        .flat_map(|product| &product.creatives)
        .collect();
    let pairs = placed
        .iter()
        .map(|pair| (creatives[pair.left], creatives[pair.right]));
    let texts = placed.iter().map(|pair| &batch.products[pair.product].text[..]);
    let rows = lay_out(&pairs.collect::<Vec<_>>(), &texts.collect::<Vec<_>>());
    let loss = |CaigAnswer { logits, ctr }| of_pairs(logits, ctr, &placed, &batch.totals, config);
    network.backward(&rows, config.activation_checkpointing, loss)
}

/// `pair_weight · Σ w · CE / Σ w + point_weight · mean squared error of the 2 rates of each pair`
/// (`llava_llama_cls_pointloss.py`, 421-428, where w is 1 and the weights are 1 and 0.5); the sums are the whole step's.
///
/// # Shapes
/// `[pairs, 2]` both
fn of_pairs(
    logits: Tensor<2>,
    ctr: Option<Tensor<2>>,
    placed: &[PlacedPair],
    totals: &Totals,
    config: &RewardConfig,
) -> (Tensor<1>, LossParts) {
    let device = logits.device().without_autodiff();
    let classes = indices(placed.iter().map(|pair| usize::from(!pair.left_wins)), &device);
    let chosen = activation::log_softmax(logits, 1).gather(1, classes.unsqueeze_dim(1));
    let weights = vector(placed.iter().map(|pair| pair.weight), &device).unsqueeze_dim(1);
    let pair = (chosen * weights).sum().neg() / nonzero(totals.weight);
    let rates: Vec<f32> = placed
        .iter()
        .flat_map(|pair| pair.rates.map(|rate| rate as f32))
        .collect();
    let rates = Tensor::<2>::from_data(TensorData::new(rates, [placed.len(), 2]), &device);
    let point = match ctr {
        Some(ctr) => (ctr - rates).square().sum() / nonzero(2.0 * totals.pairs),
        None => pair.clone() * 0.0,
    };
    combine(pair, point, config)
}

/// A labelled pair with its sides chosen; creatives are indices into the micro-batch.
struct PlacedPair {
    product: usize,
    left: usize,
    right: usize,
    left_wins: bool,
    weight: f64,
    /// Observed click-through rates, left and right.
    rates: [f64; 2],
}

fn place_pairs<Creative>(products: &[BatchProduct<Creative>]) -> Vec<PlacedPair> {
    let of_product = |(index, (first, product)): (usize, (usize, &BatchProduct<Creative>))| {
        let place = |(pair, left_wins): (&LabelledPair, &bool)| {
            let (left, right) = if *left_wins {
                (pair.higher, pair.lower)
            } else {
                (pair.lower, pair.higher)
            };
            PlacedPair {
                product: index,
                left: first + left,
                right: first + right,
                left_wins: *left_wins,
                weight: pair.weight,
                rates: [left, right].map(|creative| product.counts[creative].rate()),
            }
        };
        product
            .pairs
            .iter()
            .zip(&product.higher_is_left)
            .map(place)
            .collect::<Vec<_>>()
    };
    with_first_index(products)
        .enumerate()
        .flat_map(of_product)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::product;
    use super::*;
    use crate::toy_log::{config, model};
    use burn::module::Module;
    use models::ctr::{CtrForm, CtrNetwork};

    /// The two heads' gradients by name.
    fn head_gradients(network: &Concat, loss: Tensor<1>) -> [Vec<f64>; 2] {
        let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), network);
        [&network.score, &network.sku_ctr_linear_fc[0]].map(|head| {
            let gradient = gradients.get::<2>(head.weight.id);
            gradient.map_or_else(Vec::new, |gradient| gradient.into_data().iter::<f64>().collect())
        })
    }

    #[test]
    fn cross_entropy_and_squared_error_of_the_concat_form_are_the_closed_form() {
        let config = RewardConfig {
            dropout: 0.0,
            pixel_noise: 0.0,
            pair_weight: 0.7,
            point_weight: 30.0,
            ..config(CtrForm::Concat)
        };
        let CtrNetwork::Concat(network) = model(CtrForm::Concat, 3).network else {
            panic!("not the concat form")
        };
        let network = network.train();
        let pixels = |seed: usize| -> Vec<f32> {
            (0..3 * 8 * 8)
                .map(|i| ((i * 7 + seed * 13) % 11) as f32 / 11.0)
                .collect()
        };
        let shown = |product: BatchProduct, seed: usize, sides: &[bool]| BatchProduct {
            text: vec![1, 20 + seed as u32, 21],
            creatives: (0..product.counts.len()).map(|i| pixels(seed + i)).collect(),
            higher_is_left: sides.to_vec(),
            ..product
        };
        let products = vec![
            shown(product(&[(1000, 40), (2000, 30)], &[(0, 1, 0.5)]), 0, &[true]),
            shown(
                product(&[(500, 5), (800, 80), (900, 20)], &[(1, 0, 0.25), (2, 0, 1.0)]),
                5,
                &[false, true],
            ),
        ];
        let totals = Totals {
            weight: 1.75,
            pairs: 3.0,
            products: 2.0,
        };
        let batch = MicroBatch {
            products: products.clone(),
            seed: 1,
            totals,
        };
        let (loss, parts) = concat(&network, batch, &config);

        // Product, left, right, class of the better one, weight; each pair alone.
        let pairs = [(0, 0, 1, 0, 0.5), (1, 0, 1, 1, 0.25), (1, 2, 0, 0, 1.0)];
        let (mut cross_entropy, mut squared_error) = (0.0, 0.0);
        let mut expected = [vec![], vec![]];
        for (product, left, right, class, weight) in pairs {
            let product = &products[product];
            let device = network.score.weight.val().device().without_autodiff();
            let compare = || {
                let see = |creative: usize| {
                    let data = TensorData::new(product.creatives[creative].clone(), [1, 3, 8, 8]);
                    network.encode_images(Tensor::from_data(data, &device))
                };
                let texts = TokenRectangle::new([&product.text[..]], config.max_text_tokens);
                network.compare(see(left), see(right), &texts)
            };
            let numbers = |tensor: Tensor<2>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
            let (logits, ctr) = (numbers(compare().logits), numbers(compare().ctr));
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            cross_entropy -= weight / 1.75 * (logits[class].exp() / total).ln();
            for side in 0..2 {
                let probability = logits[side].exp() / total;
                let pull = weight / 1.75 * (probability - f64::from(u8::from(side == class)));
                let count = product.counts[[left, right][side]];
                let error = ctr[side] - count.clicks as f64 / count.impressions as f64;
                squared_error += error * error / 6.0;
                let asked = [
                    (compare().logits, 0.7 * pull),
                    (compare().ctr, 30.0 * 2.0 * error / 6.0),
                ];
                for (head, (output, coefficient)) in asked.into_iter().enumerate() {
                    let own = &head_gradients(&network, output.narrow(1, side, 1).sum())[head];
                    expected[head].resize(own.len(), 0.0);
                    expected[head]
                        .iter_mut()
                        .zip(own)
                        .for_each(|(sum, own)| *sum += coefficient * own);
                }
            }
        }
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-5 * (1.0 + expected.abs());
        assert!(
            close(parts.pair, cross_entropy),
            "{} is not {cross_entropy}",
            parts.pair
        );
        assert!(
            close(parts.point, squared_error),
            "{} is not {squared_error}",
            parts.point
        );
        let value = loss.clone().into_scalar::<f64>();
        assert!(close(value, 0.7 * cross_entropy + 30.0 * squared_error));
        for (found, expected) in head_gradients(&network, loss).iter().zip(&expected) {
            assert!(expected.iter().any(|value| value.abs() > 1e-3));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!(close(*found, *expected), "{found} is not {expected}");
            }
        }
    }
}
