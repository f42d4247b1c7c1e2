//! The shop's catalogue.

use crate::vocabulary::PROMPT_INSTRUCTIONS;
use data::{Catalogue, Product, Split};
use std::sync::Arc;

/// The products of the world.
#[derive(Debug, Clone)]
pub struct ShopCatalogue {
    products: Arc<[Product]>,
    split: Split,
    instructions: Vec<String>,
}

impl ShopCatalogue {
    pub(crate) fn new(products: Arc<[Product]>, split: Split) -> Self {
        Self {
            products,
            split,
            instructions: PROMPT_INSTRUCTIONS.map(str::to_owned).to_vec(),
        }
    }
}

impl Catalogue for ShopCatalogue {
    fn name(&self) -> &str {
        "shopworld"
    }

    fn products(&self) -> &[Product] {
        &self.products
    }

    fn split(&self) -> Split {
        self.split.clone()
    }

    fn instructions(&self) -> &[String] {
        &self.instructions
    }
}
