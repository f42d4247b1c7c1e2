//! A click log for tests: tiny flat pictures, of which the brighter ones are clicked more often.

use crate::config::RewardConfig;
use crate::dataset::LoggedProduct;
use crate::training::{TrainingProduct, read};
use common::ProductId;
use data::{ClickLog, Creative, Product, Split};
use image::{Rgb, RgbImage, RgbaImage};
use models::ctr::{Calibration, CtrForm, RewardModel};
use models::device::parse_device;
use models::processor::ImageProcessor;
use models::tokenizer::{SpecialTokens, Tokenizer};
use std::collections::BTreeMap;

pub(crate) struct ToyLog {
    products: Vec<Product>,
    creatives: Vec<Creative>,
    pub(crate) split: Split,
}

/// Brightness of the creatives of every product.
const LEVELS: [u8; 4] = [40, 100, 160, 220];

impl ToyLog {
    /// `products` products of four creatives each, the last quarter held out.
    pub(crate) fn new(products: usize) -> Self {
        let product = |index: usize| Product {
            id: ProductId::new(format!("p{index}")).unwrap(),
            caption: ["red chair", "blue lamp", "green vase"][index % 3].into(),
            category: None,
            attributes: BTreeMap::new(),
            image: RgbaImage::new(1, 1),
        };
        let creatives = (0..products).flat_map(|product| {
            LEVELS.iter().enumerate().map(move |(level, _)| {
                // Not in the order of brightness, so that a place tells nothing.
                let level = (level + product) % LEVELS.len();
                let shade = LEVELS[level] + (product % 7) as u8;
                Creative {
                    product,
                    image: RgbImage::from_pixel(8, 8, Rgb([shade, shade, shade / 2])),
                    description: None,
                    impressions: 5_000 + 100 * product as u64,
                    clicks: 60 + 50 * level as u64,
                }
            })
        });
        Self {
            creatives: creatives.collect(),
            products: (0..products).map(product).collect(),
            split: Split::held_out(products, 0.25),
        }
    }

    /// The same log with another number of clicks for every creative.
    pub(crate) fn with_clicks(mut self, clicks: impl Fn(&Creative) -> u64) -> Self {
        for creative in &mut self.creatives {
            creative.clicks = clicks(creative);
        }
        self
    }
}

impl ClickLog for ToyLog {
    fn products(&self) -> &[Product] {
        &self.products
    }

    fn creatives(&self) -> &[Creative] {
        &self.creatives
    }

    fn split(&self) -> Split {
        self.split.clone()
    }

    fn true_ctr(&self, _creative: usize) -> Option<f64> {
        None
    }
}

/// The smallest network that can tell bright from dark.
pub(crate) fn config(form: CtrForm) -> RewardConfig {
    RewardConfig {
        form,
        image_size: 8,
        patch_size: 4,
        hidden_size: 8,
        intermediate_size: 8,
        layers: 1,
        heads: 2,
        vocab_size: 300,
        epochs: 8,
        products_per_batch: 4,
        learning_rate: 0.02,
        warmup_steps: 4,
        weight_decay: 0.0,
        point_weight: 1.0,
        pair_temperature: 1.0,
        ..RewardConfig::default()
    }
}

/// An untrained model whose answers are not all zero.
pub(crate) fn model(form: CtrForm, seed: u64) -> RewardModel {
    let config = config(form);
    let device = parse_device("cpu").unwrap();
    let tokenizer = Tokenizer::train(
        ["red chair blue lamp"].iter(),
        config.vocab_size,
        SpecialTokens::default(),
    )
    .unwrap();
    let shape = config.network(tokenizer.vocab_size());
    let network = shape.init(&device, seed);
    let mut weights = network.weights();
    if let Some(score) = weights.get_mut("score.weight") {
        let count = score.shape().num_elements();
        let values: Vec<f32> = (0..count).map(|i| ((i * 7 + 3) % 5) as f32 - 2.0).collect();
        *score = burn::tensor::TensorData::new(values, score.shape().clone());
    }
    RewardModel {
        network: network.with_weights(weights).unwrap(),
        processor: ImageProcessor::clip(config.image_size),
        config: shape,
        tokenizer,
        calibration: Calibration {
            reward_scale: 0.5,
            temperature: 2.0,
            ctr_intercept: -3.6,
        },
    }
}

/// All of `count` products as the toy network of a form reads them.
pub(crate) fn products(form: CtrForm, count: usize) -> Vec<TrainingProduct> {
    let (log, model) = (ToyLog::new(count), model(form, 3));
    let logged = LoggedProduct::read(&log, 0..count, 1000);
    let pixels = |creative: usize| RewardModel::pixels(&model.processor, &log.creatives()[creative].image);
    read(&log, &logged, |caption| model.text_ids(caption), pixels).unwrap()
}

/// A picture of one shade.
pub(crate) fn flat(shade: u8) -> RgbImage {
    RgbImage::from_fn(8, 8, |x, y| {
        Rgb([shade, shade.wrapping_add((x * 9) as u8), (y * 5) as u8])
    })
}
