//! The one listener by which a process is watched: `GET /metrics` for Prometheus and `grpc.health.v1`, on one port, in plain text, so
//! that a kubelet's probes work whatever the roles speak among themselves.
//!
//! It is up before models are brought here. What a stranger can hold is bounded: connections, their time, their first byte, headers,
//! streams and messages. It changes nothing and shows no creative, caption or token.

mod liveness;
mod server;

use crate::config::TelemetryConfig;
use crate::failure::Outcome;
use crate::role;
use crate::security::Security;
use crate::telemetry::Telemetry;
use axum::Router;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::info::Info;
use proto::observe::{Pulse, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The largest message of a health check: a name of a service.
const MAX_HEALTH_BYTES: usize = 1 << 10;

/// What a process shows of itself.
pub(crate) struct Watched {
    /// The name of its role.
    pub(crate) role: &'static str,
    /// Its numbers, and below them those of the process: a registry alone would put numbers that are only read before others.
    pub(crate) pages: [Registry; 2],
    /// Whether it takes part and comes along.
    pub(crate) pulse: Pulse,
}

impl Watched {
    /// A role whose page is what `register` puts into the registry, and below it what becomes of spans, when the certificate ends and
    /// which build this is.
    pub(crate) fn of(
        role: impl Into<&'static str>,
        pulse: &Pulse,
        telemetry: &Telemetry,
        security: &Security,
        register: impl FnOnce(&mut Registry),
    ) -> Self {
        let role = role.into();
        let (mut own, mut process) = (Registry::default(), Registry::default());
        register(&mut own);
        telemetry.register(&mut process);
        security.register(&mut process);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("role", role)]);
        process.register("adwright_build", "The build and the role of this process.", build);
        Self {
            role,
            pages: [own, process],
            pulse: pulse.clone(),
        }
    }
}

/// Serves what is `watched` at the configured address, if there is one, until the process ends; once `drain` is asked for it is not
/// ready any more.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn start(
    config: &TelemetryConfig,
    watched: Watched,
    drain: CancellationToken,
) -> Outcome<()> {
    if config.metrics_listen.is_empty() {
        return Ok(());
    }
    let (listener, address) = role::bind_for("--metrics", &config.metrics_listen).await?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(MAX_HEALTH_BYTES);
    let pages = Arc::new(watched.pages);
    let router = Routes::new(health).into_axum_router();
    let router: Router = router.route("/metrics", get(move || page(pages.clone())));
    liveness::first_word(&reporter).await;
    tokio::spawn(liveness::report(reporter, watched.pulse, config.stall(), drain));
    tokio::spawn(server::serve(listener, router));
    tracing::info!(role = watched.role, %address, "metrics and health are served");
    Ok(())
}

/// The numbers as they are now. Writing them takes as long as there are actors, so it is done aside.
async fn page(pages: Arc<[Registry; 2]>) -> impl IntoResponse {
    let written = tokio::task::spawn_blocking(move || {
        let mut page = String::new();
        let [own, process] = &*pages;
        prometheus_text::encode(&mut page, own)?;
        prometheus_text::encode(&mut page, process)?;
        Ok::<_, std::fmt::Error>(page)
    });
    match written.await {
        Ok(Ok(page)) => (StatusCode::OK, [(CONTENT_TYPE, TEXT)], page),
        _ => {
            let reason = "the page could not be written\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, TEXT)], reason)
        }
    }
}

#[cfg(test)]
mod tests;
