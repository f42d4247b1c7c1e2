//! The shop's click log: creatives as people would make them, shown a random number of times, clicked by the truth.

use crate::{
    Renderer, ShopWorldConfig,
    advertiser::write_description,
    stream::{Part, stream},
    truth::{Truth, category_of, logistic},
};
use data::{ClickLog, Creative, ImageGenerator, Product, Split};
use rand::{Rng, RngExt};
use rand_distr::{Binomial, Distribution, LogNormal};
use std::sync::Arc;

/// Standard deviation of the logarithm of impressions.
const IMPRESSION_SPREAD: f64 = 1.0;
/// Impressions that every creative has.
const LEAST_IMPRESSIONS: u64 = 200;

/// Logged creatives of all products, with the truth behind them.
#[derive(Debug, Clone)]
pub struct ShopClickLog {
    products: Arc<[Product]>,
    split: Split,
    creatives: Vec<Creative>,
    true_ctr: Vec<f64>,
}

impl ShopClickLog {
    pub(crate) fn draw(
        config: &ShopWorldConfig,
        seed: u64,
        products: Arc<[Product]>,
        split: Split,
        truth: &Truth,
        renderer: &Renderer,
    ) -> Self {
        let count = products.len() * config.creatives_per_product;
        let (mut creatives, mut true_ctr) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for product in 0..products.len() {
            for number in 0..config.creatives_per_product {
                let mut rng = stream(seed, Part::Creative, ((product as u64) << 20) | number as u64);
                let (creative, ctr) =
                    draw_creative(config, &mut rng, product, &products[product], truth, renderer);
                creatives.push(creative);
                true_ctr.push(ctr);
            }
        }
        Self {
            products,
            split,
            creatives,
            true_ctr,
        }
    }
}

fn draw_creative(
    config: &ShopWorldConfig,
    rng: &mut impl Rng,
    index: usize,
    product: &Product,
    truth: &Truth,
    renderer: &Renderer,
) -> (Creative, f64) {
    let category = category_of(product).expect("the shop's products have its categories");
    let description = write_description(rng, category, config.log_match);
    let log_odds = truth.log_odds(product, &description.into());
    let position = config.position_bias * rng.random_range(-1.0..=1.0);
    let shown = LogNormal::new(config.impression_median.ln(), IMPRESSION_SPREAD)
        .expect("a finite positive deviation");
    let impressions = shown.sample(rng) as u64 + LEAST_IMPRESSIONS;
    let clicked = Binomial::new(impressions, logistic(log_odds + position)).expect("a probability");
    let clicks = clicked.sample(rng);
    let text = description.to_string();
    let picture = renderer
        .generate_one(&product.image, &text, rng.random())
        .expect("the shop's products are visible");
    let creative = Creative {
        product: index,
        image: picture.image,
        description: Some(text),
        impressions,
        clicks,
    };
    (creative, logistic(log_odds))
}

impl ClickLog for ShopClickLog {
    fn products(&self) -> &[Product] {
        &self.products
    }

    fn creatives(&self) -> &[Creative] {
        &self.creatives
    }

    fn split(&self) -> Split {
        self.split.clone()
    }

    fn true_ctr(&self, creative: usize) -> Option<f64> {
        self.true_ctr.get(creative).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, ParsedDescription, ShopWorld, Slot, truth::is_native};
    use data::{
        ClickOracle,
        label_quality::{creative_pairs, estimated_label_ceiling, known_label_ceiling},
    };

    /// A world whose pictures are small, so that hundreds of products are drawn in milliseconds.
    fn world(products: usize, seed: u64) -> ShopWorld {
        let config = ShopWorldConfig {
            products,
            product_size: 16,
            creative_size: 8,
            ..ShopWorldConfig::default()
        };
        ShopWorld::new(config, seed).unwrap()
    }

    fn description(creative: &Creative) -> Description {
        ParsedDescription::parse(creative.description.as_deref().unwrap())
            .complete()
            .unwrap()
    }

