//! Ranges of numbers, asked of the checks: a setting that no key was made for is refused with the range that would be right.
//!
//! A range that depends on other keys is none that a schema can state; it is left to the key's description.

use crate::config::{Config, Layers, Mistake, document};
use std::collections::BTreeMap;

/// Numbers beyond what settings take, as TOML writes them; the last one fits into 32 bits.
const ABSURD: [&str; 3] = ["nan", "9223372036854775807", "4294967295"];

/// The numbers that a key takes, both ends included.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    /// The smallest.
    pub(super) least: f64,
    /// The largest.
    pub(super) most: f64,
    /// As the check writes it, with its unit: `2 to 64 (pixels)`.
    pub(super) text: String,
}

/// The range of each number that has one of its own, by full key.
pub(super) fn ranges() -> BTreeMap<String, Range> {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let is_number = |key: &String| document::is_number(&defaults, key);
    let keys: Vec<String> = document::leaves(&defaults)
        .into_iter()
        .filter(is_number)
        .collect();
    let together: Vec<Vec<Mistake>> = ABSURD.iter().map(|value| refusals(&keys, value)).collect();
    let of = |key: String| {
        let of_alone = |value: &&str| range(&refusals(std::slice::from_ref(&key), value), &key);
        let alone: Vec<Option<Range>> = ABSURD.iter().map(of_alone).collect();
        // One that is another beside other keys' numbers is theirs too.
        let together: Vec<_> = together.iter().map(|mistakes| range(mistakes, &key)).collect();
        let own = alone
            .iter()
            .flatten()
            .next()
            .cloned()
            .filter(|_| alone == together);
        own.map(|range| (key, range))
    };
    keys.into_iter().filter_map(of).collect()
}

fn refusals(keys: &[String], value: &str) -> Vec<Mistake> {
    let sets: Vec<String> = keys.iter().map(|key| format!("{key}={value}")).collect();
    Layers::default().sets(&sets).examine().1
}

fn range(mistakes: &[Mistake], key: &str) -> Option<Range> {
    let of_key = mistakes.iter().filter(|mistake| mistake.key == key);
    of_key.filter_map(|mistake| read(&mistake.reason)).next()
}

/// ` = 1: expected 2 to 64 (pixels)`.
fn read(reason: &str) -> Option<Range> {
    let (_, text) = reason.split_once(": expected ")?;
    let (least, rest) = text.split_once(" to ")?;
    let (most, unit) = rest.split_once(' ').unwrap_or((rest, ""));
    let plain = unit.is_empty() || unit.starts_with('(') && unit.ends_with(')');
    plain.then_some(Range {
        least: least.parse().ok()?,
        most: most.parse().ok()?,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_range_is_one() {
        let bounds = |reason| read(reason).map(|range| (range.least, range.most));
        assert_eq!(bounds(" = 1: expected 2 to 64"), Some((2.0, 64.0)));
        assert_eq!(bounds(" = NaN: expected 1e-6 to 1e6 (pixels)"), Some((1e-6, 1e6)));
        assert_eq!(bounds(" = 1: expected a multiple of 8 from 64 to 4096"), None);
        assert_eq!(bounds(" = 1: expected 0 to 1 and below the other"), None);
        assert_eq!(bounds(": unknown key"), None);
    }
}
