//! Files of weights.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(&["safetensors", "torch_bin"], bytes));
