//! Rules for shapes that are read from files: what holds, or the key and what would be right.

use crate::error::ModelError;

/// Layers beyond which a configuration is a mistake.
pub(crate) const MOST_LAYERS: usize = 1024;

/// Widths, sides and vocabularies beyond which a configuration is a mistake; their squares still fit a `usize`.
pub(crate) const MOST_ENTRIES: usize = 1 << 24;

/// Does it hold, the key, its value, what would be right.
pub(crate) type Rule = (bool, &'static str, String, &'static str);

/// A number of layers.
pub(crate) fn layers(key: &'static str, layers: usize) -> Rule {
    let holds = (1..=MOST_LAYERS).contains(&layers);
    (holds, key, layers.to_string(), "from 1 to 1024")
}

/// A width, a side or a size of a table.
pub(crate) fn entries(key: &'static str, entries: usize) -> Rule {
    let holds = (1..=MOST_ENTRIES).contains(&entries);
    (holds, key, entries.to_string(), "from 1 to 16777216")
}

/// A constant that something is divided by.
pub(crate) fn positive(key: &'static str, value: f64) -> Rule {
    let holds = value > 0.0 && value.is_finite();
    (holds, key, value.to_string(), "a finite number above 0")
}

/// The first rule that does not hold.
///
/// # Errors
/// [`ModelError::Config`] with its key, its value and what would be right.
pub(crate) fn check(rules: impl IntoIterator<Item = Rule>) -> Result<(), ModelError> {
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, value, expected)) => Err(ModelError::Config { key, value, expected }),
        None => Ok(()),
    }
}
