//! Whether a role still answers. A process that hangs neither ends nor closes its connections, so that nobody else would
//! notice for as long as the longest timeout of the run.

use crate::ready::Ready;
use anyhow::anyhow;
use std::time::Duration;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// How long one answer is waited for, and how long after it the next one is asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many answers missing in a row make a role lost: 30 s, which no busy machine takes for an answer without work.
const MISSING: u32 = 3;

/// Waits until a role has stopped answering, and says so.
///
/// Any answer will do: a role without a health service says that it has none, and where a process has ended the system
/// refuses the connection. That end is seen elsewhere.
pub(super) async fn lost(role: &Ready) -> anyhow::Error {
    match silence(&role.endpoint, PATIENCE).await {
        Ok(waited) => anyhow!(
            "the {} at {} has not answered its health check for {} s",
            role.role.name(),
            role.endpoint,
            waited.as_secs()
        ),
        Err(error) => error.into(),
    }
}

/// Returns how long nothing was heard.
async fn silence(endpoint: &str, patience: Duration) -> Result<Duration, tonic::transport::Error> {
    let mut client = HealthClient::new(Endpoint::from_shared(endpoint.to_owned())?.connect_lazy());
    let mut missing = 0;
    while missing < MISSING {
        let question = HealthCheckRequest::default();
        match tokio::time::timeout(patience, client.check(question)).await {
            Err(_) => missing += 1,
            Ok(_) => {
                missing = 0;
                tokio::time::sleep(patience).await;
            }
        }
    }
    Ok(patience * MISSING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_listener_that_nobody_serves_is_silent() {
        // The system accepts connections for a process that hangs.
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", hanging.local_addr().unwrap());
        assert_eq!(silence(&endpoint, SHORT).await.unwrap(), SHORT * MISSING);
    }

    #[tokio::test]
    async fn an_answer_of_any_kind_is_a_sign_of_life() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = format!("http://{}", listener.local_addr().unwrap());
        let (_reporter, service) = tonic_health::server::health_reporter();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        // Nobody listens there any more: the connection is refused.
        let ended = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        for endpoint in [serving, format!("http://{ended}")] {
            let watched = silence(&endpoint, Duration::from_millis(200));
            assert!(
                tokio::time::timeout(Duration::from_millis(700), watched)
                    .await
                    .is_err()
            );
        }
    }
}
