//! A learner that trains nothing: for measuring and testing what is around the training.
//!
//! Service, leases, ledger, checkpoints and broadcast are those of a run. In the place of the training thread stands a task that
//! takes the same batches, pauses, and publishes weights drawn from the run's seed.

use crate::assortment::Assortment;
use crate::broadcast::{Broadcast, Weights};
use crate::checkpoint::{Keeper, Start};
use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::instruments::Instruments;
use crate::ledger::{Beginning, CatalogueDigests, Identity, TrainingNote};
use crate::prompts::CompletionLimits;
use crate::resume::{self, OpenLedger};
use crate::run::{
    Publisher, Resumable, RunSummary, Setup, Surroundings, Trained, Training, VersionMetrics, serve,
};
use bytes::Bytes;
use common::{DecidingSettings, Digest, PolicyVersion, Purpose, RunId, TaskId, derive_seed};
use data::Catalogue;
use futures::executor::block_on;
use models::peft::adapter_config;
use proto::{Authorizer, Incoming};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The vocabulary and the longest completion of a simulated policy, in tokens.
const COMPLETIONS: CompletionLimits = CompletionLimits {
    vocab_size: 32_000,
    tokens: 1_024,
};

/// What a simulated learner needs besides its configuration.
#[derive(Clone)]
pub struct SimulatedInputs {
    /// The run.
    pub run_id: RunId,
    /// The run's seed.
    pub run_seed: u64,
    /// As a learner's ([`LearnerInputs`](crate::LearnerInputs)).
    pub settings: DecidingSettings,
    /// The products.
    pub catalogue: Arc<dyn Catalogue>,
    /// The run's store.
    pub store: Store,
    /// Who may call.
    pub authorizer: Arc<dyn Authorizer>,
    /// Its versions' adapters.
    pub adapters: SimulatedAdapters,
    /// How long training a version takes.
    pub step: Duration,
}

/// The adapters of a run's versions.
#[derive(Clone)]
pub enum SimulatedAdapters {
    /// Random bytes, so many.
    Drawn(usize),
    /// These, in turn.
    Given(Arc<[Bytes]>),
}

impl SimulatedAdapters {
    /// That of a version.
    fn of(&self, run_seed: u64, version: PolicyVersion) -> Bytes {
        match self {
            Self::Drawn(bytes) => drawn(run_seed, version, *bytes),
            Self::Given(given) => given[version.number as usize % given.len()].clone(),
        }
    }

    /// The length of one, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Drawn(bytes) => *bytes,
            Self::Given(given) => given.first().map_or(0, Bytes::len),
        }
    }
}

/// Serves a run to who comes in as [`run`](crate::run) does, with simulated training.
///
/// # Errors
/// [`LearnerError`] of the configuration, the catalogue and the store.
pub async fn run_simulated(
    config: LearnerConfig,
    inputs: SimulatedInputs,
    incoming: impl Incoming,
    shutdown: CancellationToken,
) -> Result<RunSummary, LearnerError> {
    config.validate()?;
    let assortment = Assortment::open(inputs.catalogue.clone(), &inputs.store, inputs.run_seed).await?;
    let catalogue = inputs.catalogue.clone();
    let digests = move || CatalogueDigests::of(catalogue.as_ref());
    let pixels = inputs.catalogue.products().iter();
    let pixels: usize = pixels.map(|product| product.image.as_raw().len()).sum();
    let catalogue = store::aside(pixels, digests).await;
    let catalogue = catalogue.map_err(|panic| LearnerError::panicked("hashing the catalogue", &panic))?;
    let beginning = Beginning {
        identity: Identity {
            run: inputs.run_id.clone(),
            run_seed: inputs.run_seed,
        },
        base: Some(base()),
        catalogue: Some(catalogue),
        config: Some(config.clone()),
        settings: inputs.settings.clone(),
    };
    let opened = resume::open(&inputs.store, &beginning, config.ledger_flush()).await?;
    let surroundings = Surroundings {
        incoming,
        authorizer: inputs.authorizer.clone(),
        store: inputs.store.clone(),
        adapter: None,
        instruments: Instruments::default(),
        dashboard: None,
    };
    // It hashes what versions are measured on.
    let (settings, bytes) = (config.clone(), inputs.adapters.bytes().max(pixels));
    let assembled = move || assemble(settings, inputs, assortment, opened);
    let setup = store::aside(bytes, assembled).await;
    let setup = setup.map_err(|panic| LearnerError::panicked("preparing the run", &panic))?;
    serve(&config, setup, surroundings, shutdown).await
}

