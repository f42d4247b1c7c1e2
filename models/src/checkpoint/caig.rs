//! The reward model of the reference implementation: the LLaVA repository's layout without `lm_head`, with `score.weight`
//! and perhaps `sku_ctr_linear_fc.0.weight`. One that was trained here has the same weights; around them stand our files.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::Progress;
use super::described::Directory;
use super::fresh::write_weights;
use super::inspection::digest;
use super::layout::{CTR_HEAD, Layout, Naming};
use super::ours::OURS;
use crate::ctr::{CaigNetwork, CaigReward, Calibration};
use crate::device::Placement;
use crate::directory::{begin, read_json, to_json, write};
use crate::error::ModelError;
use crate::linear::LinearConfig;
use crate::policy::Policy;

/// What the margins of a model mean that was trained here.
const CALIBRATION: &str = "calibration.json";

impl CaigReward {
    /// Reads a directory of the reference's layout, with our calibration where there is one.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
    pub fn load(
        dir: &Path,
        device: &Device,
        dtype: DType,
        progress: Progress<'_>,
    ) -> Result<Self, ModelError> {
        let mut foreign = Directory::open(dir)?;
        if foreign.layout != Layout::CaigReward {
            return Err(ModelError::Content {
                path: dir.to_owned(),
                reason: "not CAIG's reward model: no tensor score.weight beside a LLaVA body".into(),
            });
        }
        let digest = digest(foreign.shards())?;
        let network = network(&foreign, device);
        let loaded = foreign.source(Some(dtype), progress).load(network);
        let network = loaded.map_err(|error| error.in_file(dir))?;
        Ok(Self {
            policy: Policy {
                config: foreign.config,
                model: network.body,
                tokenizer: foreign.tokenizer,
                processor: foreign.processor,
                template: foreign.template,
            },
            ctr: network.sku_ctr_linear_fc,
            calibration: calibration(dir)?,
            digest: digest.into(),
        })
    }

    /// Reads what a reward model can be trained on: one of the reference's layout, or a policy in any layout, whose body
    /// then has a fresh head, a function of `seed`, in place of its own.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_base(
        dir: &Path,
        placement: &Placement,
        seed: u64,
        progress: Progress<'_>,
    ) -> Result<Self, ModelError> {
        let Placement { device, dtype } = placement;
        let directory = Directory::open(dir)?;
        if directory.layout == Layout::CaigReward {
            return Self::load(dir, device, *dtype, progress);
        }
        let digest = digest(directory.shards())?;
        let mut policy = directory.into_policy(dir, device, Some(*dtype), progress)?;
        let hidden = policy.config.text.hidden_size;
        policy.model.language_model.lm_head = CaigNetwork::fresh_head(hidden, "score", seed, device);
        Ok(Self {
            policy,
            ctr: vec![],
            calibration: Calibration::default(),
            digest: digest.into(),
        })
    }

    /// Writes it as a directory that [`load`](Self::load) reads: its weights under the reference's names in the number
    /// format that it computes in, an adapter folded into them, and our files around them.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written, [`ModelError::WeightNotFinite`] for weights that hold
    /// NaN or infinity.
    pub fn save(self, dir: &Path, progress: Progress<'_>) -> Result<(), ModelError> {
        let Self {
            policy,
            ctr,
            calibration,
            ..
        } = self;
        let Policy { model, .. } = policy;
        let network = CaigNetwork {
            body: model,
            sku_ctr_linear_fc: ctr,
        };
        let network = network.folded();
        let dtype = network.body.dtype();
        begin(dir, OURS)?;
        let network = write_weights(network, Naming::CAIG_REWARD.into(), dtype, dir, progress)?;
        write(&dir.join(CALIBRATION), &to_json(&calibration))?;
        Policy {
            model: network.body,
            ..policy
        }
        .write_beside(dir)
    }
}

/// What the margins of the model in a directory mean; published ones say nothing of it.
fn calibration(dir: &Path) -> Result<Calibration, ModelError> {
    let path = dir.join(CALIBRATION);
    if !path.exists() {
        return Ok(Calibration::default());
    }
    let calibration: Calibration = read_json(&path)?;
    let checked = calibration.check().map_err(|error| ModelError::Content {
        path,
        reason: error.to_string(),
    });
    checked.map(|()| calibration)
}

/// A network of the directory's shape, nothing drawn.
pub(super) fn network(foreign: &Directory, device: &Device) -> CaigNetwork {
    let hidden = foreign.config.text.hidden_size;
    let head = || LinearConfig::new(hidden, CaigNetwork::CLASSES).init(1.0, 0, device);
    let mut body = foreign.config.init(device, 0);
    body.language_model.lm_head = head();
    let has_ctr = foreign
        .shards()
        .tensors()
        .contains_key(&format!("{CTR_HEAD}weight"));
    CaigNetwork {
        body,
        sku_ctr_linear_fc: if has_ctr { vec![head()] } else { vec![] },
    }
}
