//! The losses of all networks, as sums over a micro-batch divided by totals of the whole step: of one that scores creatives
//! (`losses/scores.rs`), of those that compare two (`losses/pairs.rs`).

mod pairs;
mod scores;

pub(super) use pairs::{caig, concat};
pub(super) use scores::siamese;

use super::batches::{BatchProduct, MicroBatch};
use super::fit::LossParts;
use crate::config::RewardConfig;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn combine(pair: Tensor<1>, point: Tensor<1>, config: &RewardConfig) -> (Tensor<1>, LossParts) {
    let number = |loss: &Tensor<1>| loss.clone().into_scalar::<f64>();
    let parts = LossParts {
        pair: number(&pair),
        point: number(&point),
    };
    (pair * config.pair_weight + point * config.point_weight, parts)
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

/// A divisor; a step whose labels weigh nothing has a numerator of 0 as well.
fn nonzero(total: f64) -> f64 {
    if total > 0.0 { total } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::super::batches::epoch_batches;
    use super::*;
    use crate::dataset::LabelledPair;
    use crate::toy_log::{config, model, products};
    use burn::module::Module;
    use data::ClickCounts;
    use models::ctr::{CtrForm, CtrNetwork};

    pub(super) fn product(counts: &[(u64, u64)], pairs: &[(usize, usize, f64)]) -> BatchProduct {
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
