//! The losses of both forms, as sums over a micro-batch divided by totals of the whole step.
//!
//! Siamese: weighted Bradley-Terry on pairs plus the likelihood of how a product's clicks fell on its creatives. Concat and
//! CAIG's own network: CAIG's cross-entropy plus squared error of the two rates.

use super::batches::{BatchProduct, MicroBatch, Totals};
use super::fit::LossParts;
use crate::config::RewardConfig;
use crate::dataset::LabelledPair;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use models::attention::FORBIDDEN;
use models::ctr::{CaigAnswer, CaigNetwork, Concat, PairPrediction, PairRows, Siamese, TokenRectangle};
use models::dropout::Dropout;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Loss of the siamese form:
///
/// `pair_weight · Σ w · -log σ((s_h - s_l) / τ) / Σ w + point_weight · mean over products of Σ -(k / Σk) log softmax(s + ln n)`
///
/// The second term is the likelihood of which creative was clicked given that the product was: for rare clicks the
/// product's base rate cancels, so that it needs no parameter of its own (conditional logistic regression, Breslow and
/// Day 1980, chapter 7). The binomial likelihood itself would be `Σ -k log softmax(s + ln n)`; dividing by the product's
/// clicks `Σk` deviates from it, so that a product counts once and not as often as it was clicked: a few products that
/// were shown much more than others would otherwise outweigh them all. The scores that fit one product best stay the same.
pub(super) fn siamese(network: &Siamese, batch: MicroBatch, config: &RewardConfig) -> (Tensor<1>, LossParts) {
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

/// Loss of the concat form: see [`of_pairs`].
pub(super) fn concat(network: &Concat, batch: MicroBatch, config: &RewardConfig) -> (Tensor<1>, LossParts) {
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
pub(super) fn caig<Creative>(
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
    let weights = column(placed.iter().map(|pair| pair.weight), &device);
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

fn combine(pair: Tensor<1>, point: Tensor<1>, config: &RewardConfig) -> (Tensor<1>, LossParts) {
    let number = |loss: &Tensor<1>| loss.clone().into_scalar::<f64>();
    let parts = LossParts {
        pair: number(&pair),
        point: number(&point),
    };
    (pair * config.pair_weight + point * config.point_weight, parts)
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

/// Each product with the index of its first creative in the micro-batch.
fn with_first_index<Creative>(
    products: &[BatchProduct<Creative>],
) -> impl Iterator<Item = (usize, &BatchProduct<Creative>)> {
    products.iter().scan(0, |next, product| {
        let first = *next;
        *next += product.creatives.len();
        Some((first, product))
    })
}

/// The creatives' pixels with uniform noise of the configured standard deviation; one byte of the seed's stream decides
/// one pixel.
fn noisy_pixels(batch: &MicroBatch, config: &RewardConfig, device: &Device) -> Tensor<4> {
    let creatives: Vec<&[f32]> = batch
        .products
        .iter()
        .flat_map(|product| product.creatives.iter().map(Vec::as_slice))
        .collect();
    let mut values = creatives.concat();
    if config.pixel_noise > 0.0 {
        let bound = config.pixel_noise as f32 * 3f32.sqrt();
        let noise: [f32; 256] = std::array::from_fn(|byte| bound * (byte as f32 - 127.5) / 127.5);
        let mut bytes = vec![0; values.len()];
        ChaCha8Rng::seed_from_u64(!batch.seed).fill_bytes(&mut bytes);
        values
            .iter_mut()
            .zip(bytes)
            .for_each(|(value, byte)| *value += noise[usize::from(byte)]);
    }
    let side = config.image_size;
    Tensor::from_data(TensorData::new(values, [creatives.len(), 3, side, side]), device)
}

fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn vector(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn column(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<2> {
    vector(values, device).unsqueeze_dim(1)
}

/// A divisor; a step whose labels weigh nothing has a numerator of 0 as well.
fn nonzero(total: f64) -> f64 {
    if total > 0.0 { total } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::super::batches::epoch_batches;
    use super::*;
    use crate::toy_log::{config, model, products};
    use burn::module::Module;
    use data::ClickCounts;
    use models::ctr::{CtrForm, CtrNetwork};

    fn product(counts: &[(u64, u64)], pairs: &[(usize, usize, f64)]) -> BatchProduct {
        let pair = |&(higher, lower, weight): &(usize, usize, f64)| LabelledPair {
            higher,
            lower,
            weight,
        };
        BatchProduct {
            text: vec![],
            creatives: vec![vec![]; counts.len()],
            counts: counts
                .iter()
                .map(|&(impressions, clicks)| ClickCounts { impressions, clicks })
                .collect(),
            higher_is_left: vec![true; pairs.len()],
            pairs: pairs.iter().map(pair).collect(),
        }
    }

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

    /// Loss and gradient norm of one step of four products, split into `parts` micro-batches.
    fn step(form: CtrForm, parts: usize) -> (f64, f64) {
        let config = RewardConfig {
            micro_batches: parts,
            dropout: 0.0,
            pixel_noise: 0.0,
            ..config(form)
        };
        let (products, model) = (products(form, 4), model(form, 3));
        let blank = model.text_ids("").unwrap();
        let batch = epoch_batches(&products, &blank, &config, 1).next().unwrap();
        assert_eq!(batch.len(), parts);
        let run = |parts: Vec<LossParts>, norm: f64| {
            let sum = LossParts::sum(&parts);
            (sum.pair + sum.point, norm)
        };
        match model.network {
            CtrNetwork::Siamese(network) => {
                let network = network.train();
                let (gradients, parts) =
                    models::gradients::accumulate(&network, batch, 1, |n, b| siamese(n, b, &config)).unwrap();
                run(parts, models::gradients::global_norm(&network, &gradients))
            }
            CtrNetwork::Concat(network) => {
                let network = network.train();
                let (gradients, parts) =
                    models::gradients::accumulate(&network, batch, 1, |n, b| concat(n, b, &config)).unwrap();
                run(parts, models::gradients::global_norm(&network, &gradients))
            }
        }
    }

    #[test]
    fn the_split_into_micro_batches_does_not_change_the_loss() {
        for form in [CtrForm::Siamese, CtrForm::Concat] {
            let ((whole, norm), (split, split_norm)) = (step(form, 1), step(form, 4));
            assert!(
                (whole - split).abs() < 1e-5 * whole.abs().max(1.0),
                "{form}: {whole} is not {split}"
            );
            assert!(
                (norm - split_norm).abs() < 1e-3 * norm,
                "{form}: {norm} is not {split_norm}"
            );
            assert!(norm > 0.0);
        }
    }
}
