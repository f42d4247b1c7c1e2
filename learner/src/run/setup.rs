//! Everything a run needs before its first lease, and what the training thread does from its start to its end.

use super::{LearnerInputs, VersionMetrics};
use crate::adapter_files;
use crate::assortment::Assortment;
use crate::base_model::{base_digest, base_files};
use crate::broadcast::{Artifact, Broadcast, Source};
use crate::checkpoint::{Checkpoint, Keeper, Kept, Manifest};
use crate::collate::Collator;
use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::ledger::{Identity, TrainingNote};
use crate::mask::Masker;
use crate::pair_log::{PairLog, Recorded};
use crate::partners::Partners;
use crate::prompts::{CompletionLimits, check_prompts};
use crate::resume::{self, OpenLedger};
use crate::step_log::StepLog;
use crate::train_loop::{TrainedVersion, Trainer};
use bytes::Bytes;
use common::{Digest, PolicyVersion, Purpose, TaskId, derive_seed};
use data::Catalogue;
use failpoint::Point;
use models::checkpoint::in_log;
use models::optimizer::OptimizerState;
use models::peft::{adapter_bytes, adapter_config};
use models::policy::Policy;
use models::weights::{from_safetensors, to_safetensors};
use std::sync::Arc;
use store::Journal;
use tokio_util::sync::CancellationToken;

/// Two halves of a run.
pub(super) struct Setup {
    /// For the service.
    pub(super) control: Arc<ControlPlane>,
    /// For the training thread.
    pub(super) training: Training,
    /// For the ledger's writer.
    pub(super) journal: Journal,
    /// For the checkpoints' writer.
    pub(super) kept: Kept,
}

/// What the training thread owns.
pub(super) struct Training {
    trainer: Trainer,
    log: StepLog,
    pairs: Option<PairLog>,
    control: Arc<ControlPlane>,
    keeper: Keeper,
    /// Of the frozen base's files.
    base: Digest,
    /// The checkpoint that this start went on from.
    parent: Option<PolicyVersion>,
    config: LearnerConfig,
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
    if config.loss.has_negatives() && config.loss.mode.needs_partner() {
        Partners::new(catalogue, config.loss.partner).check(catalogue)?;
    }
    Ok(())
}

/// Checks the adapter's place, reads the policy and attaches a fresh adapter; then, when nothing more can be the
/// configuration's fault, stores the products and opens the ledger.
///
/// # Errors
/// [`LearnerError`] of the adapter's place, the policy's files, a caption that is too long, the adapter's settings or the
/// store.
pub(super) async fn prepare(config: &LearnerConfig, inputs: &LearnerInputs) -> Result<Setup, LearnerError> {
    adapter_files::check_place(&inputs.adapter, &inputs.run_id, inputs.run_seed).await?;
    let (directory, placement) = (inputs.policy_dir.clone(), inputs.placement.clone());
    let reading = inputs.policy_reading.clone();
    let load = move || {
        let policy = Policy::load_on(&directory, &placement, &mut in_log("the policy"));
        Ok(policy.map_err(LearnerError::Policy)?.read_as(&reading))
    };
    let policy = off_the_runtime("loading the policy", load).await?;
    let catalogue = inputs.catalogue.clone();
    let completion_tokens = inputs.completion_tokens;
    let loss = config.loss.clone();
    let check = move || {
        if loss.has_negatives() && loss.mode.masks() {
            Masker::new(&loss, &policy.config.vision).check()?;
        }
        let completions = check_prompts(catalogue.as_ref(), &policy, completion_tokens)?;
        Ok((policy, completions))
    };
    let (policy, completions) = off_the_runtime("checking prompts and masks", check).await?;
    let directory = inputs.policy_dir.clone();
    let describe = move || {
        let base = base_files(&policy, &directory)?;
        Ok((policy, base))
    };
    let (policy, base) = off_the_runtime("reading the policy's files", describe).await?;
    let identity = Identity {
        run: inputs.run_id.clone(),
        run_seed: inputs.run_seed,
    };
    resume::check(inputs, &identity, config, base_digest(&base)).await?;
    let assortment = Assortment::open(inputs.catalogue.clone(), &inputs.store, inputs.run_seed).await?;
    let opened = resume::open(&inputs.store, &identity, config.ledger_flush()).await?;
    failpoint::reach(Point::Fenced);
    let (config, inputs, assortment) = (config.clone(), inputs.clone(), Arc::new(assortment));
    let assemble = move || assemble(config, inputs, policy, base, completions, assortment, opened);
    off_the_runtime("preparing the run", assemble).await
}

async fn off_the_runtime<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, LearnerError> + Send + 'static,
) -> Result<T, LearnerError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| LearnerError::panicked(what, &e))?
}

