//! Everything a run needs before its first lease, and what the training thread does from its start to its end.

use super::{LearnerInputs, VersionMetrics};
use crate::adapter_files;
use crate::assortment::Assortment;
use crate::broadcast::Broadcast;
use crate::collate::Collator;
use crate::config::LearnerConfig;
use crate::control::{ControlPlane, Identity};
use crate::error::LearnerError;
use crate::partners::Partners;
use crate::prompts::check_prompts;
use crate::train_loop::{TrainedVersion, Trainer};
use bytes::Bytes;
use common::{Digest, PolicyVersion, Purpose, TaskId, derive_seed};
use data::Catalogue;
use models::checkpoint::adapter_bytes;
use models::policy::Policy;
use models::weights::NamedTensors;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Two halves of a run.
pub(super) struct Setup {
    /// For the service.
    pub(super) control: Arc<ControlPlane>,
    /// For the training thread.
    pub(super) training: Training,
}

/// What the training thread owns.
pub(super) struct Training {
    trainer: Trainer,
    control: Arc<ControlPlane>,
    initial: NamedTensors,
    config: LearnerConfig,
    policy_dir: PathBuf,
    adapter_dir: PathBuf,
}

/// Refuses a catalogue that cannot be trained on with these settings.
///
/// # Errors
/// [`LearnerError::Catalogue`] when there is no training product or instruction, or no partner for some product in a mode
/// that needs one.
pub fn check_catalogue(config: &LearnerConfig, catalogue: &dyn Catalogue) -> Result<(), LearnerError> {
    if catalogue.split().train.is_empty() || catalogue.instructions().is_empty() {
        let reason = "it needs at least one training product and one instruction".into();
        return Err(LearnerError::Catalogue {
            name: catalogue.name().to_owned(),
            reason,
        });
    }
    let has_negatives = config.loss.pcpo_weight > 0.0;
    if has_negatives && config.loss.mode.needs_partner() {
        Partners::new(catalogue, config.loss.partner).check(catalogue)?;
    }
    Ok(())
}

/// Stores the products, reads the policy and attaches a fresh adapter.
///
/// # Errors
/// [`LearnerError`] of the store, the policy's files or the adapter's settings, or when a caption is too long.
pub(super) async fn prepare(config: &LearnerConfig, inputs: &LearnerInputs) -> Result<Setup, LearnerError> {
    let assortment = Assortment::open(inputs.catalogue.clone(), &inputs.store, inputs.run_seed).await?;
    let (config, inputs) = (config.clone(), inputs.clone());
    let load = move || load(config, inputs, Arc::new(assortment));
    tokio::task::spawn_blocking(load)
        .await
        .map_err(|e| LearnerError::panicked("loading the policy", &e))?
}

fn load(
    config: LearnerConfig,
    inputs: LearnerInputs,
    assortment: Arc<Assortment>,
) -> Result<Setup, LearnerError> {
    let policy = Arc::new(Policy::load(&inputs.policy_dir, &inputs.device)?);
    let completions = check_prompts(inputs.catalogue.as_ref(), &policy, inputs.completion_tokens)?;
    let version = PolicyVersion::initial(inputs.epoch);
    let seed = derive_seed(inputs.run_seed, TaskId(0), version, Purpose::Initialisation);
    let model = policy.model.clone().with_adapter(&config.lora, seed)?;
    let initial = model.adapter();
    let broadcast = Broadcast::open(
        &inputs.policy_dir,
        adapter_files::config_json(&config.lora, &inputs.policy_dir),
        version,
        adapter_bytes(&initial)?.into(),
        config.keep_versions,
    )?;
    let partners = assortment.partners(config.loss.partner);
    let collator = Collator::new(
        policy,
        assortment.clone(),
        partners,
        config.loss.clone(),
        inputs.run_seed,
        config.cached_products,
    );
    let trainer = Trainer::new(model, collator, config.clone(), inputs.run_seed, inputs.threads)?;
    let identity = Identity {
        run: inputs.run_id,
        run_seed: inputs.run_seed,
        epoch: inputs.epoch,
    };
    let control = Arc::new(ControlPlane::new(
        &config,
        identity,
        assortment,
        broadcast,
        completions,
    ));
    let (policy_dir, adapter_dir) = (inputs.policy_dir, inputs.adapter_dir);
    let training = Training {
        trainer,
        control: control.clone(),
        initial,
        config,
        policy_dir,
        adapter_dir,
    };
    Ok(Setup { control, training })
}

impl Training {
    /// Trains until the run is complete or `stop`, publishing each version; then writes the last published adapter and
    /// returns the digest of its weights.
    ///
    /// # Errors
    /// [`LearnerError`] when training failed; nothing is written then.
    pub(super) fn run(self, stop: &CancellationToken) -> Result<Digest, LearnerError> {
        let Self {
            mut trainer,
            control,
            initial,
            config,
            policy_dir,
            adapter_dir,
        } = self;
        let mut newest = initial;
        let publish = |trained: TrainedVersion| {
            let bytes: Bytes = adapter_bytes(&trained.adapter)?.into();
            tracing::info!(version = %trained.version, bytes = bytes.len(), metrics = ?trained.metrics, "published");
            newest = trained.adapter;
            let metrics = VersionMetrics {
                version: trained.version,
                values: trained.metrics,
            };
            control.publish(trained.version, bytes, metrics);
            Ok(())
        };
        let start = control.broadcast.newest().version;
        match trainer.train(start, &control.buffer, stop, publish) {
            Ok(()) | Err(LearnerError::Cancelled) => {}
            Err(error) => return Err(error),
        }
        adapter_files::write(&adapter_dir, &newest, &config, &control, &policy_dir)
    }
}
