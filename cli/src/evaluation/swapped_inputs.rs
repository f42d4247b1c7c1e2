//! Whether a policy reads the product: two products change their image and caption, and their descriptions should go with
//! them. Pure pairing and arithmetic; log-probabilities come from elsewhere.

use data::Product;
use serde::Serialize;

/// What becomes of descriptions when the inputs of their products are swapped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct SwappedInputs {
    /// Mean of log pi(y | own product) - log pi(y | the other one), in nats per completion.
    pub(crate) product_nats: f64,
    /// Share of pairs whose descriptions are, both taken together, likelier under the product they were written for.
    #[serde(rename = "swap_followed")]
    pub(crate) followed: f64,
}

/// A completion of one product: its log-probability under it and under the product it changes places with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scored {
    /// The product's position.
    pub(super) subject: usize,
    /// Nats under its own product.
    pub(super) own: f64,
    /// Nats under the other one.
    pub(super) swapped: f64,
}

/// With whom each product changes places: the next one of another category that is still free, or of any where the
/// catalogue has no categories. One that finds nobody is left out.
pub(super) fn partners(products: &[&Product]) -> Vec<Option<usize>> {
    let mut partners = vec![None; products.len()];
    for one in 0..products.len() {
        let other = (one + 1..products.len())
            .find(|&other| partners[other].is_none() && differ(products[one], products[other]));
        if let (None, Some(other)) = (partners[one], other) {
            (partners[one], partners[other]) = (Some(other), Some(one));
        }
    }
    partners
}

fn differ(one: &Product, other: &Product) -> bool {
    match (&one.category, &other.category) {
        (Some(one), Some(other)) => one != other,
        _ => one.id != other.id,
    }
}

/// Sums up; none without a pair.
pub(super) fn swapped_inputs(partners: &[Option<usize>], completions: &[Scored]) -> Option<SwappedInputs> {
    let mut gains = vec![0.0; partners.len()];
    for scored in completions {
        gains[scored.subject] += scored.own - scored.swapped;
    }
    let pairs = partners.iter().enumerate();
    let pairs: Vec<f64> = pairs
        .filter_map(|(one, other)| {
            other
                .filter(|&other| one < other)
                .map(|other| gains[one] + gains[other])
        })
        .collect();
    if pairs.is_empty() || completions.is_empty() {
        return None;
    }
    Some(SwappedInputs {
        product_nats: gains.iter().sum::<f64>() / completions.len() as f64,
        followed: pairs.iter().filter(|&&gain| gain > 0.0).count() as f64 / pairs.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ProductId;

    fn product(id: &str, category: Option<&str>) -> Product {
        Product {
            id: ProductId::new(id).unwrap(),
            caption: String::new(),
            category: category.map(str::to_owned),
            attributes: Default::default(),
            image: Default::default(),
        }
    }

    #[test]
    fn products_change_places_across_categories_and_nobody_twice() {
        let products: Vec<Product> = [
            ("a", "lamp"),
            ("b", "lamp"),
            ("c", "desk"),
            ("d", "vase"),
            ("e", "vase"),
        ]
        .map(|(id, category)| product(id, Some(category)))
        .into();
        let found = partners(&products.iter().collect::<Vec<_>>());
        assert_eq!(found, [Some(2), Some(3), Some(0), Some(1), None]);
    }

    #[test]
    fn without_categories_any_other_product_will_do_and_one_alone_stays_alone() {
        let products = ["a", "b", "c"].map(|id| product(id, None));
        assert_eq!(
            partners(&products.iter().collect::<Vec<_>>()),
            [Some(1), Some(0), None]
        );
    }

    #[test]
    fn a_policy_that_does_not_look_follows_nobody() {
        let blind = [0, 1].map(|subject| Scored {
            subject,
            own: -9.0,
            swapped: -9.0,
        });
        let found = swapped_inputs(&[Some(1), Some(0)], &blind).unwrap();
        assert_eq!((found.product_nats, found.followed), (0.0, 0.0));
        assert_eq!(swapped_inputs(&[None], &[]), None);
    }

    #[test]
    fn a_pair_is_followed_when_both_together_prefer_their_own() {
        let scored = |subject, own, swapped| Scored {
            subject,
            own,
            swapped,
        };
        let completions = [
            scored(0, -9.0, -14.0),
            scored(1, -9.0, -8.0),
            scored(2, -9.0, -9.5),
            scored(3, -9.0, -8.0),
        ];
        let found = swapped_inputs(&[Some(1), Some(0), Some(3), Some(2)], &completions).unwrap();
        assert_eq!(
            (found.product_nats, found.followed),
            ((5.0 - 1.0 + 0.5 - 1.0) / 4.0, 0.5)
        );
    }
}
