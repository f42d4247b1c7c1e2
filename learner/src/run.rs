//! A whole run: the service on the runtime, the training on its own thread, and their common end.

mod keepers;
mod publisher;
mod server;
mod setup;
mod summary;

pub(crate) use publisher::{Publisher, Resumable};
pub use summary::{RunSummary, VersionMetrics};

use crate::adapter_files;
use crate::checkpoint::{self, Checkpoints, Kept};
use crate::clock;
use crate::config::{LearnerConfig, LossConfig};
use crate::control::{ControlPlane, Failure};
use crate::error::{LearnerError, panic_message};
use crate::images::Expiry;
use crate::instruments::Instruments;
use crate::ledger;
use crate::run_end::EndRecord;
use crate::shown;
use common::{DecidingSettings, RunId};
use data::Catalogue;
use futures::future::OptionFuture;
use keepers::Keepers;
use models::device::Placement;
use models::policy::PolicyReading;
use proto::tls::Transport;
use proto::{Authorizer, Incoming};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use store::{Journal, Store};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What a learner needs besides its configuration.
#[derive(Clone)]
pub struct LearnerInputs {
    /// The run.
    pub run_id: RunId,
    /// The run's seed: every draw derives from it.
    pub run_seed: u64,
    /// The longest completion that actors sample, in tokens, end token included: every product's prompt must leave room
    /// for it in the policy's context.
    pub completion_tokens: usize,
    /// The settings outside `[learner]` that decide what becomes of a task: the run goes on with those that it was begun with, and actors
    /// that state others are refused. Those that are not there are not compared.
    pub settings: DecidingSettings,
    /// The products.
    pub catalogue: Arc<dyn Catalogue>,
    /// The run's store: product cut-outs are written to it, and the run's ledger, below `runs/<run>`.
    pub store: Store,
    /// The policy to start from, a model directory. Actors fetch its weights.
    pub policy_dir: PathBuf,
    /// What is read into it in place of what its directory says; actors get it with the policy.
    pub policy_reading: PolicyReading,
    /// What the adapter says it belongs to: the name or path by which its readers find the policy.
    pub base_model: String,
    /// Where the last version's adapter is written, in PEFT's layout. It may hold an earlier one of this run only.
    pub adapter: Store,
    /// Where a line of JSON per optimizer step is written (docs/metrics.md), replacing what was there; `None` for nowhere.
    pub steps_file: Option<PathBuf>,
    /// A directory for the pairs that are trained on, in the form that TRL's DPO trainer takes (`pairs.jsonl` and their
    /// images), replacing those that were there; `None` for nowhere.
    pub pairs_dir: Option<PathBuf>,
    /// Where TensorBoard finds the metrics of steps and versions, and what versions do on held-out products: a directory, which is
    /// made; `None` for nowhere.
    pub tensorboard_dir: Option<PathBuf>,
    /// Where the policy computes, and the number format of its frozen weights there; the adapter is trained in f32.
    pub placement: Placement,
    /// Micro-batches computed at a time, at least 1.
    pub threads: usize,
    /// Who may call.
    pub authorizer: Arc<dyn Authorizer>,
    /// What callers' connections are made of.
    pub transport: Transport,
    /// Through which the process is watched.
    pub instruments: Instruments,
}

/// Where a learner is reached.
pub struct Listeners {
    /// By actors and observers.
    pub grpc: TcpListener,
    /// By people; `None`: the run is shown to nobody.
    pub dashboard: Option<dashboard::Door>,
}

impl From<TcpListener> for Listeners {
    fn from(grpc: TcpListener) -> Self {
        let dashboard = None;
        Self { grpc, dashboard }
    }
}

/// How often leases are checked and a finished run looks whether its actors are done.
const TICK: Duration = Duration::from_millis(50);

