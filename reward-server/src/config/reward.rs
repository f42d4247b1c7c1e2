//! The `[reward]` table: shape and training of a reward model.

use super::{InvalidConfig, Problems};
use models::clip::ClipVisionConfig;
use models::ctr::{ConcatConfig, CtrConfig, CtrForm, SiameseConfig};
use models::llama::LlamaConfig;
use serde::{Deserialize, Serialize};

/// How a reward model is built and trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
    /// `siamese` (one creative, one score) or `concat` (CAIG's: two side by side, two logits). Default `siamese`: exactly
    /// antisymmetric, and one pass per creative instead of one per ordered pair.
    pub form: CtrForm,
    /// Side to which creatives are resized, in pixels; a multiple of `patch_size`. Default 48: the built-in shop's size.
    pub image_size: usize,
    /// Side of a patch in pixels, at least 1. Default 16: 9 patches. On the built-in shop patches of 8 pixels cost twice as
    /// much and learn less from as many creatives (0.84 of the label ceiling where 16 reach 0.88).
    pub patch_size: usize,
    /// Width of a token; a multiple of 2 x `heads`. Default 64.
    pub hidden_size: usize,
    /// Width inside the feed-forward blocks, at least 1. Default 128.
    pub intermediate_size: usize,
    /// Layers of the encoder; of the tower and of the decoder alike for `concat`. 1 to 64. Default 2.
    pub layers: usize,
    /// Attention heads, at least 1. Default 4.
    pub heads: usize,
    /// Text tokens that are read, 1 to 4096; a longer caption is cut. Default 32: captions of the built-in shop take 5 to
    /// 10, the question of `concat` takes up to 20 more.
    pub max_text_tokens: usize,
    /// Most entries of the tokenizer that is trained on the captions, 260 to 1000000. Default 1024: every word of the
    /// built-in shop becomes one token.
    pub vocab_size: usize,
    /// Passes over the training products, 1 to 10000. Default 24: on the built-in shop 12 reach 0.01 of the label ceiling
    /// less.
    pub epochs: usize,
    /// Products of one step, 1 to 4096. Default 8.
    pub products_per_batch: usize,
    /// Most creatives of one product in one step, 2 to 4096; others wait for the next epoch. Default 12.
    pub creatives_per_product: usize,
    /// Parts into which the products of a step are split for parallel passes, 1 to 64. Default 2. It belongs to the
    /// result (noise is drawn per part), the number of threads does not.
    pub micro_batches: usize,
    /// Peak learning rate of AdamW (0.9, 0.999), above 0. It falls along a half cosine to 0. Default 0.002; 0.001 is too slow
    /// for a few hundred steps, 0.003 is past the best.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises, 0 to 1000000; cut to the steps there are. Default 20.
    pub warmup_steps: u64,
    /// Decoupled weight decay of matrices, at least 0. Default 0.5: a pixel model overfits a few thousand creatives.
    pub weight_decay: f64,
    /// Largest global norm of a step's gradient, above 0. Default 1.
    pub max_grad_norm: f64,
    /// Share of activations dropped while training the siamese form, at least 0 and below 1. Default 0.1.
    pub dropout: f64,
    /// Standard deviation of noise added to the normalised pixels while training, at least 0. Default 0.05.
    pub pixel_noise: f64,
    /// Share of products whose caption is withheld in a step, 0 to 1, so that a creative without a caption can be scored.
    /// Default 0.1.
    pub caption_dropout: f64,
    /// A creative needs more impressions than this to be part of a labelled pair. Default 1000, as CAIG
    /// (`shuffle_ali_data_preprocess.py`).
    pub min_impressions: u64,
    /// Weight of the pairwise loss (Bradley-Terry; for `concat` the cross-entropy), at least 0. Default 1.
    pub pair_weight: f64,
    /// Weight of the second loss, at least 0: for `siamese` the likelihood of how a product's clicks fell on its creatives,
    /// per click, so that a product counts once however often it was clicked (the likelihood of all its clicks would let the
    /// most popular products drown out the others); for `concat` the squared error of the click-through rates (CAIG: 0.5). Default 3: either loss alone reaches 0.01 to 0.03
    /// of the label ceiling less on the built-in shop.
    pub point_weight: f64,
    /// Difference of scores that the pairwise loss of `siamese` counts as one unit, above 0. Default 0.3: the two losses
    /// then ask for scores of about the same size, log odds of a click; at 1 they disagree, which costs 0.01.
    pub pair_temperature: f64,
    /// Share of the training products kept back for calibration, 0 to 0.5. Default 0.1.
    pub validation_share: f64,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            form: CtrForm::Siamese,
            image_size: 48,
            patch_size: 16,
            hidden_size: 64,
            intermediate_size: 128,
            layers: 2,
            heads: 4,
            max_text_tokens: 32,
            vocab_size: 1024,
            epochs: 24,
            products_per_batch: 8,
            creatives_per_product: 12,
            micro_batches: 2,
            learning_rate: 2e-3,
            warmup_steps: 20,
            weight_decay: 0.5,
            max_grad_norm: 1.0,
            dropout: 0.1,
            pixel_noise: 0.05,
            caption_dropout: 0.1,
            min_impressions: 1000,
            pair_weight: 1.0,
            point_weight: 3.0,
            pair_temperature: 0.3,
            validation_share: 0.1,
        }
    }
}

