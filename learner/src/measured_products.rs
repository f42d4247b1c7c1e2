//! What versions are measured on, in short: what a learner and an evaluator compare before anything is measured.

use crate::ledger::cut_out;
use common::DecidingSettings;
use data::Catalogue;

/// The products that a run with this catalogue is measured on, those that are held out or all where none are, and what they are asked
/// with, as a setting. Takes as long as hashing their pixels.
pub fn measured_products(catalogue: &dyn Catalogue) -> DecidingSettings {
    let split = catalogue.split();
    let products = catalogue.products().get(split.test.clone()).unwrap_or_default();
    let listed = products.iter().map(|product| {
        let (width, height, pixels) = cut_out(product);
        let (id, caption) = (product.id.as_str(), &product.caption);
        (id, caption, &product.category, width, height, pixels)
    });
    let listed: Vec<_> = listed.collect();
    let json = serde_json::to_vec(&(&listed, catalogue.instructions()));
    let digest = store::digest(&json.expect("plain values have a JSON form"));
    let told = match split.has_held_out() {
        true => format!("{} products, {digest}", listed.len()),
        false => format!("none of {}, {digest}", listed.len()),
    };
    DecidingSettings::of_table("catalogue", [("held_out", told)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{TestCatalogue, catalogue, with_captions};

    /// What is told of products that are measured on, where others are expected.
    fn told(measured: &TestCatalogue, expected: &TestCatalogue) -> Option<(String, String)> {
        let others = measured_products(measured).others_than(&measured_products(expected));
        let other = others.into_iter().next()?;
        assert_eq!(other.key, "catalogue.held_out");
        Some((other.stated, other.expected))
    }

    #[test]
    fn other_shares_and_products_of_other_content_are_told_and_what_is_trained_on_does_not_count() {
        let ten = |share| catalogue(&[None; 10]).holding_out(share);
        assert_eq!(told(&ten(0.2), &ten(0.2)), None);
        let (more, fewer) = told(&ten(0.4), &ten(0.2)).unwrap();
        assert!(
            more.starts_with("4 products, blake3:") && fewer.starts_with("2 products, blake3:"),
            "{more} {fewer}"
        );
        let (_, none) = told(&ten(0.2), &catalogue(&[None; 10])).unwrap();
        assert!(none.starts_with("none of 10, blake3:"), "{none}");
        let held_out = |captions| with_captions(captions).holding_out(0.5);
        assert_eq!(
            told(&held_out(&["a lamp", "a desk"]), &held_out(&["lamp", "a desk"])),
            None
        );
        let (stated, expected) =
            told(&held_out(&["a lamp", "desk"]), &held_out(&["a lamp", "a desk"])).unwrap();
        assert_ne!(stated, expected);
    }
}