/// Serves and trains a run at its listeners until all versions are published and the actors have fetched the last one, or
/// until `shutdown`; the last trained version's adapter is written in both cases.
///
/// # Errors
/// [`LearnerError`]: configuration, catalogue, policy or a place to write to at fault, and nothing was taken or written yet; too few
/// pairs, training not finite.
pub async fn run(
    config: LearnerConfig,
    inputs: LearnerInputs,
    listeners: impl Into<Listeners>,
    shutdown: CancellationToken,
) -> Result<RunSummary, LearnerError> {
    let Listeners { grpc, dashboard } = listeners.into();
    config.validate()?;
    say_what_is_trained(&config.loss);
    let setup = setup::prepare(&config, &inputs).await?;
    let surroundings = Surroundings {
        incoming: inputs.transport.incoming(grpc),
        authorizer: inputs.authorizer,
        store: inputs.store,
        adapter: Some(inputs.adapter),
        instruments: inputs.instruments,
        dashboard,
    };
    serve(&config, setup, surroundings, shutdown).await
}

/// What makes versions out of pairs.
pub(crate) trait Training {
    /// Begins to train, off the runtime, until the run is complete or `stop`; each version is published.
    ///
    /// # Errors
    /// [`LearnerError`] when it cannot begin.
    fn start(self, stop: CancellationToken) -> Result<Trained, LearnerError>;
}

/// How training ended, once it has.
pub(crate) type Trained = oneshot::Receiver<Result<(), LearnerError>>;

/// The parts of a run, put together.
pub(crate) struct Setup<T> {
    /// For the service.
    pub(crate) control: Arc<ControlPlane>,
    /// For the training thread.
    pub(crate) training: T,
    /// For the ledger's writer.
    pub(crate) journal: Journal,
    /// For the checkpoints' writer.
    pub(crate) kept: Kept,
}

/// What a run stands in.
pub(crate) struct Surroundings<I> {
    /// Whom it serves.
    pub(crate) incoming: I,
    /// Who may call.
    pub(crate) authorizer: Arc<dyn Authorizer>,
    /// Where its checkpoints are.
    pub(crate) store: Store,
    /// Where the last version's adapter is written; `None` for nowhere.
    pub(crate) adapter: Option<Store>,
    /// Through which the process is watched.
    pub(crate) instruments: Instruments,
    /// Where people look at it.
    pub(crate) dashboard: Option<dashboard::Door>,
}

/// Serves a run from its first lease to the end of [`run`].
///
/// # Errors
/// [`LearnerError`] when training or what keeps the run fails.
pub(crate) async fn serve<T: Training>(
    config: &LearnerConfig,
    setup: Setup<T>,
    surroundings: Surroundings<impl Incoming>,
    shutdown: CancellationToken,
) -> Result<RunSummary, LearnerError> {
    let Setup {
        control,
        training,
        journal,
        kept,
    } = setup;
    let Surroundings {
        incoming,
        authorizer,
        store,
        adapter,
        instruments,
        dashboard,
    } = surroundings;
    instruments.watch(&control);
    let run = &control.identity.run;
    let (checkpoints, end) = (Checkpoints::of(&store, run), EndRecord::of(&store, run));
    // Ends streams and leases; `shutdown` ends training first.
    let stop = CancellationToken::new();
    let (journal, stopped) = (Arc::new(journal), stop.clone());
    let expiry = config
        .keep_images()
        .map(|keep| Expiry::new(&store, run, journal.clone(), keep));
    let showing = dashboard.map(|door| shown::open(door, &control, &journal, &store, config, stop.clone()));
    let keepers = Keepers::spawn(
        ledger::keep(control.clone(), journal),
        checkpoint::keep(kept, control.clone(), checkpoints, end, config.keep_checkpoints),
        async move {
            if let Some(expiry) = expiry {
                expiry.run(stopped).await;
            }
        },
    );
    let server = server::spawn(incoming, &control, config, authorizer, stop.clone());
    instruments.pulse.set_ready(true);
    let trained = training.start(shutdown.clone())?;
    let mut result = supervise(&control, trained, &keepers, &shutdown).await;
    control.training_is_over();
    let untrained = control.broadcast.newest().version.number == 0;
    // A learner that has been superseded learns of it here at the latest, and leaves the adapter's place to its successor.
    let durable = unless_stopped(control.ledger.durable(), &shutdown, config.drain()).await;
    let is_kept = durable.is_some_and(|durable| durable.is_ok()) && !keepers.have_failed();
    if let Some(place) = adapter.filter(|_| result.is_ok() && !untrained && is_kept) {
        result = adapter_files::write(&place, config, &control).await;
    }
    if let Err(error) = &result {
        control.fail(Failure::Run(error.to_string()));
    }
    if !is_kept {
        control.fail(Failure::Learner("what it records can no longer be kept".into()));
    }
    if !shutdown.is_cancelled() {
        linger(&control, config, &shutdown, result.is_ok() && is_kept).await;
    }
    instruments.pulse.set_ready(false);
    stop.cancel();
    let (drained, shown) = tokio::join!(server.drain(config.drain()), OptionFuture::from(showing));
    if let Some(Err(panic)) = shown {
        // Nothing of the run depends on who has looked at it.
        tracing::warn!(%panic, "dashboard");
    }
    drained?;
    control.ledger.close();
    match unless_stopped(keepers.finish(), &shutdown, config.drain()).await {
        Some(finished) => result.and(finished)?,
        None => {
            tracing::warn!("stopped before the store took everything; nothing that was acknowledged is lost");
            result?;
        }
    }
    Ok(RunSummary::new(&control))
}

