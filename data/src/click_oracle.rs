//! What only a simulator knows: the truth behind the clicks.

use crate::Product;

/// The true click-through rate of any description for any product. Only reports and tests may ask it; neither learner
/// nor reward model ever sees it.
pub trait ClickOracle: Send + Sync {
    /// The true click-through rate, a fraction in (0, 1), without position effects and click noise.
    fn true_ctr(&self, product: &Product, description: &str) -> f64;

    /// Whether the description is valid and its scene belongs to the product's category.
    fn matches_product(&self, product: &Product, description: &str) -> bool;

    /// Whether every part of the description can be rendered.
    fn is_valid(&self, description: &str) -> bool;

    /// The highest [`ClickOracle::true_ctr`] of any description for `product`.
    fn best_ctr(&self, product: &Product) -> f64;
}
