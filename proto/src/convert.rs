//! The doors between messages and values: `From` on the way out, `TryFrom` on the way in.

mod artifact;
mod canary;
mod candidate;
mod deciding;
mod manifest;
mod outcome;
mod plain;
mod serving;
mod status;

pub use artifact::fetched;
pub use candidate::{reward, trajectory};
pub use deciding::deciding_settings;
pub use manifest::Manifest;
pub use serving::{ImageGenerator, MAX_DESCRIPTIONS, RewardServerStatus, ServedModel};
pub use status::{ActorStatus, MAX_ACTORS, MAX_STATUS_BYTES, Outcomes, RunStatus, VersionFigures};

/// The most entries that one request may carry (leased tasks, outcomes, groups).
pub const MAX_BATCH: usize = 1024;

/// A message that is not well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidMessage {
    /// The field, as a path from the message.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidMessage {
    /// A field that holds something impossible.
    pub fn new(field: &'static str, reason: impl ToString) -> Self {
        Self {
            field,
            reason: reason.to_string(),
        }
    }

    /// A field that must be there and is not.
    pub fn missing(field: &'static str) -> Self {
        Self::new(field, "it is required")
    }

    /// Refuses a list that is empty or longer than [`MAX_BATCH`].
    ///
    /// # Errors
    /// This error, naming `field`.
    pub fn check_batch(field: &'static str, len: usize) -> Result<(), Self> {
        match len {
            1..=MAX_BATCH => Ok(()),
            _ => Err(Self::new(
                field,
                format!("{len} entries, expected 1 to {MAX_BATCH}"),
            )),
        }
    }
}

/// The value of a field that must be there.
///
/// # Errors
/// [`InvalidMessage`], naming `field`.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::missing(field))
}

/// The message that stands for a value in a table of both.
fn to_wire<A: PartialEq + Copy, B: Copy + Default>(table: &[(A, B)], value: A) -> B {
    table
        .iter()
        .find(|(a, _)| *a == value)
        .map(|(_, b)| *b)
        .unwrap_or_default()
}

/// The value that a message stands for; one that no table knows is no value.
fn from_wire<A: Copy, B: PartialEq + Copy>(
    table: &[(A, B)],
    field: &'static str,
    value: B,
) -> Result<A, InvalidMessage> {
    let known = table.iter().find(|(_, b)| *b == value).map(|(a, _)| *a);
    known.ok_or_else(|| InvalidMessage::missing(field))
}
