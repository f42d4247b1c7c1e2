//! The health service of an actor (`grpc.health.v1`): serving once the policy is loaded, until it drains.

use crate::ActorError;
use std::time::Duration;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Error, Server};
use tonic_health::{ServingStatus, server::HealthReporter};

/// How long connections may take to end: a watcher would hold its own open for good.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// A served health service.
pub(crate) struct Health {
    reporter: HealthReporter,
    stop: CancellationToken,
    server: JoinHandle<Result<(), Error>>,
}

impl Health {
    /// Serves on `listener`, not ready yet.
    pub(crate) async fn serve(listener: TcpListener) -> Self {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_service_status("", ServingStatus::NotServing).await;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
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
