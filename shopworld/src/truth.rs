//! The truth behind the clicks: an additive model of log odds.
//!
//! logit(rate) = base rate of the product + appeal of each slot's value - what a foreign scene and prop cost.

use crate::{
    ShopWorldConfig,
    description::{ParsedDescription, Slot},
    stream::{Part, name_index, stream},
    vocabulary::CATEGORIES,
};
use data::Product;
use rand_distr::{Distribution, Normal};

/// Mean and standard deviation of a product's base rate, in log odds: 2.7 % and its spread.
const BASE_RATE: (f64, f64) = (-3.6, 0.35);
/// Standard deviation of the appeal of ordinary values, in log odds.
const UTILITY_SPREAD: f64 = 0.10;
/// Scenes that appeal to everybody.
const HOT_SCENES: [usize; 2] = [0, 5];
/// Props that appeal to everybody.
const HOT_PROPS: [usize; 2] = [3, 9];
/// Appeal of a hot prop relative to a hot scene.
const HOT_PROP_SHARE: f64 = 0.8;
/// What a foreign prop costs relative to a foreign scene.
const FOREIGN_PROP_SHARE: f64 = 0.5;
/// Appeal of a slot that stayed grey, in log odds: below most values. A grey scene or prop is also foreign.
const GREY_UTILITY: f64 = -0.3;

/// The parameters of one world's truth.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    seed: u64,
    /// Appeal by slot and value.
    utility: [Vec<f64>; 5],
    mismatch: f64,
}

impl Truth {
    /// Draws the truth of a world.
    pub(crate) fn new(config: &ShopWorldConfig, seed: u64) -> Self {
        let spread = Normal::new(0.0, UTILITY_SPREAD).expect("a finite positive deviation");
        let mut utility = Slot::ALL.map(|slot| {
            let mut rng = stream(seed, Part::Utility, slot as u64);
            slot.values()
                .iter()
                .map(|_| spread.sample(&mut rng))
                .collect::<Vec<_>>()
        });
        HOT_SCENES
            .iter()
            .for_each(|&value| utility[Slot::Scene as usize][value] += config.hot);
        HOT_PROPS
            .iter()
            .for_each(|&value| utility[Slot::Prop as usize][value] += HOT_PROP_SHARE * config.hot);
        Self {
            seed,
            utility,
            mismatch: config.mismatch,
        }
    }

    /// The log odds of a click, without position effects.
    pub(crate) fn log_odds(&self, product: &Product, description: &ParsedDescription) -> f64 {
        let category = category_of(product);
        let slots = Slot::ALL
            .iter()
            .map(|&slot| self.appeal(slot, description.value(slot), category));
        self.base_rate(product) + slots.sum::<f64>()
    }

    /// The highest log odds of any description.
    pub(crate) fn best_log_odds(&self, product: &Product) -> f64 {
        let category = category_of(product);
        let best = |slot: Slot| {
            let values = 0..slot.values().len();
            values
                .map(|value| self.appeal(slot, Some(value), category))
                .fold(f64::NEG_INFINITY, f64::max)
        };
        self.base_rate(product) + Slot::ALL.into_iter().map(best).sum::<f64>()
    }

    /// What a slot adds to the log odds.
    fn appeal(&self, slot: Slot, value: Option<usize>, category: Option<usize>) -> f64 {
        let utility = value.map_or(GREY_UTILITY, |value| self.utility[slot as usize][value]);
        let native = value.is_some_and(|value| is_native(slot, value, category));
        let foreign_cost = match slot {
            Slot::Scene => self.mismatch,
            Slot::Prop => FOREIGN_PROP_SHARE * self.mismatch,
            Slot::Surface | Slot::Light | Slot::Palette => 0.0,
        };
        if native { utility } else { utility - foreign_cost }
    }

    /// A product's base rate in log odds: drawn by its id, so that every product of every catalogue has one.
    fn base_rate(&self, product: &Product) -> f64 {
        let (mean, spread) = BASE_RATE;
        let normal = Normal::new(mean, spread).expect("a finite positive deviation");
        normal.sample(&mut stream(
            self.seed,
            Part::BaseRate,
            name_index(product.id.as_str()),
        ))
    }
}

/// The index of a product's category; `None` when the shop has no such category, and then every scene is foreign.
pub(crate) fn category_of(product: &Product) -> Option<usize> {
    let name = product.category.as_deref()?;
    CATEGORIES.iter().position(|category| category.name == name)
}

/// Whether a value fits a category; values of neutral slots fit all.
pub(crate) fn is_native(slot: Slot, value: usize, category: Option<usize>) -> bool {
    !slot.has_native_values() || category == Some(value / 2)
}

/// The logistic function.
pub(crate) fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}
