//! The world: one configuration and one seed, from which all its parts follow.

use crate::{
    Renderer, RendererConfig, ShopCatalogue, ShopClickLog, ShopCorpus, ShopOracle, ShopWorldConfig,
    products::draw_products, truth::Truth,
};
use common::InvalidConfig;
use data::{Product, Split};
use std::sync::Arc;

/// A simulated shop. Two worlds of equal configuration and seed are equal in every part; parts have random streams of
/// their own, so that, for instance, another `log_match` leaves products and truth as they were.
#[derive(Debug, Clone)]
pub struct ShopWorld {
    config: ShopWorldConfig,
    seed: u64,
    products: Arc<[Product]>,
    truth: Truth,
    renderer: Renderer,
}

impl ShopWorld {
    /// Draws products and truth.
    ///
    /// # Errors
    /// [`InvalidConfig`] with every mistake of `config`.
    pub fn new(config: ShopWorldConfig, seed: u64) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let renderer = Renderer::new(RendererConfig {
            size: config.creative_size,
            ..RendererConfig::default()
        })?;
        let products = draw_products(&config, seed).into();
        let truth = Truth::new(&config, seed);
        Ok(Self {
            config,
            seed,
            products,
            truth,
            renderer,
        })
    }

    /// The configuration it was drawn from.
    pub fn config(&self) -> &ShopWorldConfig {
        &self.config
    }

    /// The products, and the instructions the policy is asked with.
    pub fn catalogue(&self) -> ShopCatalogue {
        ShopCatalogue::new(self.products.clone(), self.split())
    }

    /// Pre-training samples about the training products.
    pub fn corpus(&self) -> ShopCorpus {
        ShopCorpus::new(
            self.products.clone(),
            self.split(),
            self.config.sft_match,
            self.renderer.clone(),
        )
    }

    /// Draws and renders the click log of all products; takes most of a second in a default world.
    pub fn click_log(&self) -> ShopClickLog {
        let products = self.products.clone();
        ShopClickLog::draw(
            &self.config,
            self.seed,
            products,
            self.split(),
            &self.truth,
            &self.renderer,
        )
    }

    /// The truth, for reports and tests only.
    pub fn oracle(&self) -> ShopOracle {
        ShopOracle::new(self.truth.clone())
    }

    /// Renders pictures of the size that click log and corpus have. For other sizes see [`Renderer::new`].
    pub fn renderer(&self) -> Renderer {
        self.renderer.clone()
    }

    fn split(&self) -> Split {
        Split::held_out(self.products.len(), self.config.test_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::{Catalogue, ClickLog, ClickOracle, Corpus};

    fn small() -> ShopWorldConfig {
        ShopWorldConfig {
            products: 24,
            product_size: 24,
            creative_size: 16,
            ..ShopWorldConfig::default()
        }
    }

    #[test]
    fn two_worlds_of_one_seed_are_equal_in_every_part_and_other_seeds_differ() {
        let [first, again, other] = [5, 5, 6].map(|seed| ShopWorld::new(small(), seed).unwrap());
        let (a, b, c) = (first.click_log(), again.click_log(), other.click_log());
        assert_eq!(first.catalogue().products(), again.catalogue().products());
        assert_eq!(a.creatives(), b.creatives());
        assert_eq!(first.corpus().texts(), again.corpus().texts());
        let best = |world: &ShopWorld| world.oracle().best_ctr(&world.catalogue().products()[3]);
        assert_eq!(best(&first), best(&again));
        assert_ne!(first.catalogue().products(), other.catalogue().products());
        assert_ne!(a.creatives(), c.creatives());
        assert_ne!(best(&first), best(&other));
    }

    #[test]
    fn how_the_log_was_matched_changes_neither_products_nor_truth() {
        let first = ShopWorld::new(small(), 1).unwrap();
        let randomised = ShopWorld::new(
            ShopWorldConfig {
                log_match: 0.5,
                ..small()
            },
            1,
        )
        .unwrap();
        let (a, b) = (first.catalogue(), randomised.catalogue());
        assert_eq!(a.products(), b.products());
        for product in a.products() {
            assert_eq!(
                first.oracle().best_ctr(product),
                randomised.oracle().best_ctr(product)
            );
        }
        assert_ne!(first.click_log().creatives(), randomised.click_log().creatives());
    }

    #[test]
    fn log_and_catalogue_hold_the_same_products_out() {
        let world = ShopWorld::new(small(), 2).unwrap();
        assert_eq!(world.catalogue().split(), world.click_log().split());
        assert!(world.catalogue().split().has_held_out());
    }

    #[test]
    fn rates_are_plausible_and_leave_headroom_for_every_seed() {
        for seed in 0..50 {
            let config = ShopWorldConfig {
                products: 80,
                product_size: 16,
                ..small()
            };
            let world = ShopWorld::new(config, seed).unwrap();
            let (catalogue, oracle) = (world.catalogue(), world.oracle());
            let mean = |rate: &dyn Fn(usize) -> f64| (0..80).map(rate).sum::<f64>() / 80.0;
            let best = mean(&|index| oracle.best_ctr(&catalogue.products()[index]));
            let grey = mean(&|index| oracle.true_ctr(&catalogue.products()[index], ""));
            assert!((0.035..0.12).contains(&best), "seed {seed}: {best}");
            assert!(grey < 0.2 * best, "seed {seed}: {grey} against {best}");
        }
    }

    #[test]
    fn a_world_of_an_invalid_configuration_is_refused() {
        assert!(
            ShopWorld::new(
                ShopWorldConfig {
                    products: 0,
                    ..small()
                },
                1
            )
            .is_err()
        );
    }
}
