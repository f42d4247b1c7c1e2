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
mod error;
mod evaluation;
mod forward;
mod gate;
mod instruments;
mod orientation;
mod reload;
mod scorer;
#[cfg(test)]
mod scripted;
mod served;
mod service;
mod serving;
#[cfg(test)]
mod toy_log;
mod training;

pub use config::{RewardConfig, RewardServerConfig};
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
use proto::observe::Pulse;
use proto::pb::reward_service_server::RewardServiceServer;
use proto::tls::Transport;
use proto::{Authorizer, ConnectionLimit, Door, Gate, Incoming, MAX_MESSAGE_BYTES};
use reload::{ReloadState, Reloader};
use service::Service;
use serving::Models;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;

/// Open streams of one connection.
const STREAMS_PER_CONNECTION: u32 = 16;

/// Longest time from a call's first byte to its answer, waiting for other calls included: nobody is served who sends a
/// byte a minute.
const CALL_TIME: Duration = Duration::from_secs(300);

/// How long a connection may be silent before the caller is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What a reward-server needs besides its configuration.
pub struct RewardServerInputs<M> {
    /// The model to serve first.
    pub model: M,
    /// Where it came from, so that another one there can take over; `None`: it stays.
    pub source: Option<ModelSource<M>>,
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

/// Serves a reward model on `listener` until `shutdown` is cancelled, then finishes the requests under way.
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
    let watching = CancellationToken::new();
    let watch = async {
        match source {
            Some(source) => {
                let reloader = Reloader::new(source, models.clone(), reloads.clone());
                reloader.watch(&config, watching.clone()).await;
            }
            None => watching.cancelled().await,
        }
    };
    let serve = async {
        let service = Service::new(
            models.clone(),
            reloads.clone(),
            authorizer.clone(),
            config.min_confidence,
            instruments.request_seconds.clone(),
        );
        let pulse = &instruments.pulse;
        let served = serve(
            service,
            authorizer,
            models.clone(),
            &config,
            incoming,
            &shutdown,
            pulse,
        )
        .await;
        watching.cancel();
        served
    };
    let (served, ()) = tokio::join!(serve, watch);
    models.end(config.drain_timeout()).await;
    served
}

/// Serves until `shutdown`, and the drain after it.
async fn serve(
    service: Service,
    authorizer: Arc<dyn Authorizer>,
    models: Arc<Models>,
    config: &RewardServerConfig,
    incoming: impl Incoming,
    shutdown: &CancellationToken,
    pulse: &Pulse,
) -> Result<(), RewardError> {
    let service = RewardServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let service = Gate::before(service, RoomToScore(models.budget.clone()));
    let service = InterceptedService::new(service, Door::of(authorizer));
    // Whoever asks whether the server is well needs to be nobody in particular; it serves from here until it drains.
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    pulse.set_ready(true);
    let asked = shutdown.clone().cancelled_owned();
    let limit = ConnectionLimit {
        most: config.max_connections,
        setting: "reward_server.max_connections",
    };
    let incoming = limit.around(incoming);
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .timeout(CALL_TIME)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(service)
        .add_service(health_service)
        .serve_with_incoming_shutdown(incoming, asked);
    let deadline = async {
        shutdown.cancelled().await;
        pulse.set_ready(false);
        health.set_service_status("", ServingStatus::NotServing).await;
        tokio::time::sleep(config.drain_timeout()).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = deadline => Err(RewardError::DrainTimeout { seconds: config.drain_timeout_s }),
    }
}

#[cfg(test)]
mod tests;
