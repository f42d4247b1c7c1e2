//! What `generate` and `logprob` have in common: a model with its adapters off a disk, a picture, a prompt. What can be known to be wrong
//! before the weights are read is told at once; what comes by URL is asked the same when it is here.

use crate::args::{ComputeArgs, ConfigArgs, ModelArgs};
use crate::checks::Checks;
use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{locations, node_cache, role, telemetry};
use anyhow::{Context as _, anyhow};
use data::cutout;
use image::RgbaImage;
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
    /// Reads what the arguments name. `settings` is what was found of the command's other arguments by themselves; `fits` says whether
    /// they fit behind a prompt of so many positions of the policy, whose weights it does not look at.
    ///
    /// # Errors
    /// Mistakes of configuration that name the file, key or flag: all at once, but for what only weights tell.
    pub(super) fn read(
        args: &ModelArgs,
        config: &ConfigArgs,
        compute: &ComputeArgs,
        settings: Outcome<()>,
        fits: impl Fn(&Policy, usize) -> Outcome<()>,
    ) -> Outcome<Self> {
        let mut checks = Checks::of(super::layers(config, compute).sets(&config.sets))?;
        checks.argument(telemetry::check());
        checks.placement();
        checks.argument(settings);
        let picture = look(&mut checks, args, &fits);
        let config = checks.finish()?;
        telemetry::init(telemetry::QUIET)?;
        let kernels = role::runtime(&config)?;
        let policy = policy(&config, &args.model, args.adapter.as_deref())?;
        let prompt_ids = prompt_ids(&policy, args)?;
        fits(&policy, positions(&policy, &prompt_ids, picture.as_ref())?)?;
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

/// Looks at everything that the arguments name on this machine, as far as it can be known without weights. The picture.
fn look(
    checks: &mut Checks,
    args: &ModelArgs,
    fits: impl Fn(&Policy, usize) -> Outcome<()>,
) -> Option<RgbaImage> {
    let named = args.image.as_deref();
    let picture = named.and_then(|file| checks.argument(read_picture("--image", file)));
    if let Some(adapter) = &args.adapter {
        checks.adapter_of("--adapter", adapter);
    }
    let directory = locations::local_model(&args.model.to_string_lossy());
    let policy = directory.and_then(|directory| {
        let policy = Policy::without_weights(&directory).context("--model");
        let policy = checks.argument(policy.or_configuration())?;
        Some(policy.read_as(&checks.config().policy.reading()))
    });
    let prompt_ids = policy
        .as_ref()
        .and_then(|policy| checks.argument(prompt_ids(policy, args)));
    if let (Some(policy), Some(prompt_ids)) = (&policy, &prompt_ids)
        && picture.is_some() == named.is_some()
    {
        let positions = positions(policy, prompt_ids, picture.as_ref());
        checks.argument(positions.and_then(|positions| fits(policy, positions)));
    }
    picture
}

/// The prompt's tokens, with one placeholder for the picture or none.
fn prompt_ids(policy: &Policy, args: &ModelArgs) -> Outcome<Vec<u32>> {
    let has_picture = args.image.is_some();
    let ids = match args.raw_prompt {
        true => policy.raw_prompt_ids(&args.prompt),
        false => policy.prompt_ids(&args.prompt, has_picture),
    };
    let ids = ids.context("--prompt").or_configuration()?;
    let image_id = policy.tokenizer.image_id();
    let placeholders = ids.iter().filter(|&&id| id == image_id).count();
    if placeholders == usize::from(has_picture) {
        return Ok(ids);
    }
    let given = if has_picture { "one --image" } else { "no --image" };
    Err(anyhow!(
        "--prompt has {placeholders} <image>, and {given} was given"
    ))
    .or_configuration()
}

/// Positions that a prompt takes with its picture: the context has room for them.
fn positions(policy: &Policy, prompt_ids: &[u32], picture: Option<&RgbaImage>) -> Outcome<usize> {
    let positions = policy.positions(prompt_ids, picture.map(RgbaImage::dimensions));
    let fits = policy.config.row_limits().check(positions, 0);
    fits.context("--prompt").or_configuration()?;
    Ok(positions)
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

/// A picture off a disk, PNG or JPEG, that `flag` names.
///
/// # Errors
/// A mistake of configuration that names flag and file.
pub(super) fn read_picture(flag: &str, path: &Path) -> Outcome<RgbaImage> {
    let read = || {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        cutout::decode(&bytes).with_context(|| path.display().to_string())
    };
    read().with_context(|| flag.to_owned()).or_configuration()
}
