//! The click oracle of the world.

use crate::{
    description::{ParsedDescription, Slot},
    truth::{Truth, category_of, is_native, logistic},
};
use data::{ClickOracle, Product};

/// Knows the true click-through rate of every description for every product.
///
/// A product of another catalogue has a base rate drawn by its id; without one of the shop's categories every scene and
/// prop is foreign to it.
#[derive(Debug, Clone)]
pub struct ShopOracle {
    truth: Truth,
}

impl ShopOracle {
    pub(crate) fn new(truth: Truth) -> Self {
        Self { truth }
    }
}

impl ClickOracle for ShopOracle {
    fn true_ctr(&self, product: &Product, description: &str) -> f64 {
        logistic(
            self.truth
                .log_odds(product, &ParsedDescription::parse(description)),
        )
    }

    fn matches_product(&self, product: &Product, description: &str) -> bool {
        ParsedDescription::parse(description)
            .complete()
            .is_some_and(|description| {
                is_native(Slot::Scene, description.value(Slot::Scene), category_of(product))
            })
    }

    fn is_valid(&self, description: &str) -> bool {
        ParsedDescription::parse(description).defects() == 0
    }

    fn best_ctr(&self, product: &Product) -> f64 {
        logistic(self.truth.best_log_odds(product))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, ShopWorld, ShopWorldConfig};
    use data::Catalogue;

    fn world(seed: u64) -> ShopWorld {
        let config = ShopWorldConfig {
            products: 16,
            product_size: 16,
            ..ShopWorldConfig::default()
        };
        ShopWorld::new(config, seed).unwrap()
    }

    fn log_odds(ctr: f64) -> f64 {
        (ctr / (1.0 - ctr)).ln()
    }

    fn text(values: [usize; 5]) -> String {
        Description::new(values).unwrap().to_string()
    }

    #[test]
    fn the_best_description_is_the_best_of_all_single_changes() {
        for seed in 0..5 {
            let (world, oracle) = (world(seed), world(seed).oracle());
            for product in world.catalogue().products() {
                let mut best = [0; 5];
                for slot in Slot::ALL {
                    let score = |value: &usize| {
                        let mut values = best;
                        values[slot as usize] = *value;
                        oracle.true_ctr(product, &text(values))
                    };
                    let values = 0..slot.values().len();
                    best[slot as usize] = values.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
                }
                let found = oracle.true_ctr(product, &text(best));
                assert!((found - oracle.best_ctr(product)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_foreign_scene_costs_the_mismatch_and_a_foreign_prop_half_of_it() {
        let (world, oracle) = (world(1), world(1).oracle());
        let products = world.catalogue();
        let (here, there) = (&products.products()[2], &products.products()[3]);
        assert_ne!(here.category, there.category);
        // The same change seen by two categories: the appeal cancels, twice the cost remains.
        let change = |slot: Slot, product| {
            let mut values = [0; 5];
            values[slot as usize] = 4;
            let native_to_two = log_odds(oracle.true_ctr(product, &text(values)));
            values[slot as usize] = 6;
            native_to_two - log_odds(oracle.true_ctr(product, &text(values)))
        };
        assert!((change(Slot::Scene, here) - change(Slot::Scene, there) - 1.6).abs() < 1e-9);
        assert!((change(Slot::Prop, here) - change(Slot::Prop, there) - 0.8).abs() < 1e-9);
        assert!((change(Slot::Scene, here) + change(Slot::Scene, there)).abs() < 2.0);
    }

    #[test]
    fn every_grey_slot_lowers_an_average_rate_and_is_no_match() {
        let (world, oracle) = (world(4), world(4).oracle());
        let catalogue = world.catalogue();
        let product = &catalogue.products()[0];
        let whole = text([1, 0, 0, 1, 0]);
        assert!(oracle.matches_product(product, &whole) && oracle.is_valid(&whole));
        let all_grey = oracle.true_ctr(product, "");
        assert!(all_grey < oracle.true_ctr(product, &whole));
        for part in whole.split(", ") {
            let broken = whole.replace(part, "nothing");
            assert!(!oracle.is_valid(&broken) && !oracle.matches_product(product, &broken));
            assert!(oracle.true_ctr(product, &broken) > all_grey);
        }
    }

    #[test]
    fn a_hot_foreign_scene_is_worse_than_a_plain_native_one_on_average() {
        let mut difference = 0.0;
        for seed in 0..40 {
            let (world, oracle) = (world(seed), world(seed).oracle());
            let catalogue = world.catalogue();
            let product = &catalogue.products()[1];
            let rate = |scene| log_odds(oracle.true_ctr(product, &text([scene, 0, 0, 2, 0])));
            difference += (rate(0) - rate(2)) / 40.0;
        }
        assert!((difference + 0.2).abs() < 0.1, "{difference}");
    }

    #[test]
    fn products_of_other_shops_have_a_rate_but_no_match() {
        let (world, oracle) = (world(4), world(4).oracle());
        let mut stranger = world.catalogue().products()[0].clone();
        stranger.category = None;
        let whole = text([1, 0, 0, 1, 0]);
        assert!(!oracle.matches_product(&stranger, &whole));
        let native = oracle.true_ctr(&world.catalogue().products()[0], &whole);
        assert!((log_odds(native) - log_odds(oracle.true_ctr(&stranger, &whole)) - 1.2).abs() < 1e-9);
    }
}
