//! A trained reward network with everything that turns creatives and captions into its input and its output into
//! probabilities; reading and writing it as a directory.
//!
//! The directory holds `config.json`, `model.safetensors` (Hugging Face layout) and `tokenizer.json`. Equal models give
//! equal bytes, and the digest is that of the bytes.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, buffer::ConvertBuffer};
use serde::{Deserialize, Serialize};

use super::{Calibration, CtrConfig, CtrForm, CtrNetwork, TokenRectangle};
use crate::directory::{begin, read_json, read_weights, to_json, write};
use crate::error::ModelError;
use crate::limits;
use crate::processor::{Fit, ImageProcessor};
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::weights::{METADATA, check_finite, swap_hf_layout, to_safetensors};

/// The file whose presence says that the directory is complete.
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// What is asked about a pair, behind the two pictures: the first of the reference's no-caption questions
/// (`shuffle_ali_data_postprocess.py`), shortened. A tokenizer for the concat form is trained on it too.
pub const QUESTION: &str = "Which picture attracts more clicks?";

/// A reward network ready to score.
#[derive(Debug, Clone)]
pub struct RewardModel {
    /// Shape of the network.
    pub config: CtrConfig,
    /// The weights.
    pub network: CtrNetwork,
    /// Captions to ids.
    pub tokenizer: Tokenizer,
    /// Creatives to pixels.
    pub processor: ImageProcessor,
    /// Raw margins to probabilities.
    pub calibration: Calibration,
}

/// Content of `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    network: CtrConfig,
    processor: ImageProcessor,
    special_tokens: SpecialTokens,
    calibration: Calibration,
}

impl Description {
    fn read(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(CONFIG);
        let description: Self = read_json(&path)?;
        description.check().map_err(|error| error.in_file(&path))?;
        Ok(description)
    }

    /// The tokenizer beside it.
    fn tokenizer(&self, dir: &Path) -> Result<Tokenizer, ModelError> {
        let path = dir.join(TOKENIZER);
        let tokenizer = Tokenizer::load(&path, self.special_tokens.clone())?;
        let fits = tokenizer.check_fits(self.network.vocab_size());
        fits.map_err(|error| error.in_file(&path))?;
        Ok(tokenizer)
    }

    fn check(&self) -> Result<(), ModelError> {
        let format = self.format;
        limits::check([(format == 1, "format", format.to_string(), "1")])?;
        self.network.check()?;
        self.processor.check(self.network.image_size())?;
        limits::check([(
            !matches!(self.processor.fit, Fit::AnyRes(_)),
            "processor.fit",
            "any_res".into(),
            "pad or centre_crop: a creative is one tile",
        )])?;
        self.calibration.check()
    }
}

impl RewardModel {
    /// Whether `dir` is meant to hold a model of this kind rather than a checkpoint of CAIG's, by its `config.json`. A
    /// file that cannot be read counts as one: [`load`](Self::load) says what is wrong with it.
    pub fn is_meant_by(dir: &Path) -> bool {
        Self::described_kind(dir).unwrap_or(true)
    }

    /// The same, where a file that cannot be read counts as none.
    pub(crate) fn is_described_in(dir: &Path) -> bool {
        Self::described_kind(dir).unwrap_or(false)
    }

    /// Whether `config.json` is that of a model of this kind.
    fn described_kind(dir: &Path) -> Result<bool, ModelError> {
        let config: serde_json::Value = read_json(&dir.join(CONFIG))?;
        Ok(config.get("format").is_some())
    }

    /// Which form the network has.
    pub fn form(&self) -> CtrForm {
        self.config.form()
    }

    /// Pixels of one creative.
    ///
    /// # Shapes
    /// `3 * side * side` numbers: channel, row, column
    pub fn pixels(processor: &ImageProcessor, creative: &RgbImage) -> Vec<f32> {
        processor.process(&creative.convert()).values
    }

    /// Pixels of several creatives as one tensor on the network's device.
    ///
    /// # Shapes
    /// `creatives` times `3 * side * side` numbers -> `[creatives, 3, side, side]`
    pub fn pixel_tensor(&self, pixels: Vec<f32>, creatives: usize) -> Tensor<4> {
        let side = self.processor.size;
        Tensor::from_data(
            TensorData::new(pixels, [creatives, 3, side, side]),
            &self.network.device(),
        )
    }

