//! A policy's directory, described up to its weights: somebody else's, transformers' or the LLaVA repository's, or one of ours.
//!
//! What those directories say is turned into our configuration, processor and tokenizer (`hf.rs`, `original.rs`); what they
//! say and our networks do not do is refused, never ignored. Their weights are read one by one under their own names
//! ([`layout`](super::layout)).

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use serde_json::{Map, Value};

use super::beside::Description;
use super::layout::{Layout, Naming, is_computed};
use super::ours::{OURS, read_ours};
use super::{Progress, caig, hf, original};
use crate::ctr::RewardModel;
use crate::directory::read_json;
use crate::error::ModelError;
use crate::llava::{Llava, LlavaConfig};
use crate::policy::Policy;
use crate::processor::ImageProcessor;
use crate::template::PromptTemplate;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::weights::shards::Shards;
use crate::weights::streaming::{Comparison, WeightSource};

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const SENTENCEPIECE: &str = "tokenizer.model";

/// With what the names of a vision tower's files begin in a directory of ours, where the tower has files of its own.
const TOWER_FILES: &str = "vision_tower.";

/// A directory, read up to its weights.
pub(super) struct Directory {
    /// How it is laid out.
    pub(super) layout: Layout,
    pub(super) config: LlavaConfig,
    pub(super) processor: ImageProcessor,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: PromptTemplate,
    shards: Shards,
    pub(super) naming: Naming,
}

impl Directory {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file and key at fault.
    pub(super) fn open(dir: &Path) -> Result<Self, ModelError> {
        let mut shards = Shards::open(dir)?;
        let naming = Naming::detect(shards.tensors().keys().map(String::as_str));
        let naming = naming.map_err(|error| match RewardModel::is_described_in(dir) {
            true => own_reward_model(dir),
            false => error.in_file(dir),
        })?;
        if dir.join(OURS).exists() {
            return Self::open_ours(dir, shards, naming);
        }
        let json: Map<String, Value> = read_json(&dir.join(CONFIG))?;
        let (config, processor) = match naming.is_original() {
            true => original::read(dir, json, &mut shards)?,
            false => hf::read(dir, json)?,
        };
        let in_config = |error: ModelError| error.in_file(&dir.join(CONFIG));
        config.check().map_err(in_config)?;
        processor
            .check(config.vision.image_size)
            .map_err(|error| error.in_file(dir))?;
        let tokenizer = tokenizer(dir, &config)?;
        Ok(Self {
            layout: Layout::of(naming, &config.model_type),
            config,
            processor,
            tokenizer,
            template: PromptTemplate::vicuna_v1(),
            shards,
            naming,
        })
    }

    /// One of ours, whose files follow transformers' but for `adwright.json`. Its weights may be those of any layout
    /// ([`weight_files`]).
    fn open_ours(dir: &Path, mut shards: Shards, naming: Naming) -> Result<Self, ModelError> {
        let (config, tokenizer, extras) = read_ours(dir)?;
        if naming.is_original() && !original::holds_tower(&shards) {
            original::add_tower(&mut shards, dir, TOWER_FILES)?;
        }
        Ok(Self {
            layout: Layout::of(naming, &config.model_type),
            config,
            processor: extras.processor,
            tokenizer,
            template: extras.template,
            shards,
            naming,
        })
    }

    /// What surrounds its weights.
    pub(super) fn description(&self) -> Description<'_> {
        Description {
            config: &self.config,
            processor: &self.processor,
            tokenizer: &self.tokenizer,
        }
    }

    /// Names and shapes of its weights against those of its configuration.
    pub(super) fn compare(&mut self) -> Comparison {
        // Nothing is drawn.
        let device = Device::flex();
        let mut nobody = |_, _| ();
        if self.layout == Layout::CaigReward {
            let network = caig::network(self, &device);
            return self.source(None, &mut nobody).compare(&network);
        }
        let network = self.config.init(&device, 0);
        self.source(None, &mut nobody).compare(&network)
    }

    /// The files of its weights.
    pub(super) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The same, to read one.
    pub(super) fn shards_mut(&mut self) -> &mut Shards {
        &mut self.shards
    }

    /// What is read up to here as a policy, whose weights are fresh.
    ///
    /// # Errors
    /// [`ModelError::Content`] with every weight that is missing, unused or of another shape.
    pub(super) fn into_shape(mut self, dir: &Path) -> Result<Policy, ModelError> {
        self.check_writes_text(dir)?;
        let place = self.shards.place().to_owned();
        let compared = self.compare().into_result();
        compared.map_err(|error| error.in_file(&place))?;
        // Parameters are drawn at first use.
        let model = self.config.init(&Device::flex(), 0);
        Ok(self.around(model))
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// [`ModelError::Content`] with the file at fault.
    pub(super) fn into_policy(
        mut self,
        dir: &Path,
        device: &Device,
        dtype: Option<DType>,
        progress: Progress<'_>,
    ) -> Result<Policy, ModelError> {
        self.check_writes_text(dir)?;
        // Parameters are drawn at first use, so none of the fresh ones ever is.
        let (fresh, place) = (self.config.init(device, 0), self.shards.place().to_owned());
        let loaded = self.source(dtype, progress).load(fresh);
        let model = loaded.map_err(|error| error.in_file(&place))?;
        Ok(self.around(model))
    }

    fn check_writes_text(&self, dir: &Path) -> Result<(), ModelError> {
        if self.layout != Layout::CaigReward {
            return Ok(());
        }
        Err(ModelError::Content {
            path: dir.to_owned(),
            reason: "a reward model of CAIG's, which writes no text; expected a policy".into(),
        })
    }

    fn around(self, model: Llava) -> Policy {
        Policy {
            model,
            config: self.config,
            tokenizer: self.tokenizer,
            processor: self.processor,
            template: self.template,
        }
    }

    /// What its network takes its weights from.
    pub(super) fn source<'a>(&'a mut self, dtype: Option<DType>, progress: Progress<'a>) -> WeightSource<'a> {
        let naming = &self.naming;
        WeightSource {
            shards: &mut self.shards,
            theirs: Box::new(|ours| naming.theirs(ours)),
            ignored: &is_computed,
            dtype,
            progress,
        }
    }
}

