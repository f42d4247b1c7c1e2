//! The events by which roles tell that a stage of a sample is over, as spans of OpenTelemetry.
//!
//! All spans of a sample have the id of its trace, which every process works out for itself, and the same parent, whose id comes of
//! the trace's: so what several processes tell fits together without any of them asking another one.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use proto::trace::{SAMPLE_STAGE, Stage};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Filter, Layer};

/// Turns events into spans and hands them on.
pub(super) struct Spans<T> {
    take: T,
    /// With the counter it makes ids that no other process makes.
    random: RandomState,
    made: AtomicU64,
}

impl<T: Fn(Span)> Spans<T> {
    /// Hands spans to `take`, which must not block.
    pub(super) fn handed_to(take: T) -> Self {
        Self {
            take,
            random: RandomState::new(),
            made: AtomicU64::new(0),
        }
    }

    fn id(&self) -> u64 {
        self.random.hash_one(self.made.fetch_add(1, Relaxed)).max(1)
    }
}

/// What such a layer wants to hear of.
pub(super) fn stages<S: Subscriber>() -> impl Filter<S> {
    filter_fn(|event: &Metadata<'_>| event.target() == SAMPLE_STAGE).and(LevelFilter::TRACE)
}

impl<S: Subscriber, T: Fn(Span) + Send + Sync + 'static> Layer<S> for Spans<T> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut over = Over::default();
        event.record(&mut over);
        if let Some(span) = over.span(self.id(), now()) {
            (self.take)(span);
        }
    }
}

/// A stage that is over, as its event tells it.
#[derive(Debug, Default)]
struct Over {
    stage: String,
    trace_id: String,
    micros: u64,
}

impl Visit for Over {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "micros" {
            self.micros = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "stage" {
            value.clone_into(&mut self.stage);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "trace_id" {
            self.trace_id = format!("{value:?}");
        }
    }
}

impl Over {
    /// Its span, which ends at `end` (nanoseconds since 1970); `None` when the event was not one of ours.
    fn span(&self, id: u64, end: u64) -> Option<Span> {
        let trace = u128::from_str_radix(&self.trace_id, 16)
            .ok()
            .filter(|trace| *trace != 0)?;
        let task = trace as u64;
        let root = task.max(1);
        let is_root = self.stage == Stage::Task.name();
        Some(Span {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: if is_root { root } else { id }.to_be_bytes().to_vec(),
            parent_span_id: if is_root {
                vec![]
            } else {
                root.to_be_bytes().to_vec()
            },
            name: self.stage.clone(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: end.saturating_sub(self.micros.saturating_mul(1000)),
            end_time_unix_nano: end,
            attributes: vec![attribute(
                "adwright.task",
                any_value::Value::IntValue(task as i64),
            )],
            ..Span::default()
        })
    }
}

/// A name and what it says.
pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "spans of several machines have no other clock in common, and no result reads it"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::trace::TraceId;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn what_processes_tell_of_one_sample_is_one_trace_under_one_parent() {
        let taken: Arc<Mutex<Vec<Span>>> = Arc::default();
        for _process in 0..2 {
            let sink = taken.clone();
            let layer = Spans::handed_to(move |span| sink.lock().unwrap().push(span)).with_filter(stages());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::info!(trace_id = "1", "no stage");
                let samples = || [TraceId::of(7, 42), TraceId::of(7, 43)];
                Stage::Lease.over(Duration::from_millis(3), samples());
                Stage::Task.over(Duration::from_millis(9), samples());
            });
        }
        let spans = taken.lock().unwrap();
        assert_eq!(spans.len(), 8);
        let of_42 = spans.iter().filter(|span| span.trace_id[15] == 42);
        let mut ids = std::collections::BTreeSet::new();
        for span in of_42 {
            assert_eq!(span.trace_id, ((7_u128 << 64) | 42).to_be_bytes());
            let took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
            match span.name.as_str() {
                "task" => assert_eq!(
                    (took, span.parent_span_id.len(), &span.span_id[..]),
                    (9, 0, &42_u64.to_be_bytes()[..])
                ),
                name => {
                    assert_eq!(
                        (name, took, &span.parent_span_id[..]),
                        ("lease", 3, &42_u64.to_be_bytes()[..])
                    );
                    ids.insert(span.span_id.clone());
                }
            }
        }
        assert_eq!(ids.len(), 2, "two processes gave two spans one id");
    }

    #[test]
    fn an_event_that_names_no_trace_is_no_span() {
        for trace_id in ["", "0", "xyz"] {
            let over = Over {
                trace_id: trace_id.into(),
                ..Over::default()
            };
            assert!(over.span(1, 1).is_none(), "{trace_id}");
        }
    }
}
