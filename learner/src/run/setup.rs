//! Everything a run needs before its first lease, and what the training thread does from its start to its end.

use super::publisher::{Publisher, Resumable};
use super::{LearnerInputs, Setup, Trained, Training, VersionMetrics, on_own_thread};
use crate::adapter_files;
use crate::assortment::Assortment;
use crate::base_model::{base_digest, base_files};
use crate::broadcast::{Broadcast, Weights};
use crate::canary::CanaryAnswers;
use crate::checkpoint::{Checkpoint, Keeper, Start};
use crate::collate::Collator;
use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::ledger::{Beginning, CatalogueDigests, Identity, TrainingNote};
use crate::pair_log::{PairLog, Recorded};
use crate::prompts::CompletionLimits;
use crate::refusals::{Outputs, completion_limits, training_refusals};
use crate::resume::{self, OpenLedger};
use crate::step_log::StepLog;
use crate::tensorboard::EventFile;
use crate::train_loop::{TrainedVersion, Trainer};
use common::{Artifact, PolicyVersion, Purpose, TaskId, derive_seed};
use failpoint::Point;
use futures::executor::block_on;
use models::checkpoint::in_log;
use models::optimizer::OptimizerState;
use models::peft::{adapter_bytes, adapter_config};
use models::policy::Policy;
use models::weights::from_safetensors;
use proto::artifact_stream::Source;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the training thread owns.
pub(super) struct PolicyTraining {
    trainer: Trainer,
    log: StepLog,
    pairs: Option<PairLog>,
    canary: CanaryAnswers,
    publisher: Publisher,
}

/// Looks at everything that can be known to be wrong, and reads the policy; then, when nothing more can be the configuration's fault,
/// stores the products and takes the run by opening its ledger.
///
/// # Errors
/// [`LearnerError`] of the adapter's place, the policy's files, [products and settings](crate::training_refusals), what is
/// [written beside the stores](crate::Outputs), an earlier start's settings, or the store.
pub(super) async fn prepare(
    config: &LearnerConfig,
    inputs: &LearnerInputs,
) -> Result<Setup<PolicyTraining>, LearnerError> {
    let completions = look(config, inputs).await?;
    let (directory, placement) = (inputs.policy_dir.clone(), inputs.placement.clone());
    let reading = inputs.policy_reading.clone();
    let pulse = inputs.instruments.pulse.clone();
    let load = move || {
        let mut progress = pulse.with_progress(in_log("the policy"));
        let policy = Policy::load_on(&directory, &placement, &mut progress);
        Ok(policy.map_err(LearnerError::Policy)?.read_as(&reading))
    };
    let policy = off_the_runtime("loading the policy", load).await?;
    let directory = inputs.policy_dir.clone();
    let describe = move || {
        let base = base_files(&policy, &directory)?;
        Ok((policy, base))
    };
    let (policy, base) = off_the_runtime("reading the policy's files", describe).await?;
    let catalogue = inputs.catalogue.clone();
    let digests = move || Ok(CatalogueDigests::of(catalogue.as_ref()));
    let beginning = Beginning {
        identity: Identity {
            run: inputs.run_id.clone(),
            run_seed: inputs.run_seed,
        },
        base: Some(base_digest(&base)),
        catalogue: Some(off_the_runtime("hashing the catalogue", digests).await?),
        config: Some(config.clone()),
        settings: inputs.settings.clone(),
    };
    resume::check(inputs, &beginning).await?;
    adapter_files::check_writable(&inputs.adapter).await?;
    let assortment = Assortment::open(inputs.catalogue.clone(), &inputs.store, inputs.run_seed).await?;
    let opened = resume::open(&inputs.store, &beginning, config.ledger_flush()).await?;
    failpoint::reach(Point::Fenced);
    let (config, inputs, assortment) = (config.clone(), inputs.clone(), Arc::new(assortment));
    let assemble = move || assemble(config, inputs, policy, base, completions, assortment, opened);
    off_the_runtime("preparing the run", assemble).await
}

/// What completions must respect, once nothing is found that the start would be refused for; no weight is read for that.
async fn look(config: &LearnerConfig, inputs: &LearnerInputs) -> Result<CompletionLimits, LearnerError> {
    let owner = adapter_files::check_owner(&inputs.adapter, &inputs.run_id, inputs.run_seed).await;
    let (settings, given) = (config.clone(), inputs.clone());
    let look = move || Ok((limits(&settings, &given), outputs(&given).refusals()));
    let (limits, unwritable) = off_the_runtime("looking at products and places", look).await?;
    match (owner, limits) {
        (Ok(()), Ok(limits)) if unwritable.is_empty() => Ok(limits),
        (owner, limits) => {
            let mut refusals: Vec<_> = owner.err().into_iter().collect();
            refusals.extend(limits.err().into_iter().flatten());
            refusals.extend(unwritable);
            Err(LearnerError::of_all(refusals))
        }
    }
}

