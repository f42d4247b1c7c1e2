//! The sending side of the queue: batches, an answer for each, and the rest at the end.

use super::Counts;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// The most spans of one request.
pub(super) const BATCH: usize = 512;

/// How long spans wait for company.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long what is held may take to be sent when the process ends.
const LAST_TIME: Duration = Duration::from_secs(5);

/// The sending side.
pub(super) struct Sending {
    /// The collector.
    pub(super) client: TraceServiceClient<Channel>,
    /// Who the spans are of.
    pub(super) resource: Resource,
    /// What becomes of them.
    pub(super) counts: Counts,
    /// Whether the collector took the last batch, so that an outage is told once.
    pub(super) reached: bool,
}

impl Sending {
    /// Sends what is `waiting` until `stop`, and then the rest.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Span>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            tokio::select! {
                _ = waiting.recv_many(&mut batch, BATCH) => {}
                () = stop.cancelled() => break,
            }
            let company = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    waiting.recv_many(&mut batch, room).await;
                }
            };
            tokio::select! {
                () = company => {}
                () = sleep(INTERVAL) => {}
                () = stop.cancelled() => {}
            }
            self.send(std::mem::take(&mut batch)).await;
        }
        if timeout(LAST_TIME, self.rest(&mut waiting)).await.is_err() {
            tracing::warn!(held = waiting.len(), "spans were not sent before the end");
        }
    }

    /// Sends all that is held.
    async fn rest(&mut self, waiting: &mut mpsc::Receiver<Span>) {
        let mut batch = Vec::new();
        loop {
            let next = waiting.try_recv();
            let is_over = matches!(next, Err(TryRecvError::Empty | TryRecvError::Disconnected));
            batch.extend(next.ok());
            if batch.len() == BATCH || (is_over && !batch.is_empty()) {
                self.send(std::mem::take(&mut batch)).await;
            }
            if is_over {
                return;
            }
        }
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let scope = InstrumentationScope {
            name: "adwright".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..InstrumentationScope::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        match self.client.export(request).await {
            Ok(answer) => {
                let rejected = answer
                    .into_inner()
                    .partial_success
                    .map_or(0, |partial| partial.rejected_spans);
                let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
                self.counts.sent.inc_by(count - rejected);
                self.counts.dropped.inc_by(rejected);
                self.reached = true;
            }
            Err(status) => {
                self.counts.dropped.inc_by(count);
                if std::mem::take(&mut self.reached) {
                    tracing::warn!(code = ?status.code(), error = status.message(), "the collector takes no spans");
                }
            }
        }
    }
}
