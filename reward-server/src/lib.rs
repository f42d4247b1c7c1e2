//! The reward model as a service: it scores groups of candidate images by predicted click-through rate.
//!
//! Also here: training one from a click log ([`train`]) and measuring it ([`evaluate`]). The crate knows nothing of
//! policies, learners or who asks; what the networks compute is in [`models::ctr`].

mod answers;
mod batching;
mod budget;
mod calibration;
mod config;
mod dataset;
#[cfg(feature = "testing")]
pub mod doors;
mod error;
mod evaluation;
mod forward;
mod gate;
mod instruments;
mod orientation;
mod questions;
mod reload;
mod run_end;
mod scorer;
#[cfg(test)]
mod scripted;
mod served;
mod service;
mod serving;
#[cfg(test)]
mod toy_log;
mod training;

pub use config::{OnRunEnd, RewardConfig, RewardServerConfig};
pub use error::RewardError;
pub use evaluation::{RewardReport, check_log, evaluate};
pub use instruments::Instruments;
pub use models::ctr::{CtrForm, RewardModel};
pub use orientation::OrientedMargins;
pub use reload::ModelSource;
pub use scorer::{GroupScores, ScoreFailure, ScoreResult, score_groups};
pub use served::{BatchUnit, CreativeGroup, Preparation, RawScores, ServedCaig, ServedModel};
pub use training::{LoadedTraining, RewardProgress, train, train_loaded};

use gate::RoomToScore;
use models::device::Placement;
use proto::pb::reward_service_server::RewardServiceServer;
use proto::tls::Transport;
use proto::{Authorizer, ConnectionLimit, Door, Gate, Incoming, KeepAlive, MAX_MESSAGE_BYTES};
use reload::{ReloadState, Reloader};
use run_end::{Readiness, RunEnd};
use service::Service;
use serving::Models;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};

/// Open streams of one connection.
const STREAMS_PER_CONNECTION: u32 = 16;

/// Longest time from a call's first byte to its answer, waiting for other calls included: nobody is served who sends a
/// byte a minute.
const CALL_TIME: Duration = Duration::from_secs(300);

/// The service as it is served.
type Scoring = InterceptedService<Gate<RewardServiceServer<Service>, RoomToScore>, Door>;

/// What a reward-server needs besides its configuration.
pub struct RewardServerInputs<M> {
    /// The model to serve first.
    pub model: M,
    /// Where it came from, so that another one there can take over; `None`: it stays.
    pub source: Option<ModelSource<M>>,
    /// Where it computes; what the device keeps for it is given back with it.
    pub placement: Placement,
    /// Cancelled by whoever hears that the run is complete.
    pub run_complete: CancellationToken,
    /// Whether scores must not depend on who else asks, not even in the last bit: every group then goes through the model by
    /// itself.
    pub deterministic: bool,
    /// Who may call.
    pub authorizer: Arc<dyn Authorizer>,
    /// What callers' connections are made of.
    pub transport: Transport,
    /// Through which the process is watched.
    pub instruments: Instruments,
}

/// Serves a reward model on `listener` until `shutdown` is cancelled, or the run is complete and [`OnRunEnd::Exit`] says so, then finishes the
/// requests under way. With [`OnRunEnd::Idle`] a complete run ends the model, and requests are refused until `shutdown`.
///
/// # Errors
/// [`RewardError::Config`], [`RewardError::Model`] when the model has no digest (it holds NaN), [`RewardError::Unusable`] when
/// it gives no number for plain pictures, [`RewardError::Compute`] when its thread cannot be started, [`RewardError::Serve`]
/// when the connection fails, [`RewardError::DrainTimeout`] when requests were still under way at the deadline.
pub async fn run<M: ServedModel>(
    config: RewardServerConfig,
    inputs: RewardServerInputs<M>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), RewardError> {
    config.validate()?;
    let RewardServerInputs {
        model,
        source,
        placement,
        run_complete,
        deterministic,
        authorizer,
        transport,
        instruments,
    } = inputs;
    let incoming = transport.incoming(listener);
    let models = Arc::new(Models::new(&config, deterministic));
    let serving = models.start(model).await?;
    tracing::info!(digest = %serving.digest, form = %serving.form, deterministic, "reward model ready");
    models.replace(serving);
    let reloads = Arc::new(ReloadState::default());
    instruments.watch(&models, &reloads);
    // Ends the serving, and with it all that runs beside it.
    let stop = shutdown.child_token();
    let watching = stop.child_token();
    let watch = async {
        if let Some(source) = source {
            let reloader = Reloader::new(source, models.clone(), reloads.clone());
            reloader.watch(&config, watching.clone()).await;
        }
    };
    // Whoever asks whether the server is well needs to be nobody in particular; it serves from here until it drains.
    let (health, health_service) = tonic_health::server::health_reporter();
    let readiness = Readiness::of(health, instruments.pulse.clone());
    readiness.set(true).await;
    let end = RunEnd {
        run_complete,
        config: &config,
        models: &models,
        placement,
        watching: watching.clone(),
        readiness: &readiness,
        instruments: &instruments,
        stop: stop.clone(),
    };
    let serve = async {
        let service = Service::new(
            models.clone(),
            reloads.clone(),
            authorizer.clone(),
            config.min_confidence,
            instruments.request_seconds.clone(),
        );
        let service = scoring(service, authorizer, &models);
        let served = serve(service, health_service, &config, incoming, &stop, &readiness).await;
        stop.cancel();
        served
    };
    let (served, (), ()) = tokio::join!(serve, watch, end.obey());
    models.end(config.drain_timeout()).await;
    served
}

/// The service with its bounds and its door before it.
fn scoring(service: Service, authorizer: Arc<dyn Authorizer>, models: &Models) -> Scoring {
    let service = RewardServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let service = Gate::before(service, RoomToScore(models.budget.clone()));
    InterceptedService::new(service, Door::of(authorizer))
}

/// Serves until `stop`, and the drain after it.
async fn serve(
    service: Scoring,
    health: HealthServer<impl Health>,
    config: &RewardServerConfig,
    incoming: impl Incoming,
    stop: &CancellationToken,
    readiness: &Readiness,
) -> Result<(), RewardError> {
    let asked = stop.clone().cancelled_owned();
    let limit = ConnectionLimit {
        most: config.max_connections,
        setting: "reward_server.max_connections",
    };
    let incoming = limit.around(incoming);
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .timeout(CALL_TIME)
        .http2_keepalive_interval(Some(KeepAlive::OF_SERVERS.silence))
        .http2_keepalive_timeout(Some(KeepAlive::OF_SERVERS.answer))
        .add_service(service)
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, asked);
    let deadline = async {
        stop.cancelled().await;
        readiness.set(false).await;
        tokio::time::sleep(config.drain_timeout()).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = deadline => Err(RewardError::DrainTimeout { seconds: config.drain_timeout_s }),
    }
}

#[cfg(test)]
mod tests;
