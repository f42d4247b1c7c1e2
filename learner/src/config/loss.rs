//! The table `[learner.loss]`: the preference term, the product-centric term and what its negative is.

use common::SettingsCheck;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Strengths per nat. Margins are tens of nats: below, the sigmoid is flat; above, it is a step.
const STRENGTHS: RangeInclusive<f64> = 1e-4..=1e3;

/// The largest weight of a term, far beyond any balance of terms.
const MAX_WEIGHT: f64 = 1e4;

/// What CAIG's code trains with, which mode `compat` takes as its defaults.
mod caig {
    /// `pcpo/class_utils.py`.
    pub(super) const BETA: f64 = 0.5;
    /// The default of `pcpo/base_dpo_trainer.py`; `train_pcpo.py` parses `--pcpo_beta` and hands it to nobody.
    pub(super) const PCPO_BETA: f64 = 0.5;
    /// `scripts/train_pcpo.sh`.
    pub(super) const PCPO_WEIGHT: f64 = 1.0;
    /// `pcpo/llava_pcpo_trainer.py` adds up two terms and no anchor.
    pub(super) const NLL_WEIGHT: f64 = 0.0;
    /// Nor the support.
    pub(super) const SUPPORT_WEIGHT: f64 = 0.0;
    /// All tokens count alike there.
    pub(super) const PCPO_EVIDENCE: bool = false;
}

/// Settings of the loss. In mode `compat` a weight that is left out takes CAIG's value instead of the default named here;
/// one that is set counts in every mode. `config print` and the stored configuration show what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Given")]
#[schemars(!from, default, deny_unknown_fields)]
pub struct LossConfig {
    /// Which negative the product-centric term has. Default `joint_swap`.
    pub mode: LossMode,
    /// Strength of the preference term, per nat of margin, 1e-4 to 1000. Default 1: the best and the worst of a group differ so
    /// clearly that the margin would otherwise grow without end. CAIG 0.5 (`pcpo/class_utils.py`, `beta`).
    pub beta: f64,
    /// Strength of the product-centric term, per nat of margin, 1e-4 to 1000. Default 0.5, which is what CAIG always uses
    /// (`pcpo/base_dpo_trainer.py`): its flag `--pcpo_beta` has no effect.
    pub pcpo_beta: f64,
    /// Weight of the product-centric term beside the preference term, 0 to 10000; 0 leaves it out. Default 60, of a term in which two or three
    /// tokens of a description count: at 20 the match rate fell again on a seed whose reward model likes two scenes for every product
    /// (docs/results.md). CAIG 1 (`scripts/train_pcpo.sh`), of all tokens.
    pub pcpo_weight: f64,
    /// Whether each token counts in the product-centric term by how far it speaks for its product (`loss/evidence.rs`), or all alike, as in CAIG.
    /// Not in mode `compat`, where the negative may be another completion. Default true.
    pub pcpo_evidence: bool,
    /// Weight of the anchor, the mean negative log-probability of a token of the chosen completion, in every mode, 0 to 10000;
    /// 0 leaves it out, as CAIG does. Default 10: two thirds of the sum over a description of 15 tokens.
    pub nll_weight: f64,
    /// Weight of the support (`loss/support.rs`), in every mode that has a negative, 0 to 10000; 0 leaves it out, as CAIG does.
    /// Default 100.
    pub support_weight: f64,
    /// Probability under the reference from which on a token counts as possible for the support, 1e-9 to 1; the likeliest
    /// one always does. Default 0.001.
    pub support_threshold: f64,
    /// Weigh each pair by how much likelier its completions have become since they were sampled (`loss/importance.rs`), each
    /// log-ratio held within so many nats, 0 to 10; 0 weighs all alike, as CAIG does. Default 0: pairs are at most
    /// `max_staleness` versions old.
    pub importance_clip: f64,
    /// Which products may stand in for a pair's own. Default `category`.
    pub partner: Partner,
    /// How a product image is masked.
    pub mask: MaskConfig,
}

/// The table `[learner.loss]` as it was written, keys left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    mode: Option<LossMode>,
    beta: Option<f64>,
    pcpo_beta: Option<f64>,
    pcpo_weight: Option<f64>,
    pcpo_evidence: Option<bool>,
    nll_weight: Option<f64>,
    support_weight: Option<f64>,
    support_threshold: Option<f64>,
    importance_clip: Option<f64>,
    partner: Option<Partner>,
    mask: Option<MaskConfig>,
}

