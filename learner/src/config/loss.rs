//! The table `[learner.loss]`: the preference term, the product-centric term and what its negative is.

use common::SettingsCheck;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Strengths per nat. Margins are tens of nats: below, the sigmoid is flat; above, it is a step.
const STRENGTHS: RangeInclusive<f64> = 1e-4..=1e3;

/// The largest weight of a term, far beyond any balance of terms.
const MAX_WEIGHT: f64 = 1e4;

/// Settings of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Which negative the product-centric term has. Default `joint_swap`.
    pub mode: LossMode,
    /// Strength of the preference term, per nat of margin, 1e-4 to 1000. Default 1: the best and the worst of a large group differ so clearly
    /// that the margin would otherwise grow without end. CAIG 0.5 (`pcpo/class_utils.py`, `beta`).
    pub beta: f64,
    /// Strength of the product-centric term, per nat of margin, 1e-4 to 1000. Default 0.5 (CAIG `pcpo/base_dpo_trainer.py`).
    pub pcpo_beta: f64,
    /// Weight of the product-centric term beside the preference term, 0 to 10000; 0 leaves plain DPO. Default 1.5; CAIG 1
    /// (`scripts/train_pcpo.sh`).
    pub pcpo_weight: f64,
    /// Weight of the anchor, the mean negative log-probability of a token of the chosen completion, 0 to 10000; 0 leaves it
    /// out, as CAIG does. Default 10: two thirds of the sum over a description of 15 tokens.
    pub nll_weight: f64,
    /// Which products may stand in for a pair's own. Default `category`.
    pub partner: Partner,
    /// How a product image is masked.
    pub mask: MaskConfig,
}

/// What the product-centric negative is made of. Everywhere `y+` is the pair's chosen completion, `I` its product's image
/// and `C` its caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMode {
    /// No product-centric term: plain DPO.
    Dpo,
    /// `y+` under another product's image and caption.
    JointSwap,
    /// `y+` under the masked image and another product's caption, as the paper's figure shows it.
    Paper,
    /// `y+` under the masked image and its own caption.
    MaskOnly,
    /// `y+` under its own image and another product's caption.
    CaptionOnly,
    /// CAIG's code: a fair coin between `mask_only` and *another pair's* chosen completion and caption under the own
    /// image, where the other pair may be the pair itself.
    Compat,
}

impl LossMode {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::Dpo,
        Self::JointSwap,
        Self::Paper,
        Self::MaskOnly,
        Self::CaptionOnly,
        Self::Compat,
    ];

    /// Its name in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpo => "dpo",
            Self::JointSwap => "joint_swap",
            Self::Paper => "paper",
            Self::MaskOnly => "mask_only",
            Self::CaptionOnly => "caption_only",
            Self::Compat => "compat",
        }
    }

    /// Whether the negative takes something from another product of the catalogue.
    pub fn needs_partner(self) -> bool {
        matches!(self, Self::JointSwap | Self::Paper | Self::CaptionOnly)
    }
}

impl fmt::Display for LossMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which products may stand in for a pair's own product. It is never a product with the same id or the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partner {
    /// Only products of another category, where the catalogue has categories: a product of the same category deserves the
    /// same background, so it would teach nothing or the wrong thing.
    Category,
    /// Any other product.
    Uniform,
}

/// How a product image is masked: CAIG's `PatchMasker` (`train_pcpo.py`) at the image's own resolution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// Side of a patch in pixels of an image whose longer side is 800, 1 to 400; scaled in proportion for other images.
    /// Default 32,
    /// which is about one patch of the vision tower at 336 pixels.
    pub patch: u32,
    /// Share of the patches that is blackened, rounded down, 0 to 1; 0 blackens none. Default 0.75.
    pub ratio: f64,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self {
            patch: 32,
            ratio: 0.75,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            mode: LossMode::JointSwap,
            beta: 1.0,
            pcpo_beta: 0.5,
            pcpo_weight: 1.5,
            nll_weight: 10.0,
            partner: Partner::Category,
            mask: MaskConfig::default(),
        }
    }
}

impl LossConfig {
    pub(crate) fn check(&self, check: &mut SettingsCheck) {
        check.within("loss.beta", self.beta, STRENGTHS, "per nat");
        check.within("loss.pcpo_beta", self.pcpo_beta, STRENGTHS, "per nat");
        check.within("loss.pcpo_weight", self.pcpo_weight, 0.0..=MAX_WEIGHT, "");
        check.within("loss.nll_weight", self.nll_weight, 0.0..=MAX_WEIGHT, "");
        check.within(
            "loss.mask.patch",
            self.mask.patch,
            1..=400,
            "pixels of an 800-pixel image",
        );
        check.within("loss.mask.ratio", self.mask.ratio, 0.0..=1.0, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_they_are_displayed() {
        for mode in LossMode::ALL {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
    }
}
