//! What headers say: the trace that a call belongs to, and when a refusal asks the caller to come again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &["traceparent", "retry-after-ms"],
    bytes
));
