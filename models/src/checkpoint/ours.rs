//! A directory of ours: `config.json` and `model.safetensors` under Hugging Face's names and in its layout,
//! `tokenizer.json`, and `adwright.json` with what those formats have no place for.
//!
//! Every file is written beside its place and renamed into it, the one that marks the directory as complete last, so that
//! nothing half-written is ever read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::described::{CONFIG, TOKENIZER};
use crate::directory::{begin, read_json, to_json, write};
use crate::error::ModelError;
use crate::limits;
use crate::llava::LlavaConfig;
use crate::policy::Policy;
use crate::processor::{Fit, ImageProcessor};
use crate::template::PromptTemplate;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::weights::{METADATA, check_finite, collect, swap_hf_layout, to_safetensors};

const WEIGHTS: &str = "model.safetensors";
/// Marks a directory as one of ours, and as complete.
pub(super) const OURS: &str = "adwright.json";

/// Content of `adwright.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extras {
    format: u32,
    special_tokens: SpecialTokens,
    pub(super) template: PromptTemplate,
    pub(super) processor: ImageProcessor,
}

impl Policy {
    /// Writes a model directory, without any adapter. A complete directory of that name is replaced.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written, [`ModelError::WeightNotFinite`] for a model that
    /// holds NaN or infinity.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let weights = collect(&self.model.without_adapter(), |_| true);
        check_finite(&weights)?;
        begin(dir, OURS)?;
        let weights = to_safetensors(&swap_hf_layout(weights)?, METADATA)?;
        write(&dir.join(WEIGHTS), &weights)?;
        self.write_beside(dir)
    }

    /// What surrounds the weights in a directory of ours, names and contents; the file that marks it as complete last.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer cannot be written down.
    pub fn described(&self) -> Result<[(&'static str, Vec<u8>); 3], ModelError> {
        let extras = Extras {
            format: 1,
            special_tokens: self.tokenizer.special().clone(),
            template: self.template.clone(),
            processor: self.processor.clone(),
        };
        Ok([
            (CONFIG, to_json(&self.config)),
            (TOKENIZER, self.tokenizer.to_json()?.into_bytes()),
            (OURS, to_json(&extras)),
        ])
    }

    pub(super) fn write_beside(&self, dir: &Path) -> Result<(), ModelError> {
        for (name, content) in self.described()? {
            write(&dir.join(name), &content)?;
        }
        Ok(())
    }
}

/// What a directory of ours says of its weights.
pub(super) fn read_ours(dir: &Path) -> Result<(LlavaConfig, Tokenizer, Extras), ModelError> {
    let path = |name: &str| dir.join(name);
    let extras: Extras = read_json(&path(OURS))?;
    let config: LlavaConfig = read_json(&path(CONFIG))?;
    config.check().map_err(|error| error.in_file(&path(CONFIG)))?;
    check_extras(&extras, &config).map_err(|error| error.in_file(&path(OURS)))?;
    let tokenizer = Tokenizer::load(&path(TOKENIZER), extras.special_tokens.clone())?;
    let tokenizer = tokenizer.with_image_id(config.image_token_id);
    check_tokenizer(&tokenizer, &config).map_err(|error| error.in_file(&path(TOKENIZER)))?;
    Ok((config, tokenizer, extras))
}

fn check_extras(extras: &Extras, config: &LlavaConfig) -> Result<(), ModelError> {
    let format = extras.format;
    let tiles = matches!(extras.processor.fit, Fit::AnyRes(_));
    limits::check([
        (format == 1, "format", format.to_string(), "1"),
        (
            !tiles || config.model_type == "llava_next",
            "processor.fit",
            "any_res".into(),
            "pad or centre_crop: only a llava_next reads tiles",
        ),
    ])?;
    extras.processor.check(config.vision.image_size)
}