fn assemble(
    config: LearnerConfig,
    inputs: LearnerInputs,
    policy: Policy,
    base: Vec<(Artifact, Source)>,
    completions: CompletionLimits,
    assortment: Arc<Assortment>,
    opened: OpenLedger,
) -> Result<Setup, LearnerError> {
    let OpenLedger {
        journal,
        ledger,
        epoch,
        checkpoint,
        untrained,
    } = opened;
    let base_digest = base_digest(&base);
    let seed = derive_seed(
        inputs.run_seed,
        TaskId(0),
        PolicyVersion::initial(epoch),
        Purpose::Initialisation,
    );
    let mut model = policy.model.clone().with_adapter(&config.lora, seed)?;
    let mut version = PolicyVersion::initial(epoch);
    let adapter = match &checkpoint {
        None => adapter_bytes(&model.adapter())?.into(),
        Some(Checkpoint {
            manifest, adapter, ..
        }) => {
            model = model.load_adapter(&from_safetensors(adapter)?)?;
            version.number = manifest.version.number;
            tracing::info!(%version, from = %manifest.version, "the run goes on");
            adapter.clone()
        }
    };
    let broadcast = Broadcast::new(
        base,
        adapter_config(&config.lora, &inputs.base_model),
        version,
        adapter,
        version.number >= config.versions,
        config.keep_versions,
    );
    let record = |directory| PairLog::open(directory, assortment.clone(), policy.tokenizer.clone());
    let pairs = inputs.pairs_dir.as_deref().map(record).transpose()?;
    let partners = assortment.partners(config.loss.partner);
    let collator = Collator::new(
        Arc::new(policy),
        assortment.clone(),
        partners,
        config.loss.clone(),
        inputs.run_seed,
        config.cached_products,
    );
    let collator = match config.deterministic {
        true => collator.with_images_one_by_one(),
        false => collator,
    };
    let mut trainer = Trainer::new(model, collator, config.clone(), inputs.run_seed, inputs.threads)?;
    if let Some(checkpoint) = &checkpoint {
        let optimizer = OptimizerState {
            steps: checkpoint.manifest.steps,
            moments: from_safetensors(&checkpoint.optimizer)?,
        };
        trainer.resume(optimizer, &inputs.placement.device)?;
    }
    let identity = Identity {
        run: inputs.run_id,
        run_seed: inputs.run_seed,
    };
    let control = Arc::new(ControlPlane::new(
        &config,
        identity,
        assortment,
        broadcast,
        completions,
        ledger,
    ));
    if let Some(checkpoint) = &checkpoint {
        control.buffer.restore(checkpoint.manifest.account);
    }
    resume::take_up(&control.buffer, untrained, version, config.retired_pairs);
    let (keeper, kept) = Keeper::new();
    let steps = checkpoint
        .as_ref()
        .map_or(0, |checkpoint| checkpoint.manifest.steps);
    let training = Training {
        trainer,
        log: StepLog::open(inputs.steps_file.as_deref(), steps)?,
        pairs,
        control: control.clone(),
        keeper,
        base: base_digest,
        parent: checkpoint.map(|checkpoint| checkpoint.manifest.version),
        config,
    };
    Ok(Setup {
        control,
        training,
        journal,
        kept,
    })
}

impl Training {
    /// Trains until the run is complete or `stop`, publishing each version.
    ///
    /// # Errors
    /// [`LearnerError`] when training failed.
    pub(super) fn run(self, stop: &CancellationToken) -> Result<(), LearnerError> {
        let Self {
            mut trainer,
            mut log,
            pairs,
            control,
            keeper,
            base,
            parent,
            config,
        } = self;
        let mut source = Recorded {
            source: &control.buffer,
            log: pairs,
        };
        let publish = |trained: TrainedVersion| {
            let bytes: Bytes = adapter_bytes(&trained.adapter)?.into();
            // Before the checkpoint, which is not written until the note is durable: what the weights of a run descend from is
            // never unknown.
            control.ledger.note(TrainingNote {
                version: trained.version,
                step: trained.steps,
                tasks: trained.tasks,
            });
            if let (Some(optimizer), Some(account)) = (&trained.optimizer, trained.account) {
                let manifest = Manifest::new(
                    trained.version,
                    parent,
                    optimizer.steps,
                    account,
                    base,
                    config.clone(),
                );
                let moments = to_safetensors(&optimizer.moments, None)?;
                // A deterministic run takes back nothing that somebody has sampled from.
                keeper.keep(manifest.with(bytes.clone(), moments.into()), config.deterministic)?;
            }
            tracing::info!(version = %trained.version, bytes = bytes.len(), metrics = ?trained.metrics, "published");
            let metrics = VersionMetrics {
                version: trained.version,
                values: trained.metrics,
            };
            control.publish(trained.version, bytes, metrics);
            Ok(())
        };
        let start = control.broadcast.newest().version;
        match trainer.train(start, &mut source, stop, &mut log, publish) {
            Ok(()) | Err(LearnerError::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
