//! One mistake in a configuration, and all of them as an error.

use common::InvalidSetting;
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

    /// What is wrong with a whole source, or with a file that it names.
    pub(crate) fn of_source(origin: &str, reason: String) -> Self {
        Self {
            origin: Some(origin.to_owned()),
            key: String::new(),
            reason,
        }
    }

    /// What is wrong with an argument that is no setting; the message names it.
    pub(crate) fn of_argument(reason: String) -> Self {
        Self {
            origin: None,
            key: String::new(),
            reason,
        }
    }

    /// A key that is wrong as such.
    pub(crate) fn of_key(origin: Option<&str>, key: &str, reason: impl fmt::Display) -> Self {
        Self {
            origin: origin.map(str::to_owned),
            key: key.to_owned(),
            reason: format!(": {reason}"),
        }
    }

    /// The same where the reason may begin with the key itself.
    pub(crate) fn told_of(key: &str, reason: &str) -> Self {
        match reason.strip_prefix(key) {
            Some(rest) => Self {
                origin: None,
                key: key.to_owned(),
                reason: rest.to_owned(),
            },
            None => Self::of_key(None, key, reason),
        }
    }

    /// The full key that it is about; empty for a whole source.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, for whoever has named the key.
    pub(crate) fn words(&self) -> String {
        let begin = |start| self.reason.strip_prefix(start);
        let words = begin(": ").or_else(|| begin(" = ")).unwrap_or(&self.reason);
        without_secrets(words.trim_start())
    }

    /// Whether it is about this key.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        self.key == key
    }

    /// A mistake that a table found in itself.
    pub(crate) fn within(table: &str, found: &InvalidSetting) -> Self {
        Self {
            key: format!("{table}.{}", found.key),
            ..Self::of_setting(found)
        }
    }

    /// A mistake that names its whole key.
    pub(crate) fn of_setting(found: &InvalidSetting) -> Self {
        Self {
            origin: None,
            key: found.key.clone(),
            reason: format!(" = {}: {}", found.value, found.reason),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self
            .origin
            .as_ref()
            .map(|origin| format!("{origin}: "))
            .unwrap_or_default();
        let said = format!("{origin}{}{}", self.key, self.reason);
        f.write_str(&without_secrets(&said))
    }
}

/// A message in which no URL shows a name, a password or a query: those may be secrets, and messages end in logs.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find([' ', '"', '\'', '\n']).unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?***"));
        let (user, url) = url.rsplit_once('@').map_or(("", url), |(_, url)| ("***@", url));
        shown.extend([before, "://", user, url, query]);
        rest = behind;
    }
    shown + rest
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
    fn no_message_shows_what_may_be_a_secret_in_a_url() {
        let shown = without_secrets(
            "--set a=s3://key:w/o@rd@b/x: store.url = \"az://c/x?sig=word\": expected s3://bucket",
        );
        assert_eq!(
            shown,
            "--set a=s3://***@b/x: store.url = \"az://c/x?***\": expected s3://bucket"
        );
        assert_eq!(without_secrets("no URL @ all?"), "no URL @ all?");
    }
}
