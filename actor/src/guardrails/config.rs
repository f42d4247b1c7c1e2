//! What guardrails can be told: the `[actor.guardrails]` table.

use common::SettingsCheck;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which candidates are barred: recorded with the guardrail that found them, and never compared with others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardrailsConfig {
    /// A file of words and phrases that no description may have, one a line; a description that has one is not rendered.
    /// Compared are whole words, whatever their case. Default empty: none.
    pub text_blocklist: String,
}

impl GuardrailsConfig {
    /// Notes what cannot be used.
    pub(crate) fn check(&self, check: &mut SettingsCheck) {
        check.require(
            !self.text_blocklist.contains('\0'),
            "guardrails.text_blocklist",
            &self.text_blocklist,
            "the path of a file, or nothing",
        );
    }

    /// The file of listed phrases.
    pub(crate) fn text_blocklist(&self) -> Option<&Path> {
        let text = self.text_blocklist.as_str();
        (!text.is_empty()).then(|| Path::new(text))
    }
}
