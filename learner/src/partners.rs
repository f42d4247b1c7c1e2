//! Which products may stand in for another one: never itself, never the same picture, and by default never its category.

use crate::config::Partner;
use crate::error::LearnerError;
use common::Digest;
use data::Catalogue;
use image::{Rgba, RgbaImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// The possible partners among a catalogue's training products.
#[derive(Debug)]
pub(crate) struct Partners {
    /// By product index.
    products: BTreeMap<usize, Looks>,
    /// Whether partners must be of another category.
    by_category: bool,
}

/// What makes two products alike.
#[derive(Debug, PartialEq)]
struct Looks {
    category: Option<String>,
    image: Digest,
}

impl Partners {
    /// The partners under a rule. Where no product has a category, [`Partner::Category`] is [`Partner::Uniform`].
    pub(crate) fn new(catalogue: &dyn Catalogue, rule: Partner) -> Self {
        let train = catalogue.split().train;
        let products: BTreeMap<usize, Looks> = train
            .map(|index| {
                let product = &catalogue.products()[index];
                let looks = Looks {
                    category: product.category.clone(),
                    image: picture_digest(&product.image),
                };
                (index, looks)
            })
            .collect();
        let by_category =
            rule == Partner::Category && products.values().any(|looks| looks.category.is_some());
        Self {
            products,
            by_category,
        }
    }

    /// Refuses a catalogue in which some product has no partner.
    ///
    /// # Errors
    /// [`LearnerError::Catalogue`] naming the first such product.
    pub(crate) fn check(&self, catalogue: &dyn Catalogue) -> Result<(), LearnerError> {
        match self
            .products
            .keys()
            .find(|&&product| self.of(product).next().is_none())
        {
            None => Ok(()),
            Some(&lonely) => Err(self.lonely(catalogue, lonely)),
        }
    }

    /// A partner of `product`, uniform over all of them. There is one: see [`Partners::check`].
    pub(crate) fn draw(&self, product: usize, seed: u64) -> usize {
        let partners: Vec<usize> = self.of(product).collect();
        partners[ChaCha8Rng::seed_from_u64(seed).random_range(0..partners.len())]
    }

    /// The partners of `product`, by index.
    fn of(&self, product: usize) -> impl Iterator<Item = usize> {
        let own = &self.products[&product];
        let others = self
            .products
            .iter()
            .filter(move |(index, other)| **index != product && self.differs(other, own));
        others.map(|(&index, _)| index)
    }

    /// Whether the product `other` may stand in for `product`.
    pub(crate) fn may_stand_in(&self, other: usize, product: usize) -> bool {
        other != product && self.differs(&self.products[&other], &self.products[&product])
    }

    fn differs(&self, other: &Looks, own: &Looks) -> bool {
        other.image != own.image && !(self.by_category && other.category == own.category)
    }

    fn lonely(&self, catalogue: &dyn Catalogue, product: usize) -> LearnerError {
        let id = &catalogue.products()[product].id;
        let wanted = match self.by_category {
            true => "another product of another category; set loss.partner = uniform, or loss.mode = dpo",
            false => "another product with another image; set loss.mode = dpo, mask_only or compat",
        };
        let reason =
            format!("product {id} has no partner: among the products that are trained on it needs {wanted}");
        LearnerError::Catalogue {
            name: catalogue.name().to_owned(),
            reason,
        }
    }
}

/// The digest of what an image shows: its size and its pixels, whatever colour lies under full transparency.
fn picture_digest(image: &RgbaImage) -> Digest {
    let mut bytes = [image.width(), image.height()].map(u32::to_le_bytes).concat();
    let shown = |pixel: &Rgba<u8>| if pixel.0[3] == 0 { [0; 4] } else { pixel.0 };
    bytes.extend(image.pixels().flat_map(shown));
    store::digest(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{TestCatalogue, catalogue};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_partner_is_never_the_product_nor_of_its_category(
            categories in prop::collection::vec(prop::option::of("[ab]"), 2..12), seed in any::<u64>()
        ) {
            let categories: Vec<_> = categories.iter().map(Option::as_deref).collect();
            let products = catalogue(&categories);
            let partners = Partners::new(&products, Partner::Category);
            if partners.check(&products).is_ok() {
                for product in 0..categories.len() {
                    let partner = partners.draw(product, seed);
                    prop_assert_ne!(partner, product);
                    let alike = categories[partner] == categories[product];
                    prop_assert!(!alike || categories.iter().all(Option::is_none));
                }
            }
        }
    }

    #[test]
    fn what_is_held_out_stands_in_for_nobody() {
        let products = catalogue(&[None; 12]).holding_out(0.5);
        let partners = Partners::new(&products, Partner::Category);
        partners.check(&products).unwrap();
        for product in 0..6 {
            let mut drawn = (0..50).map(|seed| partners.draw(product, seed));
            assert!(drawn.all(|partner| partner < 6 && partner != product));
        }
        // The one that looks different is no help where it is held out.
        let alike = || catalogue(&[None; 3]).pictured(&[(4, 4), (4, 4), (8, 8)]);
        let check = |products: TestCatalogue| Partners::new(&products, Partner::Category).check(&products);
        assert!(check(alike().holding_out(0.4)).is_err());
        let others = catalogue(&[None; 3]).pictured(&[(4, 4), (8, 8), (4, 4)]);
        check(others.holding_out(0.4)).unwrap();
    }

    #[test]
    fn a_catalogue_without_partners_is_a_configuration_error_that_says_what_to_set() {
        let check = |categories: &[Option<&str>], rule| {
            let products = catalogue(categories);
            Partners::new(&products, rule).check(&products)
        };
        let alone = check(&[Some("lamp")], Partner::Uniform).unwrap_err();
        assert!(
            alone.is_configuration() && alone.to_string().contains("p0"),
            "{alone}"
        );
        let same = check(&[Some("lamp"), Some("lamp")], Partner::Category).unwrap_err();
        assert!(same.to_string().contains("loss.partner = uniform"), "{same}");
        assert!(check(&[Some("lamp"), Some("lamp")], Partner::Uniform).is_ok());
        assert!(check(&[None, None], Partner::Category).is_ok());
    }

    #[test]
    fn products_with_the_same_picture_are_no_partners() {
        let partners = Partners::new(&catalogue(&vec![None; 65]), Partner::Uniform);
        assert!(partners.of(0).all(|partner| partner != 64));
        assert_eq!(partners.of(0).count(), 63);
    }

    #[test]
    fn a_picture_is_what_can_be_seen_of_it() {
        let digest = |colour, alpha| {
            let mut image = RgbaImage::from_pixel(4, 2, Rgba([10, 20, 30, 255]));
            image.put_pixel(1, 1, Rgba([colour, 0, 0, alpha]));
            picture_digest(&image)
        };
        assert_eq!(digest(1, 0), digest(2, 0));
        assert_ne!(digest(1, 1), digest(2, 1));
        assert_ne!(
            picture_digest(&RgbaImage::new(4, 2)),
            picture_digest(&RgbaImage::new(2, 4))
        );
    }
}
