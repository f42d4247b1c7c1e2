//! The reward model of the reference implementation: the LLaVA repository's layout without `lm_head`, with `score.weight`
//! and perhaps `sku_ctr_linear_fc.0.weight`.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::Progress;
use super::described::Directory;
use super::inspection::digest;
use super::layout::{CTR_HEAD, Layout};
use crate::ctr::{CaigNetwork, CaigReward};
use crate::error::ModelError;
use crate::linear::LinearConfig;
use crate::policy::Policy;

impl CaigReward {
    /// Reads a directory of the reference's layout.
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
            digest: digest.into(),
        })
    }
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
