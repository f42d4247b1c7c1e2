//! The trace that a call's header names.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(&["traceparent"], bytes));