impl From<Given> for LossConfig {
    fn from(given: Given) -> Self {
        let default = Self::of(given.mode.unwrap_or(LossMode::JointSwap));
        Self {
            mode: default.mode,
            beta: given.beta.unwrap_or(default.beta),
            pcpo_beta: given.pcpo_beta.unwrap_or(default.pcpo_beta),
            pcpo_weight: given.pcpo_weight.unwrap_or(default.pcpo_weight),
            pcpo_evidence: given.pcpo_evidence.unwrap_or(default.pcpo_evidence),
            nll_weight: given.nll_weight.unwrap_or(default.nll_weight),
            support_weight: given.support_weight.unwrap_or(default.support_weight),
            support_threshold: given.support_threshold.unwrap_or(default.support_threshold),
            importance_clip: given.importance_clip.unwrap_or(default.importance_clip),
            partner: given.partner.unwrap_or(default.partner),
            mask: given.mask.unwrap_or(default.mask),
        }
    }
}

/// What the product-centric negative is made of. Everywhere `y+` is the pair's chosen completion, `I` its product's image
/// and `C` its caption. The preference term and the anchor (`nll_weight`) are the same in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossMode {
    /// No negative: the preference term and the anchor alone. With `nll_weight = 0` it is plain DPO.
    Dpo,
    /// `y+` under another product's image and caption.
    JointSwap,
    /// `y+` under the masked image and another product's caption, as the paper's figure shows it. With CAIG's weights
    /// (`configs/caig.toml`) it is the paper's loss; the default weights are those of `joint_swap`.
    Paper,
    /// `y+` under the masked image and its own caption.
    MaskOnly,
    /// `y+` under its own image and another product's caption.
    CaptionOnly,
    /// The loss of CAIG's code (`train_pcpo.py`, `pcpo/llava_pcpo_trainer.py`), its weights included: a fair coin between
    /// `mask_only` and *another pair's* chosen completion and caption under the own image, where the other pair may be the
    /// pair itself, whose margin is then always 0. Patches are its 32 pixels of the image as it is, with soft borders.
    ///
    /// What differs from that code:
    /// - The coin is tossed once a batch and pair, there once a pass: the same with `passes = 1`, as there.
    /// - Transparent pixels show the mean colour, in actors and learner alike, there whatever colour lies under them.
    /// - A masked image is rounded to bytes, there cut to whole numbers.
    /// - A completion is trained on as its tokens were sampled, there as its text without quotation marks, full stops and
    ///   line breaks, encoded again; and under the template it was sampled with, there under another one.
    /// - An image smaller than a patch is left whole, there an error.
    /// - Adapter and optimizer go on from version to version, there both start afresh on merged weights.
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

    /// Whether the negative shows a masked image.
    pub(crate) fn masks(self) -> bool {
        matches!(self, Self::Paper | Self::MaskOnly | Self::Compat)
    }
}

impl fmt::Display for LossMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which products may stand in for a pair's own product. It is never a product with the same id or the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partner {
    /// Only products of another category, where the catalogue has categories: a product of the same category deserves the
    /// same background, so it would teach nothing or the wrong thing.
    Category,
    /// Any other product.
    Uniform,
}

/// How a product image is masked (`mask.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// Side of a masked patch in patches of the vision tower, 1 to 64, so that it hides whole tokens whatever the size of image
    /// and tower; in mode `compat` in CAIG's patches, 32 pixels of the image as it is. Default 1: 32 of its 800 pixels are 0.96
    /// patches of its tower (336 pixels, patches of 14).
    pub patch: u32,
    /// Share of the patches that is blackened, rounded down to whole patches, 0 to 1; 0 blackens none. Default 0.75 (CAIG
    /// `train_pcpo.py`).
    pub ratio: f64,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self {
            patch: 1,
            ratio: 0.75,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::of(LossMode::JointSwap)
    }
}

impl LossConfig {
    /// The defaults of a mode: CAIG's weights for `compat`, those measured on the simulated shop for every other.
    pub fn of(mode: LossMode) -> Self {
        let ours = Self {
            mode,
            beta: 1.0,
            pcpo_beta: 0.5,
            pcpo_weight: 60.0,
            pcpo_evidence: true,
            nll_weight: 10.0,
            support_weight: 100.0,
            support_threshold: 1e-3,
            importance_clip: 0.0,
            partner: Partner::Category,
            mask: MaskConfig::default(),
        };
        match mode {
            LossMode::Compat => Self {
                beta: caig::BETA,
                pcpo_beta: caig::PCPO_BETA,
                pcpo_weight: caig::PCPO_WEIGHT,
                pcpo_evidence: caig::PCPO_EVIDENCE,
                nll_weight: caig::NLL_WEIGHT,
                support_weight: caig::SUPPORT_WEIGHT,
                ..ours
            },
            _ => ours,
        }
    }