fn assemble(
    config: LearnerConfig,
    inputs: SimulatedInputs,
    assortment: Assortment,
    opened: OpenLedger,
) -> Setup<SimulatedTraining> {
    let OpenLedger {
        journal,
        begun,
        ledger,
        epoch,
        checkpoint,
        lineage,
        untrained,
        measured: _,
    } = opened;
    let mut version = PolicyVersion::initial(epoch);
    let adapter = match &checkpoint {
        None => inputs.adapters.of(inputs.run_seed, version),
        Some(checkpoint) => {
            version.number = checkpoint.manifest.version.number;
            checkpoint.adapter.clone()
        }
    };
    let weights = Weights {
        adapter,
        canary: None,
    };
    let broadcast = Broadcast::new(
        vec![],
        adapter_config(&config.lora, "simulated"),
        version,
        weights,
        config.is_last(version),
        config.keep_versions,
        config.relay_branches,
    );
    let control = ControlPlane::new(
        &config,
        begun,
        Arc::new(assortment),
        broadcast,
        COMPLETIONS,
        ledger,
    );
    let control = Arc::new(control);
    if let Some(checkpoint) = &checkpoint {
        control.buffer.restore(checkpoint.manifest.account);
    }
    resume::take_up(&control.buffer, untrained, &lineage, config.retired_rule());
    let (keeper, kept) = Keeper::new();
    let publisher = Publisher {
        control: control.clone(),
        keeper,
        start: Start {
            run_seed: inputs.run_seed,
            lineage,
            base: base(),
            base_files: vec![],
            config,
        },
    };
    let training = SimulatedTraining {
        publisher: Arc::new(publisher),
        steps: checkpoint.map_or(0, |checkpoint| checkpoint.manifest.steps),
        inputs,
    };
    Setup {
        control,
        training,
        journal,
        kept,
    }
}

/// In the place of the training thread's work.
struct SimulatedTraining {
    publisher: Arc<Publisher>,
    /// Steps taken by the run.
    steps: u64,
    inputs: SimulatedInputs,
}

impl Training for SimulatedTraining {
    fn start(self, stop: CancellationToken) -> Result<Trained, LearnerError> {
        let (send, receive) = oneshot::channel();
        let training = async move {
            let trained = tokio::select! {
                trained = self.train() => trained,
                () = stop.cancelled() => Ok(()),
            };
            let trained = match trained {
                Err(LearnerError::Cancelled) => Ok(()),
                trained => trained,
            };
            // Nobody listens any more only when the whole run was dropped.
            let _ = send.send(trained);
        };
        tokio::spawn(training);
        Ok(receive)
    }
}

impl SimulatedTraining {
    async fn train(mut self) -> Result<(), LearnerError> {
        let control = self.publisher.control.clone();
        let mut version = control.broadcast.newest().version;
        while version.number < self.publisher.start.config.versions {
            let batch = control.buffer.batch(version).await?;
            tokio::time::sleep(self.inputs.step).await;
            version = version.next();
            self.steps += 1;
            let metrics = VersionMetrics {
                version,
                values: BTreeMap::new(),
            };
            let note = TrainingNote {
                version,
                step: self.steps,
                tasks: batch.pairs.iter().map(|pair| pair.task).collect(),
                metrics: BTreeMap::new(),
            };
            let kept = batch
                .sampled
                .filter(|_| self.publisher.start.config.is_checkpointed(version));
            let resumable = kept.map(|sampled| Resumable {
                moments: BTreeMap::new(),
                account: sampled.account,
            });
            self.publish(metrics, note, resumable).await?;
        }
        Ok(())
    }

    /// Publishes a version. An adapter of some hundred megabytes takes a second to be drawn and hashed.
    async fn publish(
        &self,
        metrics: VersionMetrics,
        note: TrainingNote,
        resumable: Option<Resumable>,
    ) -> Result<(), LearnerError> {
        let (run_seed, adapters) = (self.inputs.run_seed, self.inputs.adapters.clone());
        let bytes = adapters.bytes();
        let publisher = self.publisher.clone();
        let publish = async move {
            let weights = Weights {
                adapter: adapters.of(run_seed, metrics.version),
                canary: None,
            };
            publisher.publish(weights, metrics, note, resumable).await
        };
        if bytes < store::SHORT {
            return publish.await;
        }
        let published = tokio::task::spawn_blocking(move || block_on(publish)).await;
        published.map_err(|panic| LearnerError::panicked("publishing", &panic))?
    }
}

/// What stands for the digest of a base.
fn base() -> Digest {
    store::digest(b"simulated")
}

/// Bytes that are a version's alone.
fn drawn(run_seed: u64, version: PolicyVersion, bytes: usize) -> Bytes {
    let seed = derive_seed(run_seed, TaskId(0), version, Purpose::Initialisation);
    let mut drawn = vec![0; bytes];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut drawn);
    drawn.into()
}
