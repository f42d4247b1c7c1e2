//! Spans on their way to a collector: OTLP over gRPC, from a thread of its own.
//!
//! A role never waits for it. What finds no room in the queue, or what the collector does not take, is dropped and counted; what is
//! held when the process ends is sent, within a few seconds.

mod sending;

use super::spans::{Spans, attribute, stages};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::role;
use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::metrics::counter::Counter;
use proto::observe::Registry;
use sending::Sending;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tracing::Subscriber;
use tracing_subscriber::layer::Layer;

/// Spans that wait, a few hundred bytes each: those of a minute of a run that trains a hundred pairs a second.
const QUEUE: usize = 1 << 16;

/// How long a collector may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What became of spans.
#[derive(Debug, Clone, Default)]
struct Counts {
    sent: Counter,
    dropped: Counter,
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Sender<Span>,
    counts: Counts,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Sends spans of this process to `collector` from here on.
    ///
    /// # Errors
    /// Configuration at fault when the address is none; a failed command when the system gives no thread.
    pub(super) fn start(collector: &str, role: &str, run: &str) -> Outcome<Self> {
        let endpoint = Endpoint::from_shared(collector.to_owned())
            .context("telemetry.otlp")
            .or_configuration()?;
        let endpoint = endpoint.connect_timeout(ANSWER_TIME).timeout(ANSWER_TIME);
        let runtime = role::small_runtime()?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (counts, stop) = (Counts::default(), CancellationToken::new());
        let resource = resource(role, run);
        let (counted, stopped) = (counts.clone(), stop.clone());
        let work = move || {
            runtime.block_on(async {
                let client = TraceServiceClient::new(endpoint.connect_lazy());
                Sending {
                    client,
                    resource,
                    counts: counted,
                    reached: true,
                }
                .run(waiting, stopped)
                .await;
            });
        };
        let thread = std::thread::Builder::new().name("spans".into()).spawn(work);
        Ok(Self {
            queue,
            counts,
            stop,
            thread: Some(thread.context("cannot start the thread that sends spans")?),
        })
    }

    /// What takes the spans in. It never waits.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let (queue, dropped) = (self.queue.clone(), self.counts.dropped.clone());
        let take = move |span| {
            if queue.try_send(span).is_err() {
                dropped.inc();
            }
        };
        Spans::handed_to(take).with_filter(stages())
    }

    /// Puts what became of spans onto a page.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Counts { sent, dropped } = self.counts.clone();
        registry.register("trace_spans_sent", "Spans that the collector took.", sent);
        let lost = "Spans dropped, for want of room or because the collector did not take them.";
        registry.register("trace_spans_dropped", lost, dropped);
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It has nobody to tell of a panic but the log, where that is already.
            let _ended = thread.join();
        }
    }
}

/// Who the spans are of.
fn resource(role: &str, run: &str) -> Resource {
    let text = |text: String| Value::StringValue(text);
    Resource {
        attributes: vec![
            attribute("service.name", text(format!("adwright-{role}"))),
            attribute("service.version", text(env!("CARGO_PKG_VERSION").into())),
            attribute("process.pid", Value::IntValue(std::process::id().into())),
            attribute("adwright.run", text(run.to_owned())),
        ],
        ..Resource::default()
    }
}

#[cfg(test)]
mod tests {
    use super::sending::BATCH;
    use super::*;
    use proto::trace::{Stage, TraceId};
    use tracing_subscriber::layer::SubscriberExt as _;

    /// A queue that nobody empties, because the collector hangs: a listener that never answers.
    #[test]
    fn a_collector_that_hangs_costs_spans_and_no_time() {
        let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", hanging.local_addr().unwrap());
        let exporter = Exporter::start(&url, "actor", "run").unwrap();
        let subscriber = tracing_subscriber::registry().with(exporter.layer());
        let begun = tokio::time::Instant::now();
        let told = (QUEUE + 3 * BATCH) as u64;
        tracing::subscriber::with_default(subscriber, || {
            Stage::Sample.over(Duration::ZERO, (0..told).map(|task| TraceId::of(1, task)));
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for");
        let counts = exporter.counts.clone();
        assert!(counts.dropped.get() > 0 && counts.dropped.get() < told);
        drop(exporter);
        assert!(
            begun.elapsed() < Duration::from_secs(45),
            "the end was waited for"
        );
        assert_eq!(counts.sent.get(), 0);
    }
}
