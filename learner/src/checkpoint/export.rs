//! A checkpoint's adapter as others read it: PEFT's two files, and `lineage.json` beside them.

use super::Checkpoints;
use crate::adapter_files::{LINEAGE, Lineage, Origin};
use crate::error::LearnerError;
use bytes::Bytes;
use common::{PolicyVersion, RunId};
use models::peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_config};
use store::Store;

/// An adapter in PEFT's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedAdapter {
    /// The version.
    pub version: PolicyVersion,
    /// Names and contents of its files; `adapter_config.json`, which marks an adapter as complete, is the last.
    pub files: Vec<(&'static str, Bytes)>,
}

/// The adapter of the checkpoint of `version`, or of the one that a start would go on from, as the run would have written it.
/// `base_model` is what its configuration calls the base, a name or a path.
///
/// # Errors
/// [`LearnerError::Store`] or [`LearnerError::Checkpoint`] when it is not there or not whole.
pub async fn export_adapter(
    store: &Store,
    run: &RunId,
    version: Option<PolicyVersion>,
    base_model: &str,
) -> Result<ExportedAdapter, LearnerError> {
    let checkpoints = Checkpoints::of(store, run);
    let checkpoint = match version {
        Some(version) => checkpoints.read(version).await?,
        None => checkpoints.newest().await?.ok_or_else(|| checkpoints.none())?,
    };
    let manifest = &checkpoint.manifest;
    let lineage = Lineage {
        origin: Origin {
            run_id: run.clone(),
            run_seed: manifest.start.run_seed,
        },
        version: manifest.version,
        adapter: manifest.adapter,
        base: manifest.start.base_files.clone(),
        config: &manifest.start.config,
    };
    Ok(ExportedAdapter {
        version: manifest.version,
        files: vec![
            (LINEAGE, lineage.json().into()),
            (ADAPTER_WEIGHTS, checkpoint.adapter.clone()),
            (
                ADAPTER_CONFIG,
                adapter_config(&manifest.start.config.lora, base_model).into(),
            ),
        ],
    })
}
