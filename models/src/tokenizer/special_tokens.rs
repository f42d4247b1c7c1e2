//! How tokens are spelled that no text becomes.

use serde::{Deserialize, Serialize};

/// How a tokenizer spells its special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialTokens {
    /// Fills short rows.
    pub pad: String,
    /// Begins a prompt.
    pub begin: String,
    /// Ends a completion.
    pub end: String,
    /// Stands for an image in a prompt.
    pub image: String,
}

impl Default for SpecialTokens {
    /// `<pad>`, `<bos>`, `</s>`, `<image>`: what [`Tokenizer::train`](super::Tokenizer::train) is given for our own models.
    fn default() -> Self {
        Self {
            pad: "<pad>".into(),
            begin: "<bos>".into(),
            end: "</s>".into(),
            image: "<image>".into(),
        }
    }
}
