//! One trace across processes: the caller's span is named in the request's metadata (W3C Trace Context, `traceparent`),
//! and the server opens its span under the same trace id.
//!
//! Beside the traces of calls each *sample* has one, whose stages are in `trace/stage.rs`.

mod stage;

pub use stage::{SAMPLE_STAGE, Stage};

use tonic::{Request, metadata::MetadataMap};
use tracing::Span;

/// The header of W3C Trace Context, version 00.
const TRACEPARENT: &str = "traceparent";

/// The 128-bit id that all spans of one piece of work share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl TraceId {
    /// A trace id from the numbers that identify the work, such as a run seed and a task: whoever repeats the work
    /// repeats the id.
    pub fn of(high: u64, low: u64) -> Self {
        let id = (u128::from(high) << 64) | u128::from(low);
        Self(if id == 0 { 1 } else { id })
    }

    /// As the wire has it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// One that came over the wire; `None` when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u128::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A request that names `trace` in its metadata.
pub fn request<T>(trace: TraceId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    inject(trace, request.metadata_mut());
    request
}

/// Names `trace` in a request's metadata.
fn inject(trace: TraceId, metadata: &mut MetadataMap) {
    let parent = (trace.0 as u64).max(1);
    if let Ok(value) = format!("00-{trace}-{parent:016x}-01").parse() {
        metadata.insert(TRACEPARENT, value);
    }
}

/// The trace named in a request's metadata, if it names one well.
pub fn extract(metadata: &MetadataMap) -> Option<TraceId> {
    let text = metadata.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let hex = version == "00" && id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let id = u128::from_str_radix(id, 16).ok().filter(|&id| hex && id != 0)?;
    Some(TraceId(id))
}

/// The span under which a server handles a request: it carries the caller's trace id when there is one.
pub fn span(method: &'static str, metadata: &MetadataMap) -> Span {
    match extract(metadata) {
        Some(trace) => tracing::info_span!("grpc", method, trace_id = %trace),
        None => tracing::info_span!("grpc", method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_id_crosses_the_wire() {
        let trace = TraceId::of(7, 42);
        let mut metadata = MetadataMap::new();
        inject(trace, &mut metadata);
        assert_eq!(extract(&metadata), Some(trace));
        assert_eq!(TraceId::from_bytes(&trace.to_bytes()), Some(trace));
    }

    #[test]
    fn a_hostile_header_is_no_trace() {
        let zeros = "00-00000000000000000000000000000000-01-01";
        for bad in [
            "",
            "00",
            "00-xyz-1-01",
            "99-00000000000000000000000000000001-1-01",
            zeros,
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert(TRACEPARENT, bad.parse().unwrap());
            assert_eq!(extract(&metadata), None, "{bad:?}");
        }
        for bad in [&[][..], &[1; 15], &[1; 17], &[0; 16]] {
            assert_eq!(TraceId::from_bytes(bad), None, "{bad:?}");
        }
    }
}
