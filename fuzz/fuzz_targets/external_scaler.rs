//! Requests of an autoscaler to a learner.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &["ScaledObjectRef", "GetMetricsRequest"],
    bytes
));