impl RewardConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut problems = Problems::default();
        self.check_shape(&mut problems);
        let counts = [
            ("epochs", self.epochs, 1..=10_000, "1 to 10000"),
            (
                "products_per_batch",
                self.products_per_batch,
                1..=4096,
                "1 to 4096",
            ),
            (
                "creatives_per_product",
                self.creatives_per_product,
                2..=4096,
                "2 to 4096",
            ),
            ("micro_batches", self.micro_batches, 1..=64, "1 to 64"),
            (
                "warmup_steps",
                self.warmup_steps as usize,
                0..=1_000_000,
                "0 to 1000000",
            ),
        ];
        for (key, value, range, wanted) in counts {
            problems.require(range.contains(&value), key, value as f64, wanted);
        }
        let sizes = [
            ("weight_decay", self.weight_decay),
            ("pixel_noise", self.pixel_noise),
            ("pair_weight", self.pair_weight),
            ("point_weight", self.point_weight),
        ];
        for (key, value) in sizes {
            problems.require((0.0..=1e6).contains(&value), key, value, "from 0 to 1e6");
        }
        let positive = [
            ("learning_rate", self.learning_rate),
            ("max_grad_norm", self.max_grad_norm),
            ("pair_temperature", self.pair_temperature),
        ];
        for (key, value) in positive {
            problems.require(value > 0.0 && value <= 1e6, key, value, "above 0 and at most 1e6");
        }
        let some_loss = self.pair_weight > 0.0 || self.point_weight > 0.0;
        problems.require(
            some_loss,
            "pair_weight",
            self.pair_weight,
            "above 0 when point_weight is 0",
        );
        problems.require(
            (0.0..1.0).contains(&self.dropout),
            "dropout",
            self.dropout,
            "at least 0 and below 1",
        );
        let share = self.caption_dropout;
        problems.require(
            (0.0..=1.0).contains(&share),
            "caption_dropout",
            share,
            "from 0 to 1",
        );
        let share = self.validation_share;
        problems.require(
            (0.0..=0.5).contains(&share),
            "validation_share",
            share,
            "from 0 to 0.5",
        );
        problems.result()
    }

    fn check_shape(&self, problems: &mut Problems) {
        let counts = [
            ("patch_size", self.patch_size, 1..=4096, "1 to 4096 (pixels)"),
            ("image_size", self.image_size, 1..=4096, "1 to 4096 (pixels)"),
            ("hidden_size", self.hidden_size, 2..=65_536, "2 to 65536"),
            (
                "intermediate_size",
                self.intermediate_size,
                1..=1_048_576,
                "1 to 1048576",
            ),
            ("layers", self.layers, 1..=64, "1 to 64"),
            ("heads", self.heads, 1..=1024, "1 to 1024"),
            ("max_text_tokens", self.max_text_tokens, 1..=4096, "1 to 4096"),
            ("vocab_size", self.vocab_size, 260..=1_000_000, "260 to 1000000"),
        ];
        for (key, value, range, wanted) in counts {
            problems.require(range.contains(&value), key, value as f64, wanted);
        }
        let multiple = |of: usize, value: usize| of > 0 && value.is_multiple_of(of);
        let side = self.image_size;
        problems.require(
            multiple(self.patch_size, side),
            "image_size",
            side as f64,
            "a multiple of patch_size",
        );
        let width = self.hidden_size;
        problems.require(
            multiple(2 * self.heads, width),
            "hidden_size",
            width as f64,
            "a multiple of 2 x heads",
        );
    }

    /// Shape of the network for a tokenizer of `vocab_size` entries.
    pub fn network(&self, vocab_size: usize) -> CtrConfig {
        match self.form {
            CtrForm::Siamese => CtrConfig::Siamese(SiameseConfig {
                image_size: self.image_size,
                patch_size: self.patch_size,
                hidden_size: self.hidden_size,
                intermediate_size: self.intermediate_size,
                num_hidden_layers: self.layers,
                num_attention_heads: self.heads,
                vocab_size,
                max_caption_tokens: self.max_text_tokens,
                layer_norm_eps: 1e-5,
            }),
            CtrForm::Concat => self.concat(vocab_size),
        }
    }

    fn concat(&self, vocab_size: usize) -> CtrConfig {
        let vision = ClipVisionConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_channels: 3,
            image_size: self.image_size,
            patch_size: self.patch_size,
            layer_norm_eps: 1e-5,
        };
        let text = LlamaConfig {
            vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            max_position_embeddings: 2 * vision.num_patches() + self.max_text_tokens,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
        };
        CtrConfig::Concat(ConcatConfig {
            vision,
            text,
            vision_feature_layer: -1,
            max_text_tokens: self.max_text_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_build_both_forms() {
        for form in [CtrForm::Siamese, CtrForm::Concat] {
            let config = RewardConfig {
                form,
                ..RewardConfig::default()
            };
            assert_eq!(config.validate(), Ok(()));
            assert!(config.network(512).check().is_ok());
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_by_key() {
        let config = RewardConfig {
            image_size: 50,
            hidden_size: 66,
            epochs: 0,
            learning_rate: f64::NAN,
            dropout: 1.0,
            pair_weight: 0.0,
            point_weight: 0.0,
            ..RewardConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        for key in [
            "image_size",
            "hidden_size",
            "epochs",
            "learning_rate",
            "dropout",
            "pair_weight",
        ] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(key)),
                "{key} is not in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 6);
    }

    #[test]
    fn an_unknown_key_is_refused_and_missing_ones_take_their_defaults() {
        assert!(serde_json::from_str::<RewardConfig>(r#"{"epoch": 5}"#).is_err());
        let config: RewardConfig = serde_json::from_str(r#"{"form": "concat"}"#).unwrap();
        assert_eq!(
            config,
            RewardConfig {
                form: CtrForm::Concat,
                ..RewardConfig::default()
            }
        );
    }
}
