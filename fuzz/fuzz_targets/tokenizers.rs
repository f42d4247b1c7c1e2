//! Files of tokenizers: an even first byte begins a SentencePiece model, an odd one a `tokenizer.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((first, rest)) if first % 2 == 1 => drop(integration_tests::admits_tokenizer_json(rest)),
    Some((_, rest)) => integration_tests::knock(&["sentencepiece"], &[&[0], rest].concat()),
    None => {}
});