    /// Ids of what the network reads beside the pictures: the caption, for the concat form between its begin token and
    /// the question.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer cannot encode it.
    pub fn text_ids(&self, caption: &str) -> Result<Vec<u32>, ModelError> {
        text_ids(
            self.form(),
            &self.tokenizer,
            self.config.max_text_tokens(),
            caption,
        )
    }

    /// Texts as the network reads them.
    pub fn rectangle<'a>(&self, texts: impl IntoIterator<Item = &'a [u32]>) -> TokenRectangle {
        TokenRectangle::new(texts, self.config.max_text_tokens())
    }

    /// BLAKE3 of the files of [`save`](Self::save): each name and content, length first, in name order.
    ///
    /// # Errors
    /// As [`save`](Self::save), but for the file system's.
    pub fn digest(&self) -> Result<[u8; 32], ModelError> {
        let mut hasher = blake3::Hasher::new();
        for (name, content) in self.files()? {
            for part in [name.as_bytes(), &content[..]] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Writes the model into `dir`, which is made where needed. Every file is written beside its place and renamed into
    /// it, `config.json` last: a directory that has one is whole.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written, [`ModelError::WeightNotFinite`] for a network that
    /// holds NaN or infinity.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let mut files = self.files()?;
        begin(dir, CONFIG)?;
        let config = files.remove_entry(CONFIG);
        for (name, content) in files.into_iter().chain(config) {
            write(&dir.join(name), &content)?;
        }
        Ok(())
    }

    /// Reads a model directory onto `device`.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault: it is missing or malformed, does not fit
    /// the others, or holds weights that are not finite or not those of the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        let description = Description::read(dir)?;
        let tokenizer = description.tokenizer(dir)?;
        let Description {
            network: config,
            processor,
            calibration,
            ..
        } = description;
        let fresh = config.init(device, 0);
        let network = read_weights(&dir.join(WEIGHTS), |weights| fresh.with_weights(weights))?;
        Ok(Self {
            config,
            network,
            tokenizer,
            processor,
            calibration,
        })
    }

    /// The shape of the network in a directory whose other files but for the weights are whole.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn described(dir: &Path) -> Result<CtrConfig, ModelError> {
        let description = Description::read(dir)?;
        description.tokenizer(dir)?;
        Ok(description.network)
    }

    fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>, ModelError> {
        let weights = self.network.weights();
        check_finite(&weights)?;
        let description = Description {
            format: 1,
            network: self.config.clone(),
            processor: self.processor.clone(),
            special_tokens: self.tokenizer.special().clone(),
            calibration: self.calibration,
        };
        let config = to_json(&description);
        Ok(BTreeMap::from([
            (CONFIG, config),
            (WEIGHTS, to_safetensors(&swap_hf_layout(weights)?, METADATA)?),
            (TOKENIZER, self.tokenizer.to_json()?.into_bytes()),
        ]))
    }
}

