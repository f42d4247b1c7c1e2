//! The levels of the U: what each is made of.

use serde::{Deserialize, Serialize};

/// One number for all levels, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same everywhere.
    Same(usize),
    /// From the highest level down.
    Each(Vec<usize>),
}

impl PerLevel {
    /// That of a level, counted from the highest.
    pub fn at(&self, level: usize) -> usize {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values.get(level).copied().unwrap_or_default(),
        }
    }

    pub(super) fn fits(&self, levels: usize) -> bool {
        match self {
            Self::Same(_) => true,
            Self::Each(values) => values.len() == levels,
        }
    }
}

/// A level of the U and whether it attends to the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// With transformers, on the way down.
    #[serde(rename = "CrossAttnDownBlock2D")]
    AttentiveDown,
    /// Without, on the way down.
    #[serde(rename = "DownBlock2D")]
    Down,
    /// With transformers, on the way up.
    #[serde(rename = "CrossAttnUpBlock2D")]
    AttentiveUp,
    /// Without, on the way up.
    #[serde(rename = "UpBlock2D")]
    Up,
}

impl Level {
    pub(in crate::diffusion) fn is_attentive(self) -> bool {
        matches!(self, Self::AttentiveDown | Self::AttentiveUp)
    }

    pub(super) fn is_down(self) -> bool {
        matches!(self, Self::AttentiveDown | Self::Down)
    }
}
