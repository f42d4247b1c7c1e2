//! What an actor serves: its health (`grpc.health.v1`), serving once the policy is loaded, until it drains; and what it passes on.

use crate::{ActorError, relay::Relay};
use proto::{ConnectionLimit, Incoming, KeepAlive};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Error, Server};
use tonic_health::{ServingStatus, server::HealthReporter};

/// How long connections may take to end: a watcher would hold its own open for good.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// Open streams of one connection: a relay's branch fetches one artifact, a probe asks one thing.
const STREAMS_PER_CONNECTION: u32 = 64;

/// Longest time from a call's first byte to the beginning of its answer.
const CALL_TIME: Duration = Duration::from_secs(60);

/// A served health service.
pub(crate) struct Health {
    reporter: HealthReporter,
    stop: CancellationToken,
    server: JoinHandle<Result<(), Error>>,
}

impl Health {
    /// Serves who comes in, at most `connections` at a time, not ready yet, with `relay` beside it.
    pub(crate) async fn serve(incoming: impl Incoming, connections: usize, relay: Option<Relay>) -> Self {
        let limit = ConnectionLimit {
            most: connections,
            setting: "actor.max_connections",
        };
        let incoming = limit.around(incoming);
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_service_status("", ServingStatus::NotServing).await;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .timeout(CALL_TIME)
            .http2_keepalive_interval(Some(KeepAlive::OF_SERVERS.silence))
            .http2_keepalive_timeout(Some(KeepAlive::OF_SERVERS.answer))
            .initial_stream_window_size(proto::BULK_WINDOW)
            .initial_connection_window_size(proto::BULK_WINDOW)
            .add_service(service)
            .add_optional_service(relay.map(Relay::behind_its_door))
            .serve_with_incoming_shutdown(incoming, stopped);
        Self {
            reporter,
            stop,
            server: tokio::spawn(serving),
        }
    }

    /// Says whether the actor takes part in the run.
    pub(crate) async fn set_ready(&self, ready: bool) {
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status("", status).await;
    }

    /// Stops serving.
    ///
    /// # Errors
    /// [`ActorError::Health`] when serving had failed.
    pub(crate) async fn stop(mut self) -> Result<(), ActorError> {
        self.stop.cancel();
        match tokio::time::timeout(CLOSING_TIME, &mut self.server).await {
            Ok(Ok(served)) => served.map_err(ActorError::Health),
            Ok(Err(source)) => Err(ActorError::Task {
                task: "health",
                source,
            }),
            Err(_) => {
                self.server.abort();
                let _aborted = self.server.await;
                Ok(())
            }
        }
    }
}