fn text_ids(
    form: CtrForm,
    tokenizer: &Tokenizer,
    longest: usize,
    caption: &str,
) -> Result<Vec<u32>, ModelError> {
    let mut caption = tokenizer.encode(caption)?;
    if form == CtrForm::Siamese {
        return Ok(caption);
    }
    // A long caption gives way to the question, which stands where the answer is read.
    let question = tokenizer.encode(QUESTION)?;
    caption.truncate(longest.saturating_sub(1 + question.len()));
    Ok([vec![tokenizer.begin_id()], caption, question].concat())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::ctr::SiameseConfig;

    /// A siamese one of a few hundred numbers.
    pub(crate) fn model(seed: u64) -> RewardModel {
        let tokenizer = Tokenizer::train(["red oak chair"].iter(), 270, SpecialTokens::default()).unwrap();
        let config = CtrConfig::Siamese(SiameseConfig {
            image_size: 8,
            patch_size: 4,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            vocab_size: tokenizer.vocab_size(),
            max_caption_tokens: 4,
            layer_norm_eps: 1e-5,
        });
        RewardModel {
            network: config.init(&Device::flex(), seed),
            config,
            tokenizer,
            processor: ImageProcessor::clip(8),
            calibration: Calibration {
                reward_scale: 0.3,
                temperature: 0.1 + 0.2,
                ctr_intercept: -3.6,
            },
        }
    }

    #[test]
    fn a_saved_model_comes_back_with_the_same_digest() {
        let dir = tempfile::tempdir().unwrap();
        let saved = model(3);
        saved.save(dir.path()).unwrap();
        let loaded = RewardModel::load(dir.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.digest().unwrap(), saved.digest().unwrap());
        assert_eq!(loaded.network.weights(), saved.network.weights());
        assert_eq!(
            (loaded.config, loaded.calibration),
            (saved.config, saved.calibration)
        );
    }

    #[test]
    fn other_weights_or_another_calibration_are_another_model() {
        let digest = model(3).digest().unwrap();
        assert_ne!(model(4).digest().unwrap(), digest);
        let mut recalibrated = model(3);
        recalibrated.calibration.temperature = 0.5;
        assert_ne!(recalibrated.digest().unwrap(), digest);
    }

    #[test]
    fn a_directory_without_its_last_file_is_refused_by_that_files_name() {
        let dir = tempfile::tempdir().unwrap();
        model(3).save(dir.path()).unwrap();
        fs::remove_file(dir.path().join(CONFIG)).unwrap();
        let error = RewardModel::load(dir.path(), &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(CONFIG), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_name() {
        type Json = serde_json::Value;
        type Breakage<'a> = (&'a str, &'a dyn Fn(&mut Json));
        let cases: [Breakage<'_>; 7] = [
            ("format = 2: expected 1", &|json| json["format"] = 2.into()),
            ("calibration.temperature = 0: ", &|json| {
                json["calibration"]["temperature"] = 0.0.into();
            }),
            ("calibration.reward_scale = -1: ", &|json| {
                json["calibration"]["reward_scale"] = (-1.0).into();
            }),
            ("processor.size = 9: ", &|json| {
                json["processor"]["size"] = 9.into()
            }),
            ("processor.std = ", &|json| {
                json["processor"]["std"][0] = 0.0.into()
            }),
            ("num_hidden_layers = 0: ", &|json| {
                json["network"]["num_hidden_layers"] = 0.into();
            }),
            ("unknown field `extra`", &|json| json["extra"] = 1.into()),
        ];
        for (words, edit) in cases {
            let dir = tempfile::tempdir().unwrap();
            model(3).save(dir.path()).unwrap();
            let path = dir.path().join(CONFIG);
            let mut json: Json = read_json(&path).unwrap();
            edit(&mut json);
            write(&path, &to_json(&json)).unwrap();
            let message = RewardModel::load(dir.path(), &Device::flex())
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("config.json: ") && message.contains(words),
                "{message}"
            );
        }
        for name in [CONFIG, WEIGHTS, TOKENIZER] {
            let dir = tempfile::tempdir().unwrap();
            model(3).save(dir.path()).unwrap();
            write(&dir.path().join(name), b"garbage").unwrap();
            let message = RewardModel::load(dir.path(), &Device::flex())
                .unwrap_err()
                .to_string();
            assert!(message.contains(&format!("/{name}: ")), "{message}");
        }
    }

    #[test]
    fn a_calibrated_margin_of_zero_is_a_coin() {
        let calibration = model(3).calibration;
        assert_eq!(calibration.probability(0.0), 0.5);
        assert!(calibration.probability(1.0) > 0.96);
        assert!((calibration.ctr(0.0) - 0.0266).abs() < 1e-4);
    }

    #[test]
    fn the_question_of_the_concat_form_survives_a_long_caption() {
        let tokenizer = model(3).tokenizer;
        let question = tokenizer.encode(QUESTION).unwrap();
        let longest = question.len() + 3;
        let ids = text_ids(
            CtrForm::Concat,
            &tokenizer,
            longest,
            "red oak chair red oak chair",
        )
        .unwrap();
        assert_eq!((ids.len(), ids[0]), (longest, tokenizer.begin_id()));
        assert!(ids.ends_with(&question));
    }
}
