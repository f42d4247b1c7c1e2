//! The knobs of the world, with the values of the measured prototype as defaults.

use serde::{Deserialize, Serialize};

/// What kind of shop to simulate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShopWorldConfig {
    /// Products, spread evenly over the 8 categories. Default 400: 8 categories of 50.
    pub products: usize,
    /// Share of products held out for measuring, 0 to 1 exclusive. Default 0.2: 320 to train on, 80 to measure on.
    pub test_share: f64,
    /// Creatives of each product in the click log. Default 12: with 6, a reward model that sees pixels overfits.
    pub creatives_per_product: usize,
    /// Probability that a logged creative has a native scene, and that it has a native prop; 0 to 1. Default 0.97: people
    /// who make advertisements match them to the product, which is what leaves the reward model blind to mismatches. 0.5
    /// simulates a slice of randomised traffic.
    pub log_match: f64,
    /// Extra appeal of the two hot scenes, in log odds; the two hot props have 0.8 of it. At least 0. Default 0.6.
    pub hot: f64,
    /// What a foreign scene costs, in log odds; a foreign prop costs half of it. At least 0. Default 0.8.
    pub mismatch: f64,
    /// Median of the log-normal part of a creative's impressions, before 200 are added. At least 1. Default 4000: it sets
    /// how noisy click labels are.
    pub impression_median: f64,
    /// Largest effect of the position a creative was shown at, in log odds, drawn evenly from both signs. At least 0.
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

/// A configuration that describes no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct InvalidConfig {
    /// Every mistake, each naming the key, the value and what would be right.
    pub problems: Vec<String>,
}

impl ShopWorldConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let shares = [
            ("log_match", self.log_match),
            ("caption_dropout", self.caption_dropout),
            ("sft_match", self.sft_match),
        ];
        let effects = [
            ("hot", self.hot),
            ("mismatch", self.mismatch),
            ("position_bias", self.position_bias),
        ];
        let mut problems = Vec::new();
        let mut require = |good: bool, key: &str, value: f64, wanted: &str| {
            if !good {
                problems.push(format!("{key} = {value}: must be {wanted}"));
            }
        };
        for (key, value) in shares {
            require((0.0..=1.0).contains(&value), key, value, "from 0 to 1");
        }
        for (key, value) in effects {
            require(
                (0.0..=10.0).contains(&value),
                key,
                value,
                "from 0 to 10 (log odds)",
            );
        }
        let counts = |value: usize| value as f64;
        require(
            (16..=1_000_000).contains(&self.products),
            "products",
            counts(self.products),
            "16 to 1000000",
        );
        let creatives = self.creatives_per_product;
        require(
            (2..=1000).contains(&creatives),
            "creatives_per_product",
            counts(creatives),
            "2 to 1000",
        );
        let median = self.impression_median;
        require(
            (1.0..=1e9).contains(&median),
            "impression_median",
            median,
            "from 1 to 1e9 (impressions)",
        );
        let size = self.creative_size;
        require(
            (8..=512).contains(&size),
            "creative_size",
            size.into(),
            "8 to 512 (pixels)",
        );
        let size = self.product_size;
        require(
            (16..=1024).contains(&size),
            "product_size",
            size.into(),
            "16 to 1024 (pixels)",
        );
        let test = counts(self.products) * self.test_share;
        let both_sides = test >= 2.0 && counts(self.products) - test >= 2.0;
        require(
            both_sides,
            "test_share",
            self.test_share,
            "between 0 and 1, leaving 2 products on each side",
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidConfig { problems })
        }
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
                problems.iter().any(|problem| problem.starts_with(key)),
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