fn limits(config: &LearnerConfig, inputs: &LearnerInputs) -> Result<CompletionLimits, Vec<LearnerError>> {
    let (catalogue, most) = (inputs.catalogue.as_ref(), inputs.completion_tokens);
    match Policy::without_weights(&inputs.policy_dir) {
        Ok(policy) => completion_limits(config, catalogue, &policy.read_as(&inputs.policy_reading), most),
        Err(error) => {
            let others = training_refusals(config, catalogue, None, most);
            Err([LearnerError::Policy(error)].into_iter().chain(others).collect())
        }
    }
}

fn outputs(inputs: &LearnerInputs) -> Outputs<'_> {
    Outputs {
        steps: inputs.steps_file.as_deref(),
        pairs: inputs.pairs_dir.as_deref(),
        tensorboard: inputs.tensorboard_dir.as_deref(),
    }
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
) -> Result<Setup<PolicyTraining>, LearnerError> {
    let OpenLedger {
        journal,
        begun,
        ledger,
        epoch,
        checkpoint,
        lineage,
        untrained,
        measured,
    } = opened;
    let start = Start {
        run_seed: inputs.run_seed,
        lineage,
        base: base_digest(&base),
        base_files: base.iter().map(|(artifact, _)| artifact.into()).collect(),
        config: config.clone(),
    };
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
    let canary = CanaryAnswers::new(
        &policy,
        &config.lora,
        &assortment,
        inputs.run_seed,
        inputs.completion_tokens,
    )?;
    let weights = Weights {
        canary: Some(canary.of(&from_safetensors(&adapter)?)?.into()),
        adapter,
    };
    let broadcast = Broadcast::new(
        base,
        adapter_config(&config.lora, &inputs.base_model),
        version,
        weights,
        config.is_last(version),
        config.keep_versions,
        config.relay_branches,
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
        config.feature_cache_bytes,
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
    let control = Arc::new(ControlPlane::new(
        &config,
        begun,
        assortment,
        broadcast,
        completions,
        ledger,
    ));
    if let Some(checkpoint) = &checkpoint {
        control.buffer.restore(checkpoint.manifest.account);
        control.measured.goes_on_behind(checkpoint.manifest.steps);
    }
    resume::take_up(&control.buffer, untrained, &start.lineage, config.retired_rule());
    let (keeper, kept) = Keeper::new();
    let steps = checkpoint
        .as_ref()
        .map_or(0, |checkpoint| checkpoint.manifest.steps);
    let publisher = Publisher {
        control: control.clone(),
        keeper,
        start,
    };
    if let Some(directory) = inputs.tensorboard_dir.as_deref() {
        let file = EventFile::create(directory, steps)?;
        let holds_out = control.assortment().holds_out();
        control.board.open(file, version, steps, measured, holds_out);
    }
    let training = PolicyTraining {
        trainer,
        log: StepLog::open(inputs.steps_file.as_deref(), steps)?
            .noting(control.measured.clone())
            .showing(control.board.clone()),
        pairs,
        canary,
        publisher,
    };
    Ok(Setup {
        control,
        training,
        journal,
        kept,
    })
}

impl Training for PolicyTraining {
    fn start(self, stop: CancellationToken) -> Result<Trained, LearnerError> {
        on_own_thread(move || self.run(&stop))
    }
}

impl PolicyTraining {
    fn run(self, stop: &CancellationToken) -> Result<(), LearnerError> {
        let Self {
            mut trainer,
            mut log,
            pairs,
            canary,
            publisher,
        } = self;
        let control = publisher.control.clone();
        let mut source = Recorded {
            source: &control.buffer,
            log: pairs,
        };
        let publish = |trained: TrainedVersion| {
            let weights = Weights {
                adapter: adapter_bytes(&trained.adapter)?.into(),
                canary: Some(canary.of(&trained.adapter)?.into()),
            };
            let resumable = match (trained.optimizer, trained.account) {
                (Some(optimizer), Some(account)) => Some(Resumable {
                    moments: optimizer.moments,
                    account,
                }),
                _ => None,
            };
            let note = TrainingNote {
                version: trained.version,
                step: trained.steps,
                tasks: trained.tasks,
                metrics: trained.metrics.clone(),
            };
            let metrics = VersionMetrics {
                version: trained.version,
                values: trained.metrics,
            };
            block_on(publisher.publish(weights, metrics, note, resumable))
        };
        let newest = control.broadcast.newest().version;
        match trainer.train(newest, &mut source, stop, &mut log, publish) {
            Ok(()) | Err(LearnerError::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
