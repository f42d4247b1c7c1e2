//! What guardrails can be told: the `[actor.guardrails]` table.

use crate::config::given;
use common::{DecidingSettings, SettingsCheck, stated};
use imaging::guardrails::{blank, halo, leakage, perceptual_hash, visibility};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which candidates are barred: recorded with the guardrail that found them, and never compared with others.
///
/// `halo`, `leakage` and `visibility` compare the picture with the product as it stands in it. Where an image generator does not
/// tell that, as the simulated shop does not, they do nothing, and `blank` looks at the whole picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardrailsConfig {
    /// A file of words and phrases that no description may have, one a line; a description that has one is not rendered.
    /// Compared are whole words, whatever their case. Default empty: none.
    pub text_blocklist: String,
    /// A picture is blank when its background's luma has a standard deviation below this, in levels of 255, 0 to 255; 0 asks for
    /// none. Default 2: even a studio wall has more grain, and one colour with a decoder's rounding stays below 1.
    pub min_spread: f64,
    /// Or when more than this share of its background is near black, 0 to 1; 1 allows all. Default 0.98: a night scene has lights.
    pub max_black_share: f64,
    /// The largest rim along the product's soft edge that is neither the product's colour nor the background's, in levels of
    /// 255, 0 to 255; 255 allows any. Default 10 (`imaging/src/guardrails/halo.rs` says what it was measured on).
    pub max_halo: f64,
    /// The largest share of the product's opaque pixels that may have changed, 0 to 1; 1 allows all. Default 0: the product is
    /// kept pixel for pixel. Pictures that come as JPEG change.
    pub max_changed: f64,
    /// The least share of the product's outline that stands out from the background, 0 to 1; 0 asks for none. Default 0.5: with less
    /// than half of it the shape is not recognised.
    pub min_distinct_outline: f64,
    /// The least share of the canvas that the product takes, 0 to 1; 0 asks for none. Default 0.01: a tenth of the canvas's side.
    pub min_product_area: f64,
    /// Whether a picture with nearly the background of an earlier candidate of its group is barred. Default false: two descriptions
    /// that differ by a prop give similar pictures, and which is better is the reward model's to say.
    pub near_duplicates: bool,
    /// In how many of 64 bits of their perceptual hashes near-duplicates differ at most, 0 to 64. Default 4.
    pub near_duplicate_bits: u32,
    /// A directory of pictures (PNG, JPEG) that no candidate may nearly show. Default empty: none.
    pub image_blocklist: String,
    /// In how many of 64 bits a picture may differ from a listed one and still be taken for it, 0 to 64. Default 10: copies that were
    /// scaled or compressed mostly stay within, unrelated pictures lie around 32.
    pub image_blocklist_bits: u32,
}

impl Default for GuardrailsConfig {
    fn default() -> Self {
        Self {
            text_blocklist: String::new(),
            min_spread: blank::MIN_SPREAD,
            max_black_share: blank::MAX_BLACK_SHARE,
            max_halo: halo::MAX_HALO,
            max_changed: leakage::MAX_CHANGED,
            min_distinct_outline: visibility::MIN_DISTINCT_SHARE,
            min_product_area: visibility::MIN_AREA_SHARE,
            near_duplicates: false,
            near_duplicate_bits: perceptual_hash::MAX_DUPLICATE_DISTANCE,
            image_blocklist: String::new(),
            image_blocklist_bits: perceptual_hash::MAX_BLOCKED_DISTANCE,
        }
    }
}

impl GuardrailsConfig {
    /// Notes what cannot be used.
    pub(crate) fn check(&self, check: &mut SettingsCheck) {
        let paths = [
            ("guardrails.text_blocklist", &self.text_blocklist),
            ("guardrails.image_blocklist", &self.image_blocklist),
        ];
        for (key, text) in paths {
            check.require(!text.contains('\0'), key, text, "a path, or nothing");
        }
        check.within("guardrails.min_spread", self.min_spread, 0.0..=255.0, "levels");
        check.within("guardrails.max_halo", self.max_halo, 0.0..=255.0, "levels");
        let shares = [
            ("guardrails.max_black_share", self.max_black_share),
            ("guardrails.max_changed", self.max_changed),
            ("guardrails.min_distinct_outline", self.min_distinct_outline),
            ("guardrails.min_product_area", self.min_product_area),
        ];
        for (key, share) in shares {
            check.within(key, share, 0.0..=1.0, "");
        }
        let bits = [
            ("guardrails.near_duplicate_bits", self.near_duplicate_bits),
            ("guardrails.image_blocklist_bits", self.image_blocklist_bits),
        ];
        for (key, bits) in bits {
            check.within(key, bits, 0..=64, "bits");
        }
    }

    /// What they decide: all of them do. Of the lists is stated whether there are any; what they hold is known to who has opened them.
    pub(crate) fn deciding(&self) -> DecidingSettings {
        let Self {
            text_blocklist,
            min_spread,
            max_black_share,
            max_halo,
            max_changed,
            min_distinct_outline,
            min_product_area,
            near_duplicates,
            near_duplicate_bits,
            image_blocklist,
            image_blocklist_bits,
        } = self;
        let settings = [
            ("text_blocklist", given(text_blocklist)),
            ("min_spread", stated(min_spread)),
            ("max_black_share", stated(max_black_share)),
            ("max_halo", stated(max_halo)),
            ("max_changed", stated(max_changed)),
            ("min_distinct_outline", stated(min_distinct_outline)),
            ("min_product_area", stated(min_product_area)),
            ("near_duplicates", stated(near_duplicates)),
            ("near_duplicate_bits", stated(near_duplicate_bits)),
            ("image_blocklist", given(image_blocklist)),
            ("image_blocklist_bits", stated(image_blocklist_bits)),
        ];
        DecidingSettings::of_table("actor.guardrails", settings)
    }

    /// The file of listed phrases.
    pub(super) fn text_blocklist(&self) -> Option<&Path> {
        named(&self.text_blocklist)
    }

    /// The directory of listed pictures.
    pub(super) fn image_blocklist(&self) -> Option<&Path> {
        named(&self.image_blocklist)
    }
}

fn named(text: &str) -> Option<&Path> {
    (!text.is_empty()).then(|| Path::new(text))
}
