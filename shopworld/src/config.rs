//! The knobs of the world, with the values of the measured prototype as defaults.

use common::{DecidingSettings, InvalidConfig, SettingsCheck, stated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most that cut-outs and creatives may take in memory, in bytes.
const MAX_PICTURE_BYTES: u64 = 16 << 30;

/// What kind of shop to simulate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShopWorldConfig {
    /// Products, spread evenly over the 8 categories, 16 to 1000000; their pictures take at most 16 GiB. Default 400: 8 categories of 50.
    pub products: usize,
    /// Share of products held out for measuring, 0 to 1 exclusive. Default 0.2: 320 to train on, 80 to measure on.
    pub test_share: f64,
    /// Creatives of each product in the click log, 2 to 1000. Default 12: with 6, a reward model that sees pixels overfits.
    pub creatives_per_product: usize,
    /// Probability that a logged creative has a native scene, and that it has a native prop; 0 to 1. Default 0.97: people
    /// who make advertisements match them to the product, which is what leaves the reward model blind to mismatches. 0.5
    /// simulates a slice of randomised traffic.
    pub log_match: f64,
    /// Extra appeal of the two hot scenes, in log odds; the two hot props have 0.8 of it. 0 to 10. Default 0.6.
    pub hot: f64,
    /// What a foreign scene costs, in log odds; a foreign prop costs half of it. 0 to 10. Default 0.8.
    pub mismatch: f64,
    /// Median of the log-normal part of a creative's impressions, before 200 are added, 1 to 1e9. Default 4000: it sets
    /// how noisy click labels are.
    pub impression_median: f64,
    /// Largest effect of the position a creative was shown at, in log odds, drawn evenly from both signs, 0 to 10.
    /// Default 0.05. It is part of the clicks and not of the true rate.
    pub position_bias: f64,
    /// Share of captions without the noun, so that the product can only be told from its picture; 0 to 1. Default 0.1.
    pub caption_dropout: f64,
    /// Probability that a pre-training description has a native scene, and that it has a native prop; 0 to 1. Default
    /// 0.8: leaves the policy room to learn the rest from clicks.
    pub sft_match: f64,
    /// Side of the pictures in the click log and the corpus, in pixels, 8 to 512. Default 48: 36 patches of 8 pixels.
    pub creative_size: u32,
    /// Side of product cut-outs, in pixels, 16 to 1024. Default 96: twice the default creative, for sharp contact sheets.
    pub product_size: u32,
}

impl Default for ShopWorldConfig {
    fn default() -> Self {
        Self {
            products: 400,
            test_share: 0.2,
            creatives_per_product: 12,
            log_match: 0.97,
            hot: 0.6,
            mismatch: 0.8,
            impression_median: 4000.0,
            position_bias: 0.05,
            caption_dropout: 0.1,
            sft_match: 0.8,
            creative_size: 48,
            product_size: 96,
        }
    }
}

impl ShopWorldConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        check.within("products", self.products, 16..=1_000_000, "");
        check.within("creatives_per_product", self.creatives_per_product, 2..=1000, "");
        check.within("creative_size", self.creative_size, 8..=512, "pixels");
        check.within("product_size", self.product_size, 16..=1024, "pixels");
        let shares = [
            ("log_match", self.log_match),
            ("caption_dropout", self.caption_dropout),
            ("sft_match", self.sft_match),
        ];
        for (key, value) in shares {
            check.within(key, value, 0.0..=1.0, "");
        }
        let effects = [
            ("hot", self.hot),
            ("mismatch", self.mismatch),
            ("position_bias", self.position_bias),
        ];
        for (key, value) in effects {
            check.within(key, value, 0.0..=10.0, "log odds");
        }
        check.within(
            "impression_median",
            self.impression_median,
            1.0..=1e9,
            "impressions",
        );
        let products = self.products as f64;
        let test = products * self.test_share;
        check.require(
            test >= 2.0 && products - test >= 2.0,
            "test_share",
            self.test_share,
            "between 0 and 1, leaving 2 products on each side",
        );
        // A single value far out of its range has been named already.
        let bytes = self.picture_bytes();
        check.require(
            !check.is_clean() || bytes <= MAX_PICTURE_BYTES,
            "products",
            self.products,
            format_args!(
                "fewer or smaller pictures: {} GiB of cut-outs and creatives, at most {}",
                bytes >> 30,
                MAX_PICTURE_BYTES >> 30
            ),
        );
        check.finish()
    }

    /// The settings of these that decide what is rendered of a description. Products are compared by themselves.
    pub fn deciding(&self) -> DecidingSettings {
        let Self {
            creative_size,
            products: _,
            test_share: _,
            creatives_per_product: _,
            log_match: _,
            hot: _,
            mismatch: _,
            impression_median: _,
            position_bias: _,
            caption_dropout: _,
            sft_match: _,
            product_size: _,
        } = self;
        DecidingSettings::of_table("shopworld", [("creative_size", stated(creative_size))])
    }

    /// What cut-outs and creatives take in memory.
    fn picture_bytes(&self) -> u64 {
        let pixels = |side: u32| u64::from(side).saturating_mul(side.into());
        let creatives = pixels(self.creative_size)
            .saturating_mul(3)
            .saturating_mul(self.creatives_per_product as u64);
        let product = pixels(self.product_size)
            .saturating_mul(4)
            .saturating_add(creatives);
        product.saturating_mul(self.products as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_world_is_valid() {
        assert_eq!(ShopWorldConfig::default().validate(), Ok(()));
    }

    #[test]
    fn all_mistakes_are_reported_at_once_by_key() {
        let config = ShopWorldConfig {
            products: 3,
            log_match: 1.2,
            hot: f64::NAN,
            test_share: 1.0,
            creative_size: 0,
            ..ShopWorldConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        for key in ["products", "log_match", "hot", "test_share", "creative_size"] {
            assert!(
                problems.iter().any(|problem| problem.key == key),
                "{key} is not in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 5);
    }

    #[test]
    fn an_unknown_key_is_refused_and_missing_ones_take_their_defaults() {
        assert!(serde_json::from_str::<ShopWorldConfig>(r#"{"prodcuts": 5}"#).is_err());
        let config: ShopWorldConfig = serde_json::from_str(r#"{"products": 160}"#).unwrap();
        assert_eq!(
            config,
            ShopWorldConfig {
                products: 160,
                ..ShopWorldConfig::default()
            }
        );
    }
}
