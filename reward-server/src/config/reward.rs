//! The `[reward]` table: shape and training of a reward model.

use common::{InvalidConfig, SettingsCheck};
use models::clip::ClipVisionConfig;
use models::ctr::{ConcatConfig, CtrConfig, CtrForm, SiameseConfig};
use models::llama::LlamaConfig;
use models::lora::LoraConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most creatives in one step: each leaves activations behind.
const MAX_CREATIVES: usize = 65_536;

/// Most patches along a side: attention grows with the fourth power of it.
const MAX_PATCHES_A_SIDE: usize = 64;

/// Most weights in all layers: training keeps four numbers of single precision for each, 32 GiB here.
const MAX_WEIGHTS: usize = 1 << 31;

/// Fewest tokens that `concat` reads: the begin token, and at least one for each of the question's words and its mark.
const LEAST_QUESTION: usize = 7;

/// How a reward model is built and trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
    /// Directory of a model to train instead of one from nothing: CAIG's reward model, or a policy in any layout, on whose body
    /// its two heads are put. Its form is CAIG's, its shape its own: `form`, the settings of the shape, `dropout` and
    /// `pixel_noise` do not count. Default empty: none.
    pub base: String,
    /// The adapter that is trained beside a loaded model's body and then folded into it, as `learner.lora`. Default rank 16,
    /// alpha 16, no dropout, all seven projections.
    pub lora: LoraConfig,
    /// Whether the way back through a loaded model computes each decoder layer again, as `learner.activation_checkpointing`.
    /// Default false.
    pub activation_checkpointing: bool,
    /// `siamese` (one creative, one score) or `concat` (CAIG's: two side by side, two logits). Default `siamese`: exactly
    /// antisymmetric, and one pass per creative instead of one per ordered pair.
    pub form: CtrForm,
    /// Side to which creatives are resized, in pixels, 1 to 4096; a multiple of `patch_size`. Default 48: the built-in
    /// shop's size.
    pub image_size: usize,
    /// Side of a patch in pixels, 1 to 4096, with at most 64 patches a side. Default 16: 9 patches. On the built-in shop patches of 8 pixels cost twice as
    /// much and learn less from as many creatives (0.84 of the label ceiling where 16 reach 0.88).
    pub patch_size: usize,
    /// Width of a token, 2 to 8192; a multiple of 2 x `heads`. All layers together have at most 2^31 weights. Default 64.
    pub hidden_size: usize,
    /// Width inside the feed-forward blocks, 1 to 32768. Default 128.
    pub intermediate_size: usize,
    /// Layers of the encoder; of the tower and of the decoder alike for `concat`. 1 to 64. Default 2.
    pub layers: usize,
    /// Attention heads, 1 to 1024. Default 4.
    pub heads: usize,
    /// Text tokens that are read, 1 to 4096; a longer caption is cut. Default 32: captions of the built-in shop take 5 to
    /// 10. `concat` reads its answer at the end of the question, which takes 7 to 36 tokens by vocabulary and is never cut:
    /// training refuses a number that has no room for it, and a long caption gives way.
    pub max_text_tokens: usize,
    /// Most entries of the tokenizer that is trained on the captions, 260 to 1000000. Default 1024: every word of the
    /// built-in shop becomes one token.
    pub vocab_size: usize,
    /// Passes over the training products, 1 to 10000. Default 24: on the built-in shop 12 reach 0.01 of the label ceiling
    /// less.
    pub epochs: usize,
    /// Products of one step, 1 to 4096, with at most 65536 creatives. Default 8.
    pub products_per_batch: usize,
    /// Most creatives of one product in one step, 2 to 4096; others wait for the next epoch. Default 12.
    pub creatives_per_product: usize,
    /// Parts into which the products of a step are split for parallel passes, 1 to 64. Default 2. It belongs to the
    /// result (noise is drawn per part), the number of threads does not.
    pub micro_batches: usize,
    /// Peak learning rate of AdamW (0.9, 0.999), 1e-12 to 1. It falls along a half cosine to 0. Default 0.002; 0.001 is too slow
    /// for a few hundred steps, 0.003 is past the best.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises, 0 to 1000000; cut to the steps there are. Default 20.
    pub warmup_steps: u64,
    /// Decoupled weight decay of matrices, 0 to 100. Default 0.5: a pixel model overfits a few thousand creatives.
    pub weight_decay: f64,
    /// Largest global norm of a step's gradient, 1e-6 to 1e6. Default 1.
    pub max_grad_norm: f64,
    /// Share of activations dropped while training the siamese form, 0 to 0.99. Default 0.1.
    pub dropout: f64,
    /// Standard deviation of noise added to the normalised pixels while training, 0 to 10. Default 0.05.
    pub pixel_noise: f64,
    /// Share of products whose caption is withheld in a step, 0 to 1, so that a creative without a caption can be scored.
    /// Default 0.1.
    pub caption_dropout: f64,
    /// A creative needs more impressions than this to be part of a labelled pair, 0 to 1e12. Default 1000, as CAIG
    /// (`shuffle_ali_data_preprocess.py`).
    pub min_impressions: u64,
    /// Weight of the pairwise loss (Bradley-Terry; for `concat` the cross-entropy), 0 to 10000. Default 1.
    pub pair_weight: f64,
    /// Weight of the second loss, 0 to 10000: for `siamese` the likelihood of how a product's clicks fell on its creatives,
    /// per click, so that a product counts once however often it was clicked (the likelihood of all its clicks would let the
    /// most popular products drown out the others); for `concat` the squared error of the click-through rates, another
    /// quantity: set 0.5 with it, as CAIG does (`llava_llama_cls_pointloss.py`: CE + 0.5 MSE). Default 3, for `siamese`: either
    /// loss alone reaches 0.01 to 0.03 of the label ceiling less on the built-in shop.
    pub point_weight: f64,
    /// Difference of scores that the pairwise loss of `siamese` counts as one unit, 0.001 to 1000. Default 0.3: the two losses
    /// then ask for scores of about the same size, log odds of a click; at 1 they disagree, which costs 0.01.
    pub pair_temperature: f64,
    /// Share of the training products kept back for calibration, 0 to 0.5. Default 0.1.
    pub validation_share: f64,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            base: String::new(),
            lora: LoraConfig::new(16, 16.0),
            activation_checkpointing: false,
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
        let mut check = SettingsCheck::default();
        self.check_shape(&mut check);
        for (field, value, wanted) in self.lora.mistakes() {
            check.require(false, &format!("lora.{field}"), format_args!("{value}"), wanted);
        }
        let counts = [
            ("epochs", self.epochs, 1..=10_000),
            ("products_per_batch", self.products_per_batch, 1..=4096),
            ("creatives_per_product", self.creatives_per_product, 2..=4096),
            ("micro_batches", self.micro_batches, 1..=64),
        ];
        for (key, value, range) in counts {
            check.within(key, value, range, "");
        }
        check.require(
            self.products_per_batch.saturating_mul(self.creatives_per_product) <= MAX_CREATIVES,
            "products_per_batch",
            self.products_per_batch,
            format_args!(
                "at most {MAX_CREATIVES} creatives in a step, products_per_batch x creatives_per_product"
            ),
        );
        check.within("warmup_steps", self.warmup_steps, 0..=1_000_000, "steps");
        check.within("min_impressions", self.min_impressions, 0..=1_000_000_000_000, "");
        let numbers = [
            ("learning_rate", self.learning_rate, 1e-12..=1.0),
            ("weight_decay", self.weight_decay, 0.0..=100.0),
            ("max_grad_norm", self.max_grad_norm, 1e-6..=1e6),
            ("dropout", self.dropout, 0.0..=0.99),
            ("pixel_noise", self.pixel_noise, 0.0..=10.0),
            ("caption_dropout", self.caption_dropout, 0.0..=1.0),
            ("pair_weight", self.pair_weight, 0.0..=1e4),
            ("point_weight", self.point_weight, 0.0..=1e4),
            ("pair_temperature", self.pair_temperature, 1e-3..=1e3),
            ("validation_share", self.validation_share, 0.0..=0.5),
        ];
        for (key, value, range) in numbers {
            check.within(key, value, range, "");
        }
        let some_loss = self.pair_weight != 0.0 || self.point_weight != 0.0;
        check.require(
            some_loss,
            "pair_weight",
            self.pair_weight,
            "more than 0 where point_weight is 0",
        );
        check.finish()
    }

    /// Whether the network compares two creatives and does not score each.
    pub(crate) fn compares_pairs(&self) -> bool {
        !self.base.is_empty() || self.form == CtrForm::Concat
    }

    fn check_shape(&self, check: &mut SettingsCheck) {
        let counts = [
            ("patch_size", self.patch_size, 1..=4096, "pixels"),
            ("image_size", self.image_size, 1..=4096, "pixels"),
            ("hidden_size", self.hidden_size, 2..=8192, ""),
            ("intermediate_size", self.intermediate_size, 1..=32_768, ""),
            ("layers", self.layers, 1..=64, ""),
            ("heads", self.heads, 1..=1024, ""),
            ("max_text_tokens", self.max_text_tokens, 1..=4096, "tokens"),
            ("vocab_size", self.vocab_size, 260..=1_000_000, ""),
        ];
        for (key, value, range, unit) in counts {
            check.within(key, value, range, unit);
        }
        let multiple = |of: usize, value: usize| of > 0 && value.is_multiple_of(of);
        check.require(
            multiple(self.patch_size, self.image_size),
            "image_size",
            self.image_size,
            "a multiple of patch_size",
        );
        check.require(
            multiple(self.heads.saturating_mul(2), self.hidden_size),
            "hidden_size",
            self.hidden_size,
            "a multiple of 2 x heads",
        );
        let patches = self.image_size.checked_div(self.patch_size).unwrap_or(0);
        check.require(
            patches <= MAX_PATCHES_A_SIDE,
            "patch_size",
            self.patch_size,
            format_args!("at most {MAX_PATCHES_A_SIDE} patches along image_size"),
        );
        check.require(
            self.encoder_weights() <= MAX_WEIGHTS,
            "hidden_size",
            self.hidden_size,
            format_args!("at most {MAX_WEIGHTS} weights in all layers"),
        );
        check.require(
            self.form == CtrForm::Siamese || self.max_text_tokens >= LEAST_QUESTION,
            "max_text_tokens",
            self.max_text_tokens,
            format_args!(
                "{LEAST_QUESTION} or more for concat, which reads its answer where the question ends"
            ),
        );
    }

    /// About how many weights the layers have.
    fn encoder_weights(&self) -> usize {
        let attention = self
            .hidden_size
            .saturating_mul(self.hidden_size)
            .saturating_mul(4);
        let feed_forward = self
            .hidden_size
            .saturating_mul(self.intermediate_size)
            .saturating_mul(3);
        attention.saturating_add(feed_forward).saturating_mul(self.layers)
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
            rope_scaling: None,
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
                problems.iter().any(|problem| problem.key == key),
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