/// The fault of a directory that is whole, and not what was asked for.
fn own_reward_model(dir: &Path) -> ModelError {
    ModelError::Content {
        path: dir.to_owned(),
        reason: "a reward model that was trained here from nothing (adwright-reward), which writes no text; expected a LLaVA of \
                 transformers or of its own repository"
            .into(),
    }
}

/// A file of a policy's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFile {
    /// What it is called in a directory of ours.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// The files of a directory's weights, by name.
pub(super) fn weight_files(dir: &Path) -> Result<Vec<WeightFile>, ModelError> {
    let directory = Directory::open(dir)?;
    let shards = &directory.shards;
    let named = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str())?;
        let inside = path.parent() == Some(dir);
        let beginning = if inside { "" } else { TOWER_FILES };
        Some(WeightFile {
            name: format!("{beginning}{name}"),
            path: path.to_owned(),
        })
    };
    let mut files: Vec<_> = shards.paths().chain(shards.indices()).filter_map(named).collect();
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// `tokenizer.json`, or the SentencePiece model where that is all there is.
fn tokenizer(dir: &Path, config: &LlavaConfig) -> Result<Tokenizer, ModelError> {
    let special = special_tokens(dir)?;
    let (json, model) = (dir.join(TOKENIZER), dir.join(SENTENCEPIECE));
    let (path, tokenizer) = if json.exists() || !model.exists() {
        let tokenizer = Tokenizer::load(&json, special)?;
        (json, tokenizer)
    } else {
        let tokenizer = Tokenizer::from_sentencepiece(&model, special)?;
        (model, tokenizer)
    };
    let tokenizer = tokenizer.with_image_id(config.image_token_id);
    let fits = tokenizer
        .check_fits(config.text.vocab_size)
        .and_then(|()| tokenizer.check_image(config.image_token_id));
    fits.map_err(|error| error.in_file(&path))?;
    Ok(tokenizer)
}

/// How the special tokens are spelled: the tokenizer's own files, or Llama's spelling.
fn special_tokens(dir: &Path) -> Result<SpecialTokens, ModelError> {
    let mut known = Map::new();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = dir.join(name);
        if path.exists() {
            known.extend(read_json::<Map<String, Value>>(&path)?);
        }
    }
    let spelled = |key: &str| {
        let token = known.get(key)?;
        let text = token.get("content").unwrap_or(token).as_str()?;
        Some(text.to_owned())
    };
    let or = |key: &str, default: &str| spelled(key).unwrap_or_else(|| default.to_owned());
    let unknown = or("unk_token", "<unk>");
    Ok(SpecialTokens {
        begin: or("bos_token", "<s>"),
        end: or("eos_token", "</s>"),
        pad: or("pad_token", &unknown),
        image: or("image_token", "<image>"),
    })
}

/// Brings the rotary settings into the form of our configuration: `rope_parameters` of transformers 5, `rope_scaling` with
/// `type` or `rope_type` of earlier ones.
///
/// # Errors
/// [`ModelError::Foreign`] for a kind of scaling that is not built here.
pub(super) fn rope(text: &mut Map<String, Value>) -> Result<(), ModelError> {
    let given = match text.remove("rope_parameters") {
        Some(Value::Object(parameters)) => Some(parameters),
        _ => match text.remove("rope_scaling") {
            Some(Value::Object(scaling)) => Some(scaling),
            _ => None,
        },
    };
    let Some(mut given) = given else { return Ok(()) };
    if let Some(theta) = given.remove("rope_theta") {
        text.insert("rope_theta".into(), theta);
    }
    let kind = given.remove("type");
    let kind = given.remove("rope_type").or(kind);
    match kind.as_ref().and_then(Value::as_str) {
        None | Some("default") => Ok(()),
        Some(kind @ ("linear" | "llama3")) => {
            given.insert("rope_type".into(), kind.into());
            text.insert("rope_scaling".into(), given.into());
            Ok(())
        }
        Some(other) => Err(ModelError::Foreign {
            reason: format!("text_config.rope_scaling of type {other:?}: expected default, linear or llama3"),
        }),
    }
}
