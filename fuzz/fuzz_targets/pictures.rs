//! Pictures and cut-outs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(&["cut-out", "picture"], bytes));
