//! What `generate` and `logprob` have in common: a model with its adapters off a disk, a picture, a prompt.

use crate::args::{ComputeArgs, ConfigArgs, ModelArgs};
use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{node_cache, role, telemetry};
use anyhow::{Context as _, anyhow};
use data::cutout;
use models::image_features::ImageFeatures;
use models::peft::Adapter;
use models::policy::Policy;
use std::path::Path;
use tokio::runtime::Runtime;

/// A model that is ready to be asked.
pub(super) struct Asked {
    /// The model with its adapter.
    pub(super) policy: Policy,
    /// The prompt's tokens.
    pub(super) prompt_ids: Vec<u32>,
    /// Of the picture, if there is one.
    pub(super) features: Option<ImageFeatures>,
    /// The pool of its kernels.
    _kernels: Runtime,
}

impl Asked {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// A mistake of configuration that names the file, key or flag.
    pub(super) fn read(args: &ModelArgs, config: &ConfigArgs, compute: &ComputeArgs) -> Outcome<Self> {
        let config = super::layers(config, compute)
            .sets(&config.sets)
            .resolve()
            .or_configuration()?;
        telemetry::init(telemetry::QUIET)?;
        let kernels = role::runtime(&config)?;
        let policy = policy(&config, &args.model, args.adapter.as_deref())?;
        let picture = args.image.as_deref().map(read_picture).transpose()?;
        let prompt_ids = match args.raw_prompt {
            true => policy.raw_prompt_ids(&args.prompt),
            false => policy.prompt_ids(&args.prompt, picture.is_some()),
        };
        let prompt_ids = prompt_ids.context("--prompt").or_configuration()?;
        let placeholders = prompt_ids
            .iter()
            .filter(|&&id| id == policy.tokenizer.image_id())
            .count();
        if placeholders != usize::from(picture.is_some()) {
            let given = if picture.is_some() {
                "one --image"
            } else {
                "no --image"
            };
            return Err(anyhow!(
                "--prompt has {placeholders} <image>, and {given} was given"
            ))
            .or_configuration();
        }
        let features = picture
            .map(|picture| policy.image_features(&[&picture]))
            .transpose()?;
        Ok(Self {
            policy,
            prompt_ids,
            features,
            _kernels: kernels,
        })
    }
}

/// The policy of a directory in any layout, with the adapter of another.
fn policy(config: &Config, model: &Path, adapter: Option<&Path>) -> Outcome<Policy> {
    let placement = config.compute.placement().or_configuration()?;
    let local = |flag, given: &Path| Ok::<_, Failure>(node_cache::model(config, flag, given)?.directory);
    let model = &local("--model", model)?;
    let adapter = adapter.map(|given| local("--adapter", given)).transpose()?;
    let mut stage = Progress::detect().stage("weights");
    let mut policy = Policy::load_on(model, &placement, &mut |done, all| {
        stage.update(done, all, "");
    })
    .or_configuration()?
    .read_as(&config.policy.reading());
    drop(stage);
    if let Some(directory) = adapter {
        let adapter = Adapter::load_for(&directory, model).or_configuration()?;
        policy.model = adapter
            .attach(policy.model)
            .with_context(|| format!("{} on {}", directory.display(), model.display()))
            .or_configuration()?;
    }
    Ok(policy)
}

/// A picture off a disk, PNG or JPEG.
///
/// # Errors
/// A mistake of configuration that names the file.
pub(super) fn read_picture(path: &Path) -> Outcome<image::RgbaImage> {
    let read = || {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        cutout::decode(&bytes).with_context(|| path.display().to_string())
    };
    read().or_configuration()
}
