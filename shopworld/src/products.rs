//! Draws the products of the shop: their attributes, captions and cut-outs.

use crate::{
    ShopWorldConfig,
    art::{ProductLook, draw_product},
    stream::{Part, stream},
    vocabulary::{BRANDS, CATEGORIES, COLOURS, PATTERNS, SIZES, STYLES},
};
use common::ProductId;
use data::Product;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// Draws all products. Categories take turns, so that every contiguous part of the list is balanced.
pub(crate) fn draw_products(config: &ShopWorldConfig, seed: u64) -> Vec<Product> {
    (0..config.products)
        .map(|index| draw(config, seed, index))
        .collect()
}

fn draw(config: &ShopWorldConfig, seed: u64, index: usize) -> Product {
    let mut rng = stream(seed, Part::Product, index as u64);
    let category_index = index % CATEGORIES.len();
    let category = &CATEGORIES[category_index];
    let (colour, rgb) = COLOURS[rng.random_range(0..COLOURS.len())];
    let pattern_index = rng.random_range(0..PATTERNS.len());
    let words = [
        ("brand", pick(&BRANDS, &mut rng)),
        ("colour", colour),
        ("pattern", PATTERNS[pattern_index]),
        ("style", pick(&STYLES, &mut rng)),
        ("noun", pick(&category.nouns, &mut rng)),
        ("size", pick(&SIZES, &mut rng)),
    ];
    let without_noun = rng.random_bool(config.caption_dropout);
    let caption: Vec<&str> = words
        .iter()
        .filter(|(key, _)| !(without_noun && *key == "noun"))
        .map(|(_, word)| *word)
        .collect();
    let look = ProductLook {
        category: category_index,
        colour: rgb,
        pattern: pattern_index,
        width: rng.random_range(0.85..1.0),
        height: rng.random_range(0.85..1.0),
        mirrored: rng.random(),
    };
    Product {
        id: ProductId::new(format!("{}-{index:04}", category.name)).expect("category names are printable"),
        caption: caption.join(" "),
        category: Some(category.name.to_owned()),
        attributes: words
            .iter()
            .map(|(key, word)| ((*key).to_owned(), (*word).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        image: draw_product(&look, config.product_size),
    }
}

fn pick<'a>(words: &[&'a str], rng: &mut impl Rng) -> &'a str {
    words[rng.random_range(0..words.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn products(seed: u64, caption_dropout: f64) -> Vec<Product> {
        let config = ShopWorldConfig {
            products: 160,
            product_size: 16,
            caption_dropout,
            ..ShopWorldConfig::default()
        };
        draw_products(&config, seed)
    }

    fn names_its_category(product: &Product) -> bool {
        product
            .caption
            .split(' ')
            .any(|word| CATEGORIES.iter().any(|category| category.nouns.contains(&word)))
    }

    #[test]
    fn captions_have_six_words_or_five_without_their_noun() {
        let products = products(3, 0.1);
        for product in &products {
            let words = product.caption.split(' ').count();
            assert_eq!(
                words,
                if names_its_category(product) { 6 } else { 5 },
                "{}",
                product.caption
            );
        }
        let without = products
            .iter()
            .filter(|product| !names_its_category(product))
            .count();
        assert!(
            (4..=34).contains(&without),
            "{without} of 160 captions have no noun"
        );
    }

    #[test]
    fn caption_dropout_runs_from_none_to_all() {
        assert!(products(1, 0.0).iter().all(names_its_category));
        assert!(!products(1, 1.0).iter().any(names_its_category));
    }

    #[test]
    fn categories_are_balanced_and_ids_distinct() {
        let products = products(5, 0.1);
        for category in &CATEGORIES {
            let count = products
                .iter()
                .filter(|product| product.category.as_deref() == Some(category.name))
                .count();
            assert_eq!(count, 20);
        }
        assert_eq!(
            products
                .iter()
                .map(|product| &product.id)
                .collect::<BTreeSet<_>>()
                .len(),
            160
        );
    }

    #[test]
    fn cutouts_are_visible_and_leave_room_around_the_product() {
        for product in products(7, 0.1) {
            assert!(data::cutout::is_visible(&product.image), "{}", product.id);
            assert!(
                product.image.pixels().any(|pixel| pixel.0[3] == 0),
                "{}",
                product.id
            );
        }
    }
}
