//! How people write descriptions: mostly with scenes and props that suit the product, everything else at will.

use crate::description::{Description, Slot};
use rand::{Rng, RngExt};

/// Draws a description for a product of `category`. Scene and prop are each native with probability `native`, otherwise
/// evenly one of the foreign ones. Every call takes the same number of draws, whatever `native` is.
pub(crate) fn write_description(rng: &mut impl Rng, category: usize, native: f64) -> Description {
    let values = Slot::ALL.map(|slot| {
        let count = slot.values().len();
        if slot.has_native_values() {
            matched(rng, category, count, native)
        } else {
            rng.random_range(0..count)
        }
    });
    Description::new(values).expect("drawn within each slot's range")
}

fn matched(rng: &mut impl Rng, category: usize, count: usize, native: f64) -> usize {
    let suits = rng.random_bool(native);
    let own = 2 * category + rng.random_range(0..2);
    let other = rng.random_range(0..count - 2);
    match (suits, other < 2 * category) {
        (true, _) => own,
        (false, true) => other,
        (false, false) => other + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stream::{Part, stream},
        truth::is_native,
    };
    use std::collections::BTreeSet;

    #[test]
    fn native_values_come_as_often_as_asked_and_all_values_come() {
        let mut rng = stream(11, Part::Corpus, 0);
        for category in 0..8 {
            let drawn: Vec<_> = (0..4_000)
                .map(|_| write_description(&mut rng, category, 0.8))
                .collect();
            for slot in Slot::ALL {
                let values: BTreeSet<_> = drawn.iter().map(|description| description.value(slot)).collect();
                assert_eq!(values.len(), slot.values().len(), "{slot:?}");
                if slot.has_native_values() {
                    let native = drawn
                        .iter()
                        .filter(|d| is_native(slot, d.value(slot), Some(category)))
                        .count();
                    assert!(native.abs_diff(3_200) < 120, "{native} of 4000");
                }
            }
        }
    }
}
