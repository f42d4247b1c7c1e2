//! Files of weights.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &["safetensors", "safetensors in parts", "torch_bin"],
    bytes
));
