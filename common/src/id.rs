//! Names of the things in a run. Each is its own type, so that a task number never stands where an epoch belongs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A name that cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not usable: {reason}")]
pub struct InvalidId {
    /// Which identifier it was to be.
    pub kind: &'static str,
    /// What was given, cut to 80 characters.
    pub given: String,
    /// What would be right.
    pub reason: &'static str,
}

/// The longest identifier accepted, in bytes: it travels in every request and in object keys.
const MAX_ID_BYTES: usize = 128;

fn check_key_safe(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let fault = |reason| InvalidId {
        kind,
        given: text.chars().take(80).collect(),
        reason,
    };
    if text.is_empty() || text.len() > MAX_ID_BYTES {
        return Err(fault("it must have 1 to 128 bytes"));
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        || text.starts_with('.')
    {
        return Err(fault(
            "use letters, digits, '.', '_' and '-', not starting with '.'",
        ));
    }
    Ok(())
}

fn check_printable(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let fault = |reason| InvalidId {
        kind,
        given: text.chars().take(80).collect(),
        reason,
    };
    if text.trim().is_empty() || text.len() > MAX_ID_BYTES {
        return Err(fault("it must have 1 to 128 bytes that are not all blank"));
    }
    if text.chars().any(char::is_control) {
        return Err(fault("it must not contain control characters"));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is empty, too long or has characters that are not allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check($kind, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// One training run. It is part of object keys, so it is limited to letters, digits, `.`, `_` and `-`.
    RunId, "run id", check_key_safe
);
name_type!(
    /// One actor process. A restarted actor takes a new name.
    ActorId, "actor id", check_key_safe
);
name_type!(
    /// One product of a catalogue, as its owner names it.
    ProductId, "product id", check_printable
);

impl RunId {
    /// The prefix in the run's store under which actors put the images of its candidates, each under its digest, and the learner
    /// lets them go: each run has its own, so that what one lets go is nothing that another one needs.
    pub fn images_prefix(&self) -> String {
        format!("runs/{self}/images")
    }
}

/// Position of a product task in the seeded order of the run's tasks, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

/// How many times the learner of a run has started; a higher epoch fences the lower ones. From 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LearnerEpoch(pub u64);

impl fmt::Display for LearnerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_an_object_key_are_refused() {
        for bad in ["", "../up", "a/b", ".hidden", "sp ace", &"x".repeat(129)] {
            assert!(RunId::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(RunId::new("demo-7").unwrap().as_str(), "demo-7");
    }

    #[test]
    fn product_ids_may_be_any_printable_text() {
        assert!(ProductId::new("SKU 12/黑豆").is_ok());
        assert!(ProductId::new("tab\there").is_err());
        assert!(ProductId::new("   ").is_err());
    }
}
