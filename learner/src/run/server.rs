//! The gRPC server as a task that can be drained.

use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::service::Service;
use proto::pb::learner_service_server::LearnerServiceServer;
use proto::{Authorizer, MAX_MESSAGE_BYTES};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// A server that runs until its token is cancelled.
pub(super) struct Serving {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Serves `control` on `listener` until `stop`.
pub(super) fn spawn(
    listener: TcpListener,
    control: &Arc<ControlPlane>,
    config: &LearnerConfig,
    authorizer: Arc<dyn Authorizer>,
    stop: CancellationToken,
) -> Serving {
    let service = Service::new(control.clone(), authorizer, config.retry_after_ms, stop.clone());
    let service = LearnerServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_service(service);
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
