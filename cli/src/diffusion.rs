//! The networks that paint, wherever they are named.

use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::node_cache;
use ::actor::DiffusionFiles;
use anyhow::anyhow;
use std::path::PathBuf;

/// The files of the configured networks, on this machine.
///
/// # Errors
/// A mistake of configuration when one is not named or not there, a failed command when it cannot be reached.
pub(crate) fn files(config: &Config) -> Outcome<DiffusionFiles> {
    let named = &config.diffusion;
    let lora = match named.lora.is_empty() {
        true => None,
        false => Some(PathBuf::from(&named.lora)),
    };
    Ok(DiffusionFiles {
        model: local(
            config,
            "diffusion.model",
            &named.model,
            "a Stable Diffusion model",
        )?,
        controlnet: local(
            config,
            "diffusion.controlnet",
            &named.controlnet,
            "a ControlNet for edges",
        )?,
        lora,
    })
}

fn local(config: &Config, key: &str, location: &str, what: &str) -> Outcome<PathBuf> {
    if location.is_empty() {
        return Err(anyhow!("{key} is empty: expected {what}, a path or a URL")).or_configuration();
    }
    Ok(node_cache::model(config, key, location)?.directory)
}