    /// The weights with which a run in mode `compat` is not CAIG's, each with the value that is; none in other modes.
    pub(crate) fn departures(&self) -> Vec<String> {
        let default = Self::of(self.mode);
        let weights = [
            ("beta", self.beta, default.beta),
            ("pcpo_beta", self.pcpo_beta, default.pcpo_beta),
            ("pcpo_weight", self.pcpo_weight, default.pcpo_weight),
            ("nll_weight", self.nll_weight, default.nll_weight),
            ("support_weight", self.support_weight, default.support_weight),
            ("importance_clip", self.importance_clip, default.importance_clip),
        ];
        let differs = |&(_, value, caig): &(&str, f64, f64)| self.mode == LossMode::Compat && value != caig;
        weights
            .iter()
            .filter(|weight| differs(weight))
            .map(|(key, value, caig)| format!("loss.{key} = {value} (CAIG: {caig})"))
            .collect()
    }

    /// Whether negatives are made: the mode has one and it weighs something.
    pub(crate) fn has_negatives(&self) -> bool {
        self.mode != LossMode::Dpo && self.pcpo_weight > 0.0
    }

    /// Whether tokens count in the product-centric term by what they speak for their product.
    pub(crate) fn has_evidence(&self) -> bool {
        self.has_negatives() && self.pcpo_evidence
    }

    /// Whether the policy is held to what the reference holds possible along the negatives.
    pub(crate) fn has_support(&self) -> bool {
        self.has_negatives() && self.support_weight > 0.0
    }

    pub(crate) fn check(&self, check: &mut SettingsCheck) {
        check.within("loss.beta", self.beta, STRENGTHS, "per nat");
        check.within("loss.pcpo_beta", self.pcpo_beta, STRENGTHS, "per nat");
        check.within("loss.pcpo_weight", self.pcpo_weight, 0.0..=MAX_WEIGHT, "");
        let compat = self.mode == LossMode::Compat;
        check.require(
            !(compat && self.pcpo_evidence),
            "loss.pcpo_evidence",
            self.pcpo_evidence,
            "false in mode compat, whose negative may be another completion",
        );
        check.within("loss.nll_weight", self.nll_weight, 0.0..=MAX_WEIGHT, "");
        check.within("loss.support_weight", self.support_weight, 0.0..=MAX_WEIGHT, "");
        check.within("loss.support_threshold", self.support_threshold, 1e-9..=1.0, "");
        check.within("loss.importance_clip", self.importance_clip, 0.0..=10.0, "nats");
        check.within(
            "loss.mask.patch",
            self.mask.patch,
            1..=64,
            "patches of the vision tower",
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

    fn read(json: &str) -> LossConfig {
        serde_json::from_str(json).unwrap()
    }

    fn weights(loss: &LossConfig) -> [f64; 5] {
        [
            loss.beta,
            loss.pcpo_beta,
            loss.pcpo_weight,
            loss.nll_weight,
            loss.support_weight,
        ]
    }

    #[test]
    fn compat_takes_the_weights_of_caigs_code_and_every_other_mode_our_own() {
        for mode in LossMode::ALL {
            let expected = match mode {
                LossMode::Compat => [0.5, 0.5, 1.0, 0.0, 0.0],
                _ => [1.0, 0.5, 60.0, 10.0, 100.0],
            };
            let loss = read(&format!(r#"{{"mode": "{mode}"}}"#));
            assert_eq!((loss.mode, weights(&loss)), (mode, expected));
            assert_eq!(loss, LossConfig::of(mode));
            assert_eq!(loss.pcpo_evidence, mode != LossMode::Compat);
            assert!(loss.departures().is_empty());
        }
        assert_eq!(read("{}"), LossConfig::default());
    }

    #[test]
    fn tokens_have_no_evidence_where_the_negative_may_be_another_completion() {
        let told = |json: &str| {
            let mut check = SettingsCheck::default();
            read(json).check(&mut check);
            check.finish().map_err(|error| error.to_string())
        };
        assert_eq!(told(r#"{"mode": "compat"}"#), Ok(()));
        assert_eq!(told(r#"{"mode": "paper", "pcpo_evidence": true}"#), Ok(()));
        let refused = told(r#"{"mode": "compat", "pcpo_evidence": true}"#).unwrap_err();
        assert!(
            refused.contains("loss.pcpo_evidence = true: expected false"),
            "{refused}"
        );
    }

    #[test]
    fn a_weight_that_is_set_counts_in_every_mode_and_compat_says_how_it_departs() {
        let loss = read(r#"{"nll_weight": 3.0, "beta": 0.5, "mode": "compat"}"#);
        assert_eq!(weights(&loss), [0.5, 0.5, 1.0, 3.0, 0.0]);
        assert_eq!(loss.departures(), ["loss.nll_weight = 3 (CAIG: 0)"]);
        let written = serde_json::to_string(&LossConfig::of(LossMode::Compat)).unwrap();
        assert_eq!(read(&written), LossConfig::of(LossMode::Compat));
    }
}