    #[test]
    fn the_log_knows_the_rates_of_the_oracle() {
        let world = world(16, 1);
        let (log, oracle) = (world.click_log(), world.oracle());
        for (index, creative) in log.creatives().iter().enumerate() {
            let expected = oracle.true_ctr(
                &log.products()[creative.product],
                &description(creative).to_string(),
            );
            assert_eq!(log.true_ctr(index), Some(expected));
        }
        assert_eq!(log.true_ctr(log.creatives().len()), None);
    }

    #[test]
    fn clicks_follow_the_oracle_but_for_chance_and_position() {
        for seed in 0..4 {
            let log = world(160, seed).click_log();
            let (mut statistic, mut clicks, mut expected) = (0.0, 0.0, 0.0);
            for (index, creative) in log.creatives().iter().enumerate() {
                let (rate, shown) = (log.true_ctr(index).unwrap(), creative.impressions as f64);
                let deviation = creative.clicks as f64 - shown * rate;
                // Position: a factor of up to 5 % on the rate, evenly drawn, hence with a variance of 0.05^2 / 3.
                let variance = shown * rate * (1.0 - rate) + (shown * rate * 0.05).powi(2) / 3.0;
                statistic += deviation * deviation / variance;
                (clicks, expected) = (clicks + creative.clicks as f64, expected + shown * rate);
            }
            // Chi-squared over its degrees of freedom, 1920: five deviations of sqrt(2 / 1920).
            let ratio = statistic / log.creatives().len() as f64;
            assert!(
                (ratio - 1.0).abs() < 5.0 * (2.0f64 / 1920.0).sqrt(),
                "seed {seed}: {ratio}"
            );
            assert!(
                (clicks / expected - 1.0).abs() < 0.02,
                "seed {seed}: {}",
                clicks / expected
            );
        }
    }

    #[test]
    fn logged_scenes_and_props_match_as_often_as_configured() {
        for (log_match, tolerance) in [(0.97, 0.012), (0.5, 0.035)] {
            let config = ShopWorldConfig {
                log_match,
                ..world(160, 2).config().clone()
            };
            let log = ShopWorld::new(config, 2).unwrap().click_log();
            for slot in [Slot::Scene, Slot::Prop] {
                let native = log.creatives().iter().filter(|creative| {
                    let category = category_of(&log.products()[creative.product]);
                    is_native(slot, description(creative).value(slot), category)
                });
                let rate = native.count() as f64 / log.creatives().len() as f64;
                assert!(
                    (rate - log_match).abs() < tolerance,
                    "{slot:?}: {rate} is not {log_match}"
                );
            }
        }
    }

    #[test]
    fn the_label_ceiling_leaves_room_and_its_estimate_is_close() {
        for seed in 0..6 {
            let log = world(400, seed).click_log();
            let pairs = creative_pairs(&log, 0..400, 1_000);
            let known = known_label_ceiling(&log, &pairs).unwrap();
            let estimated = estimated_label_ceiling(&log, &pairs).unwrap();
            assert!((0.8..0.9).contains(&known), "seed {seed}: {known}");
            assert!(
                (known - estimated).abs() < 0.03,
                "seed {seed}: known {known}, estimated {estimated}"
            );
        }
    }

    #[test]
    fn more_impressions_make_better_labels() {
        let ceiling = |impression_median: f64| {
            let config = ShopWorldConfig {
                impression_median,
                ..world(160, 3).config().clone()
            };
            let log = ShopWorld::new(config, 3).unwrap().click_log();
            known_label_ceiling(&log, &creative_pairs(&log, 0..160, 100)).unwrap()
        };
        let ceilings = [500.0, 4_000.0, 40_000.0].map(ceiling);
        assert!(
            ceilings[0] < ceilings[1] && ceilings[1] < ceilings[2],
            "{ceilings:?}"
        );
    }
}
