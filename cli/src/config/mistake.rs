//! One mistake in a configuration, and all of them as an error.

use std::fmt;

/// What is wrong with one key, or with a whole source when `key` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file or argument it comes from, where that is known.
    pub(super) origin: Option<String>,
    /// The full key, such as `actor.group_size`.
    pub(super) key: String,
    /// What follows the key in the message: the value, what is wrong and what would be right.
    pub(super) reason: String,
}

impl Mistake {
    /// A value out of range: `key = value: expected ...`.
    pub(crate) fn value(key: &str, value: impl fmt::Display, expected: &str) -> Self {
        Self {
            origin: None,
            key: key.to_owned(),
            reason: format!(" = {value}: expected {expected}"),
        }
    }

    /// A message that starts with its key, as the configuration tables of other crates word theirs.
    pub(crate) fn from_text(text: &str) -> Self {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
        let (key, reason) = text.split_at(text.find(|c| !is_key(c)).unwrap_or(text.len()));
        Self {
            origin: None,
            key: key.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// A source that cannot be read at all.
    pub(super) fn of_source(origin: &str, reason: String) -> Self {
        Self {
            origin: Some(origin.to_owned()),
            key: String::new(),
            reason,
        }
    }

    /// A key that is wrong as such.
    pub(super) fn of_key(origin: Option<&str>, key: &str, reason: impl fmt::Display) -> Self {
        Self {
            origin: origin.map(str::to_owned),
            key: key.to_owned(),
            reason: format!(": {reason}"),
        }
    }

    /// The same mistake, its key prefixed with the table it belongs to.
    pub(crate) fn within(mut self, table: &str) -> Self {
        self.key = format!("{table}.{}", self.key);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}{}", self.key, self.reason)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// At least one, in the order of the layers.
    pub(crate) mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(
            f,
            "{count} mistake{} in the configuration",
            if count == 1 { "" } else { "s" }
        )?;
        self.mistakes
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_other_crates_keep_their_words_and_gain_their_table() {
        let mistake = Mistake::from_text("loss.beta = -1: must be above 0").within("learner");
        assert_eq!(mistake.key, "learner.loss.beta");
        assert_eq!(mistake.to_string(), "learner.loss.beta = -1: must be above 0");
    }
}
