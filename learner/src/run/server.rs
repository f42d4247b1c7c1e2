//! The gRPC server as a task that can be drained.

use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::service::{RoomForOutcomes, Scaler, Service};
use proto::keda::external_scaler_server::ExternalScalerServer;
use proto::pb::learner_service_server::LearnerServiceServer;
use proto::{
    Authorizer, BULK_WINDOW, ConnectionLimit, Door, Gate, Incoming, KeepAlive, MAX_MESSAGE_BYTES,
    MAX_OUTCOMES_BYTES,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

/// Calls of one connection that are worked on at the same time; an actor has at most three under way.
const CALLS_PER_CONNECTION: usize = 32;

/// Open streams of one connection: an actor follows one stream of announcements and fetches one artifact.
const STREAMS_PER_CONNECTION: u32 = 64;

/// Longest time from a call's first byte to the beginning of its answer: nobody is served who sends a byte a minute.
const CALL_TIME: Duration = Duration::from_secs(60);

/// A server that runs until its token is cancelled.
pub(super) struct Serving {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Serves `control` to who comes in until `stop`.
pub(super) fn spawn(
    incoming: impl Incoming,
    control: &Arc<ControlPlane>,
    config: &LearnerConfig,
    authorizer: Arc<dyn Authorizer>,
    stop: CancellationToken,
) -> Serving {
    let door = Door::of(authorizer.clone());
    let room = RoomForOutcomes::new(config.memory_bytes);
    let scaler = Scaler::new(control.clone(), authorizer.clone(), stop.clone());
    let scaler = Gate::before(ExternalScalerServer::new(scaler), room.clone());
    let scaler = InterceptedService::new(scaler, door.clone());
    let service = Service::new(control.clone(), authorizer, config.retry_after_ms, stop.clone());
    let service = LearnerServiceServer::new(service)
        .max_decoding_message_size(MAX_OUTCOMES_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let service = Gate::before(service, room);
    let service = InterceptedService::new(service, door);
    // A learner that is served takes leases: what comes before, it does before it listens. Probes are let in from anywhere.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .timeout(CALL_TIME)
        .initial_stream_window_size(BULK_WINDOW)
        .initial_connection_window_size(BULK_WINDOW)
        .http2_keepalive_interval(Some(KeepAlive::OF_SERVERS.silence))
        .http2_keepalive_timeout(Some(KeepAlive::OF_SERVERS.answer))
        .add_service(health)
        .add_service(scaler)
        .add_service(service);
    let limit = ConnectionLimit {
        most: config.max_connections,
        setting: "learner.max_connections",
    };
    let incoming = limit.around(incoming);
    let task = tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()));
    Serving { task }
}

impl Serving {
    /// Waits for open calls, at most `deadline`; then they are cut off.
    ///
    /// # Errors
    /// [`LearnerError::Serve`] when the server had failed.
    pub(super) async fn drain(mut self, deadline: Duration) -> Result<(), LearnerError> {
        match tokio::time::timeout(deadline, &mut self.task).await {
            Ok(Ok(result)) => result.map_err(LearnerError::Serve),
            Ok(Err(panic)) => Err(LearnerError::panicked("the server", &panic)),
            Err(_) => {
                tracing::warn!(
                    deadline_ms = deadline.as_millis() as u64,
                    "open calls were cut off"
                );
                self.task.abort();
                Ok(())
            }
        }
    }
}
