//! The networks that paint, wherever they are named.

use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::node_cache;
use ::actor::{DiffusionConfig, DiffusionFiles};
use anyhow::anyhow;
use std::path::PathBuf;

/// What a user names, by key: the location, and what it should be.
pub(crate) fn named(config: &DiffusionConfig) -> [(&'static str, String, &'static str); 2] {
    let (model, controlnet) = (config.model.clone(), config.controlnet.clone());
    [
        ("diffusion.model", model, "a Stable Diffusion model"),
        ("diffusion.controlnet", controlnet, "a ControlNet for edges"),
    ]
}

/// The files of the configured networks, on this machine.
///
/// # Errors
/// A mistake of configuration when one is not named or not there, a failed command when it cannot be reached.
pub(crate) fn files(config: &Config) -> Outcome<DiffusionFiles> {
    let lora = match config.diffusion.lora.as_str() {
        "" => None,
        location => Some(node_cache::weights(config, "diffusion.lora", location)?),
    };
    let [model, controlnet] =
        named(&config.diffusion).map(|(key, location, what)| local(config, key, &location, what));
    Ok(DiffusionFiles {
        model: model?,
        controlnet: controlnet?,
        lora,
    })
}

fn local(config: &Config, key: &str, location: &str, what: &str) -> Outcome<PathBuf> {
    if location.is_empty() {
        return Err(anyhow!("{key} is empty: expected {what}, a path or a URL")).or_configuration();
    }
    Ok(node_cache::model(config, key, location)?.directory)
}
