//! What a catalogue consists of, in short: enough to tell that another one is another, and in what.

use common::Digest;
use data::{Catalogue, Product};
use proto::{InvalidMessage, pb, required};
use serde::Serialize;
use std::ops::Range;

/// Sizes of a catalogue and digests of its parts, each of a list in the catalogue's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogueDigests {
    products: u64,
    /// Those that are trained on.
    train: Range<u64>,
    ids: Digest,
    captions: Digest,
    categories: Digest,
    /// Of sizes and pixels: how a cut-out is stored may change.
    images: Digest,
    instructions: Digest,
}

impl CatalogueDigests {
    /// Of a catalogue. Takes as long as hashing all pixels.
    pub(crate) fn of(catalogue: &dyn Catalogue) -> Self {
        let (products, train) = (catalogue.products(), catalogue.split().train);
        Self {
            products: products.len() as u64,
            train: train.start as u64..train.end as u64,
            ids: of_list(products.iter().map(|product| product.id.as_str())),
            captions: of_list(products.iter().map(|product| &product.caption)),
            categories: of_list(products.iter().map(|product| &product.category)),
            images: of_list(products.iter().map(cut_out)),
            instructions: of_list(catalogue.instructions().iter()),
        }
    }

    /// What of `now` a run that was begun with this one cannot go on with.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let sizes = [
            ("products", self.products.to_string(), now.products.to_string()),
            (
                "products trained on",
                format!("{:?}", self.train),
                format!("{:?}", now.train),
            ),
        ];
        let parts = [
            ("ids", self.ids, now.ids),
            ("captions", self.captions, now.captions),
            ("categories", self.categories, now.categories),
            ("cut-outs", self.images, now.images),
            ("instructions", self.instructions, now.instructions),
        ];
        if self.was_whole(now) {
            let told = format!(
                "catalogue, products held out: the run was begun with none of {}; go on with catalogue.test_share = 0",
                self.products
            );
            return vec![told];
        }
        let sizes = sizes.into_iter().filter(|(_, begun, now)| begun != now);
        let parts = parts.into_iter().filter(|(_, begun, now)| begun != now);
        // As many products in other shares.
        let share = match self.products == now.products {
            true => {
                "; the share held out is catalogue.test_share, of the simulated shop shopworld.test_share"
            }
            false => "",
        };
        let sizes = sizes.map(|(size, begun, now)| {
            format!("catalogue, {size} = {now}: the run was begun with {begun}{share}")
        });
        let parts = parts.map(|(part, ..)| format!("catalogue, {part}: the run was begun with others"));
        sizes.chain(parts).collect()
    }

    /// Whether a run was begun with this catalogue when nothing was held out of it, and now some of as many products are. They stand in
    /// another order then, so that no digest tells more.
    fn was_whole(&self, now: &Self) -> bool {
        let all = 0..self.products;
        self.products == now.products && self.train == all && now.train != all
    }
}

/// A product's cut-out in short: width, height and the digest of its pixels.
pub(crate) fn cut_out(product: &Product) -> (u32, u32, Digest) {
    let (width, height) = product.image.dimensions();
    (width, height, store::digest(product.image.as_raw()))
}

/// Of a list that can be told from every other one.
fn of_list(items: impl Iterator<Item = impl Serialize>) -> Digest {
    let items: Vec<_> = items.collect();
    store::digest(&serde_json::to_vec(&items).expect("plain values have a JSON form"))
}

impl From<&CatalogueDigests> for pb::LedgerCatalogue {
    fn from(catalogue: &CatalogueDigests) -> Self {
        Self {
            products: catalogue.products,
            train_from: catalogue.train.start,
            train_before: catalogue.train.end,
            ids: Some(catalogue.ids.into()),
            captions: Some(catalogue.captions.into()),
            categories: Some(catalogue.categories.into()),
            images: Some(catalogue.images.into()),
            instructions: Some(catalogue.instructions.into()),
        }
    }
}

impl TryFrom<pb::LedgerCatalogue> for CatalogueDigests {
    type Error = InvalidMessage;

    fn try_from(message: pb::LedgerCatalogue) -> Result<Self, InvalidMessage> {
        Ok(Self {
            products: message.products,
            train: message.train_from..message.train_before,
            ids: required("ledger_catalogue.ids", message.ids)?.try_into()?,
            captions: required("ledger_catalogue.captions", message.captions)?.try_into()?,
            categories: required("ledger_catalogue.categories", message.categories)?.try_into()?,
            images: required("ledger_catalogue.images", message.images)?.try_into()?,
            instructions: required("ledger_catalogue.instructions", message.instructions)?.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{catalogue, with_captions};

    #[test]
    fn another_catalogue_is_told_with_what_differs_and_the_same_one_is_the_same() {
        let digests = |categories: &[Option<&str>]| CatalogueDigests::of(&catalogue(categories));
        let begun = digests(&[None; 3]);
        assert!(begun.changes(&digests(&[None; 3])).is_empty());
        assert_eq!(
            begun.changes(&digests(&[None; 5])),
            [
                "catalogue, products = 5: the run was begun with 3",
                "catalogue, products trained on = 0..5: the run was begun with 0..3",
                "catalogue, ids: the run was begun with others",
                "catalogue, captions: the run was begun with others",
                "catalogue, categories: the run was begun with others",
                "catalogue, cut-outs: the run was begun with others",
            ]
        );
        assert_eq!(
            begun.changes(&digests(&[None, Some("lamp"), None])),
            ["catalogue, categories: the run was begun with others"]
        );
        let mut divided = begun.clone();
        (divided.train, divided.ids) = (0..2, of_list(["p2", "p0", "p1"].iter()));
        assert_eq!(
            begun.changes(&divided),
            [
                "catalogue, products held out: the run was begun with none of 3; go on with catalogue.test_share = 0"
            ]
        );
        let told = divided.changes(&begun);
        assert!(
            told.len() == 2
                && told[0].contains("begun with 0..2; the share held out is catalogue.test_share"),
            "{told:?}"
        );
        // Words that move from one caption to the next make others.
        let captions = |captions| CatalogueDigests::of(&with_captions(captions));
        assert_eq!(
            captions(&["a b", "c"]).changes(&captions(&["a", "b c"])),
            ["catalogue, captions: the run was begun with others"]
        );
    }
}