fn check_tokenizer(tokenizer: &Tokenizer, config: &LlavaConfig) -> Result<(), ModelError> {
    tokenizer.check_fits(config.text.vocab_size)?;
    tokenizer.check_image(config.image_token_id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::{Device, TensorData, bf16};

    use super::super::inspect;
    use super::super::layout::Layout;
    use super::*;
    use crate::batch::{CompletionRow, collate};
    use crate::directory::read;
    use crate::lora::LoraConfig;
    use crate::presets::tests::{picture, policy};
    use crate::weights::{NamedTensors, from_safetensors};

    /// The weights of a model directory in their file's layout.
    fn weights_in(dir: &Path) -> NamedTensors {
        from_safetensors(&read(&dir.join(WEIGHTS)).unwrap()).unwrap()
    }

    fn put_weights(dir: &Path, weights: &NamedTensors) {
        write(&dir.join(WEIGHTS), &to_safetensors(weights, METADATA).unwrap()).unwrap();
    }

    #[test]
    fn a_saved_policy_is_the_same_policy() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let loaded = Policy::load(dir.path(), &Device::flex()).unwrap();
        let row = CompletionRow {
            prompt_ids: &[1, 20],
            image: None,
            completion_ids: &[22, 2],
        };
        let batch = collate(&[row], &[], &saved.config.row_limits()).unwrap();
        let score = |policy: &Policy| policy.model.completion_log_probs(&batch, None).sums().into_data();
        assert_eq!(score(&loaded), score(&saved));
        assert_eq!((loaded.config, loaded.template), (saved.config, saved.template));
        assert_eq!(loaded.processor, saved.processor);
    }

    #[test]
    fn bf16_weights_with_an_f32_adapter_score_nearly_as_f32_ones() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let mut weights = weights_in(dir.path());
        weights
            .values_mut()
            .for_each(|data| *data = data.clone().convert::<bf16>());
        put_weights(dir.path(), &weights);
        let mut loaded = Policy::load_as(dir.path(), &Device::flex(), None, &mut |_, _| ()).unwrap();
        loaded.model = loaded.model.with_adapter(&LoraConfig::new(4, 8.0), 3).unwrap();
        let row = CompletionRow {
            prompt_ids: &[1, 3, 20],
            image: Some(0),
            completion_ids: &[22, 2],
        };
        let batch = collate(&[row], &[16], &saved.config.row_limits()).unwrap();
        let sum = |policy: &Policy| {
            let features = policy.image_features(&[&picture(9, 99, 199)]).unwrap();
            policy
                .model
                .completion_log_probs(&batch, Some(&features))
                .sums()
                .into_scalar::<f32>()
        };
        assert!(
            (sum(&loaded) - sum(&saved)).abs() < 0.05,
            "{} {}",
            sum(&loaded),
            sum(&saved)
        );
    }

    #[test]
    fn without_its_weights_a_policy_says_the_same_and_what_its_files_lack() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let shape = Policy::without_weights(dir.path()).unwrap();
        let ids = |policy: &Policy| policy.prompt_ids("a lamp", true).unwrap();
        assert_eq!(ids(&shape), ids(&saved));
        assert_eq!((shape.config, shape.processor), (saved.config, saved.processor));
        let (bias, mut weights) = (
            "vision_tower.vision_model.pre_layrnorm.bias",
            weights_in(dir.path()),
        );
        weights.remove(bias);
        put_weights(dir.path(), &weights);
        let message = Policy::without_weights(dir.path()).unwrap_err().to_string();
        assert!(message.contains(WEIGHTS) && message.contains(bias), "{message}");
    }

    #[test]
    fn saving_twice_writes_the_same_bytes_and_leaves_no_parts() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        policy(1).save(first.path()).unwrap();
        policy(1).save(second.path()).unwrap();
        policy(1).save(second.path()).unwrap();
        for name in [CONFIG, WEIGHTS, TOKENIZER, OURS] {
            assert_eq!(
                read(&first.path().join(name)).unwrap(),
                read(&second.path().join(name)).unwrap()
            );
        }
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_directory_of_ours_can_be_inspected() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let found = inspect(dir.path()).unwrap();
        assert_eq!(found.parameters, saved.config.num_parameters());
        assert_eq!((found.layout, found.template), (Layout::LlavaHf15, Some("own")));
        assert_eq!(
            (found.missing.len(), found.unused.len(), found.misshaped.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_file_holds_hugging_face_names_and_layout() {
        let dir = tempfile::tempdir().unwrap();
        policy(1).save(dir.path()).unwrap();
        let file = weights_in(dir.path());
        for (name, shape) in [
            ("vision_tower.vision_model.embeddings.class_embedding", &[64][..]),
            (
                "vision_tower.vision_model.embeddings.patch_embedding.weight",
                &[64, 3, 8, 8],
            ),
            (
                "vision_tower.vision_model.embeddings.position_embedding.weight",
                &[17, 64],
            ),
            ("vision_tower.vision_model.pre_layrnorm.bias", &[64]),
            (
                "vision_tower.vision_model.encoder.layers.2.self_attn.out_proj.bias",
                &[64],
            ),
            (
                "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
                &[256, 64],
            ),
            ("vision_tower.vision_model.post_layernorm.weight", &[64]),
            ("multi_modal_projector.linear_1.weight", &[96, 64]),
            ("language_model.model.layers.0.mlp.down_proj.weight", &[96, 256]),
            (
                "language_model.model.layers.0.post_attention_layernorm.weight",
                &[96],
            ),
            ("language_model.model.embed_tokens.weight", &[300, 96]),
            ("language_model.model.norm.weight", &[96]),
            ("language_model.lm_head.weight", &[300, 96]),
        ] {
            assert_eq!(file[name].shape().as_slice(), shape, "{name}");
        }
    }

    #[test]
    fn an_incomplete_directory_names_the_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        policy(1).save(dir.path()).unwrap();
        for name in [OURS, CONFIG, TOKENIZER, WEIGHTS] {
            let (path, hidden) = (dir.path().join(name), dir.path().join("hidden"));
            fs::rename(&path, &hidden).unwrap();
            let message = Policy::load(dir.path(), &Device::flex()).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
            fs::rename(&hidden, &path).unwrap();
        }
    }

    /// A saved policy, damaged.
    fn refusal(damage: impl Fn(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        policy(1).save(dir.path()).unwrap();
        damage(dir.path());
        Policy::load(dir.path(), &Device::flex()).unwrap_err().to_string()
    }

    fn edit_json(path: &Path, edit: impl Fn(&mut serde_json::Value)) {
        let mut json = read_json(path).unwrap();
        edit(&mut json);
        write(path, &to_json(&json)).unwrap();
    }

    #[test]
    fn bytes_that_are_no_such_file_are_refused_by_its_name() {
        for name in [OURS, CONFIG, TOKENIZER, WEIGHTS] {
            for bytes in [&b""[..], b"garbage", b"{}", &[0xff; 64]] {
                let message = refusal(|dir| write(&dir.join(name), bytes).unwrap());
                assert!(message.contains(&format!("/{name}: ")), "{bytes:?}: {message}");
            }
        }
        let message = refusal(|dir| {
            let path = dir.join(WEIGHTS);
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        });
        assert!(
            message.contains("model.safetensors: no whole safetensors file"),
            "{message}"
        );
    }

    #[test]
    fn weights_that_are_not_the_models_are_refused_by_file_tensor_and_shape() {
        let damaged = |damage: &dyn Fn(&mut NamedTensors)| {
            refusal(|dir| {
                let mut weights = weights_in(dir);
                damage(&mut weights);
                put_weights(dir, &weights);
            })
        };
        let name = "language_model.model.layers.1.mlp.down_proj.weight";
        let bias = "vision_tower.vision_model.pre_layrnorm.bias";
        let message = damaged(&|weights| {
            let wide = TensorData::zeros::<f32, _>([96, 255]);
            weights.insert(name.into(), wide);
        });
        // In the file's own layout.
        let expected = format!("of another shape {name}: shape [96, 255], expected [96, 256]");
        assert!(
            message.contains(WEIGHTS) && message.ends_with(&expected),
            "{message}"
        );
        let message = damaged(&|weights| _ = weights.remove(bias));
        assert!(message.contains(WEIGHTS) && message.contains(bias), "{message}");
        let message = damaged(&|weights| {
            let mut values = [0.0f32; 64];
            values[7] = f32::NAN;
            weights.insert(bias.into(), TensorData::from(values));
        });
        let expected = format!("{WEIGHTS}: weight {bias}: element 7 is NaN, expected finite numbers");
        assert!(message.ends_with(&expected), "{message}");
    }

    #[test]
    fn files_that_do_not_fit_each_other_are_refused_by_file_and_key() {
        type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);
        let cases: [(&str, Edit, [&str; 2]); 7] = [
            (
                OURS,
                &|json| json["format"] = 2.into(),
                ["adwright.json", "format = 2"],
            ),
            (
                OURS,
                &|json| json["processor"]["size"] = 64.into(),
                ["adwright.json", "processor.size = 64"],
            ),
            (
                OURS,
                &|json| json["processor"]["std"][1] = 0.into(),
                ["adwright.json", "processor.std"],
            ),
            (
                OURS,
                &|json| json["special_tokens"]["image"] = "</s>".into(),
                ["tokenizer.json", "image_token_index"],
            ),
            (
                OURS,
                &|json| json["special_tokens"]["end"] = "<end>".into(),
                ["tokenizer.json", "<end>"],
            ),
            (
                CONFIG,
                &|json| json["text_config"]["vocab_size"] = 299.into(),
                ["tokenizer.json", "expected at most 299"],
            ),
            (
                CONFIG,
                &|json| json["vision_config"]["num_hidden_layers"] = 0.into(),
                ["config.json", "vision_config.num_hidden_layers = 0"],
            ),
        ];
        for (name, edit, words) in cases {
            let message = refusal(|dir| edit_json(&dir.join(name), edit));
            assert!(
                words.iter().all(|word| message.contains(word)),
                "{words:?}: {message}"
            );
        }
    }
}
