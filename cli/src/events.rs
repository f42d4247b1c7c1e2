//! What the child processes of a demo's first two stages tell their parent: JSON lines on standard output.
//!
//! Not part of the documented contract: the flag that turns them on is hidden, and only `adwright demo` reads them.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum StageEvent {
    /// How far the stage is.
    Progress {
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
        /// A word on it, such as the loss.
        note: String,
    },
    /// The stage is done.
    Finished {
        /// What it found; its form is the stage's own.
        result: serde_json::Value,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_tagged_lines() {
        let event = StageEvent::Progress {
            done: 3,
            total: 9,
            note: "loss 1.20".into(),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"event":"progress","done":3,"total":9,"note":"loss 1.20"}"#
        );
        assert_eq!(serde_json::from_str::<StageEvent>(&line).unwrap(), event);
    }
}
