//! Which products of a user's catalogue are held out. It follows from their ids: every role, every start and every machine divides a
//! catalogue alike, and products that are added leave those that were there on their sides.

use crate::{Product, product::rank};

/// Fewer products are not divided: what is measured on one of them says nothing, and training needs the rest.
pub const FEWEST_DIVIDED: usize = 8;

/// Of a catalogue that is divided: only two can change places.
const FEWEST_HELD_OUT: usize = 2;

/// Whether each product is held out. Those are whose place among all digests is in the highest `share`; two at least, and half of the
/// products at most, in the order of their digests. Of fewer than eight products, or with a share of 0, none is.
///
/// A click log holds the products of the highest digests out, too: a reward model learns little of those that a policy is measured on.
pub(super) fn held_out(products: &[Product], share: f64) -> Vec<bool> {
    let mut held_out = vec![false; products.len()];
    if share <= 0.0 || products.len() < FEWEST_DIVIDED {
        return held_out;
    }
    let mut order: Vec<([u8; 32], usize)> = products.iter().map(|it| rank(&it.id)).zip(0..).collect();
    order.sort_unstable_by(|one, other| other.cmp(one));
    let in_share = order.iter().filter(|(digest, _)| place(digest) >= 1.0 - share);
    let count = in_share.count().clamp(FEWEST_HELD_OUT, products.len() / 2);
    for &(_, index) in &order[..count] {
        held_out[index] = true;
    }
    held_out
}

/// Where a digest stands among all of them, 0 to 1.
fn place(digest: &[u8; 32]) -> f64 {
    let first = digest[..8]
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    first as f64 / 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ProductId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn products(ids: impl IntoIterator<Item = usize>) -> Vec<Product> {
        let product = |id: usize| Product {
            id: ProductId::new(format!("product-{id}")).unwrap(),
            caption: String::new(),
            category: None,
            attributes: BTreeMap::new(),
            image: Default::default(),
        };
        ids.into_iter().map(product).collect()
    }

    /// The ids of those that are held out.
    fn ids(products: &[Product], share: f64) -> Vec<&str> {
        let held_out = held_out(products, share).into_iter();
        let found = products.iter().zip(held_out).filter(|(_, held_out)| *held_out);
        let mut ids: Vec<&str> = found.map(|(product, _)| product.id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn products_that_are_added_leave_the_others_on_their_sides_whatever_the_order() {
        let few = products(0..60);
        let mut more = products(0..90);
        more.reverse();
        let (before, after) = (ids(&few, 0.2), ids(&more, 0.2));
        assert!((6..=20).contains(&before.len()), "{before:?}");
        let of_the_first = |id: &&str| few.iter().any(|product| product.id.as_str() == *id);
        let kept: Vec<&str> = after.iter().copied().filter(of_the_first).collect();
        assert_eq!(before, kept);
        assert!(after.len() > before.len(), "{after:?}");
    }

    /// A run that goes on, and an adapter that is measured again, count on it. One of these is in the share, the next one makes two.
    #[test]
    fn these_are_held_out_today_and_for_good() {
        assert_eq!(ids(&products(0..8), 0.2), ["product-0", "product-5"]);
    }

    #[test]
    fn few_products_and_no_share_leave_nothing_held_out() {
        assert_eq!(ids(&products(0..7), 0.5), [""; 0]);
        assert_eq!(ids(&products(0..100), 0.0), [""; 0]);
    }

    proptest! {
        #[test]
        fn of_eight_or_more_two_at_least_and_half_at_most_are_held_out(
            from in 0usize..1000, count in 8usize..80, share in 0.001f64..=0.5
        ) {
            let held_out = ids(&products(from..from + count), share).len();
            prop_assert!((2..=count / 2).contains(&held_out));
        }
    }
}