/// Waits for `work`; once the learner is asked to stop, no longer than `drain`.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    shutdown: &CancellationToken,
    drain: Duration,
) -> Option<T> {
    let stopped = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = stopped => None,
    }
}

fn say_what_is_trained(loss: &LossConfig) {
    tracing::info!(?loss, "training");
    for departure in loss.departures() {
        tracing::warn!("mode compat is not CAIG's code: {departure}");
    }
}

/// Trains on a thread of its own.
fn on_own_thread(
    training: impl FnOnce() -> Result<(), LearnerError> + Send + 'static,
) -> Result<Trained, LearnerError> {
    let (send, receive) = oneshot::channel();
    let span = tracing::info_span!("train");
    let work = move || {
        let _span = span.entered();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(training));
        let panicked = |panic: Box<dyn std::any::Any + Send>| LearnerError::Panicked {
            what: "training",
            message: panic_message(&*panic),
        };
        // Nobody listens any more only when the whole run was dropped.
        let _ = send.send(result.unwrap_or_else(|panic| Err(panicked(panic))));
    };
    let started = thread::Builder::new().name("train".into()).spawn(work);
    started.map_err(|error| LearnerError::panicked("starting the training thread", &error))?;
    Ok(receive)
}

/// Waits for training to end, ending overdue leases meanwhile. On `shutdown` the training thread is woken, and when nothing
/// more can be kept.
async fn supervise(
    control: &ControlPlane,
    mut trained: Trained,
    keepers: &Keepers,
    shutdown: &CancellationToken,
) -> Result<(), LearnerError> {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            result = &mut trained => {
                return result.unwrap_or_else(|_| Err(LearnerError::panicked("training", &"its thread is gone")));
            }
            () = shutdown.cancelled(), if !control.buffer.is_closed() => control.buffer.close(),
            () = keepers.failed(), if !control.buffer.is_closed() => control.buffer.close(),
            _ = tick.tick() => {
                let now = clock::now();
                control.expire(now);
                control.look(now);
            }
        }
    }
}

/// Gives actors time to adopt the last version, observers time to fetch it and evaluators to tell what it does on held-out products,
/// and everybody time to hear of a failure.
async fn linger(
    control: &ControlPlane,
    config: &LearnerConfig,
    shutdown: &CancellationToken,
    complete: bool,
) {
    control.look(clock::now());
    let begun = clock::now();
    let last = control.broadcast.newest().version;
    let nobody_is_busy =
        || control.broadcast.watchers() == 0 && control.actors.all_done(last, clock::now(), config.linger());
    let done = || complete && nobody_is_busy();
    let awaits_evaluation = || complete && control.awaits_evaluation(last);
    let patience = || match awaits_evaluation() {
        true => config.linger().max(config.evaluation_linger()),
        false => config.linger(),
    };
    if awaits_evaluation() {
        tracing::info!(version = %last, at_most = ?patience(), "waiting for what an evaluator finds of the last version");
    }
    while !done() && clock::now() < begun + patience() && !shutdown.is_cancelled() {
        tokio::time::sleep(TICK.min(config.linger())).await;
    }
}

#[cfg(test)]
mod tests;
