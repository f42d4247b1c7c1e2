//! Requests to an actor that passes weights on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(&["FetchArtifactRequest"], bytes));
