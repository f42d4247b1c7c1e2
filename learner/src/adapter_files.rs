//! The final adapter as files: PEFT's layout, and beside it `lineage.json`, which says where the weights come from.

use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use common::Digest;
use models::checkpoint::{adapter_bytes, save_adapter};
use models::lora::LoraConfig;
use models::weights::NamedTensors;
use serde_json::json;
use std::path::Path;

/// The file that says where an adapter comes from.
const LINEAGE: &str = "lineage.json";

/// PEFT's `adapter_config.json`, as it is announced with each version.
pub(crate) fn config_json(lora: &LoraConfig, base_model: &Path) -> String {
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model.display().to_string(),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": lora.targets,
        "inference_mode": true,
    });
    config.to_string()
}

/// Writes an adapter directory and returns the digest of `adapter_model.safetensors`.
///
/// # Errors
/// [`LearnerError::Model`] or [`LearnerError::File`] naming the file that could not be written.
pub(crate) fn write(
    directory: &Path,
    adapter: &NamedTensors,
    config: &LearnerConfig,
    control: &ControlPlane,
    base_model: &Path,
) -> Result<Digest, LearnerError> {
    save_adapter(
        directory,
        adapter,
        &config.lora,
        &base_model.display().to_string(),
    )?;
    let digest = store::digest(&adapter_bytes(adapter)?);
    let base = control
        .broadcast
        .base()
        .map(|file| json!({ "name": file.name, "digest": file.digest }));
    let lineage = json!({
        "run_id": control.identity.run,
        "run_seed": control.identity.run_seed,
        "version": control.broadcast.newest().version,
        "adapter": digest,
        "base": base.collect::<Vec<_>>(),
        "config": config,
    });
    let path = directory.join(LINEAGE);
    let text = serde_json::to_vec_pretty(&lineage).expect("plain values have a JSON form");
    std::fs::write(&path, text).map_err(|source| LearnerError::File {
        action: "write",
        path,
        source,
    })?;
    Ok(digest)
}
