//! Damaged and hostile model directories: each is read or an error that names a file, none a panic, and none takes memory
//! that its bytes do not account for. The damage is seeded; `models/parity/fixtures` is the corpus.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use models::ModelError;
use models::checkpoint::inspect;
use models::peft::Adapter;
use models::policy::Policy;
use models::weights::{from_safetensors, to_safetensors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("parity/fixtures")
        .join(name)
}

fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        let expected = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("expected");
        if path.is_file() && !expected {
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}

/// Changes, doubles or cuts a few bytes of the first `reach`.
fn damaged(bytes: &[u8], reach: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..reach.min(bytes.len()));
        match rng.random_range(0..5) {
            0 => bytes[at] = rng.random(),
            // Digits make numbers that lie, quotation marks and braces another structure.
            1 => bytes[at] = b"0123456789"[rng.random_range(0..10)],
            2 => bytes[at] = b"\"{}[]:,-e"[rng.random_range(0..9)],
            3 => {
                let end = (at + rng.random_range(1..40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.truncate(at),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Damages one file of a directory again and again; every attempt to read it must end with an answer.
fn survives(name: &str, file: &str, reach: usize, read: impl Fn(&Path) -> Result<(), ModelError>) {
    const ROUNDS: u64 = 400;
    let directory = copy(name);
    let path = directory.path().join(file);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for seed in 0..ROUNDS {
        let bytes = damaged(&whole, reach, &mut ChaCha8Rng::seed_from_u64(seed));
        fs::write(&path, &bytes).unwrap();
        let answer = catch_unwind(AssertUnwindSafe(|| read(directory.path())));
        let answer = answer.unwrap_or_else(|_| panic!("{name}/{file}: seed {seed} made it panic"));
        if let Err(error) = answer {
            refused += 1;
            let text = error.to_string();
            assert!(
                text.contains(&directory.path().display().to_string()),
                "no file is named: {text}"
            );
        }
    }
    assert!(
        refused > ROUNDS / 20,
        "{name}/{file}: only {refused} of {ROUNDS} were refused"
    );
}

fn policy(dir: &Path) -> Result<(), ModelError> {
    Policy::load(dir, &Device::flex()).map(drop)
}

#[test]
fn damaged_headers_indices_and_configurations_never_panic() {
    let inspected = |dir: &Path| inspect(dir).map(drop);
    survives("llava-hf-1.5/1", "model.safetensors", 6_000, inspected);
    survives(
        "llava-hf-1.5/2",
        "model.safetensors.index.json",
        usize::MAX,
        inspected,
    );
    survives(
        "llava-hf-1.6/2",
        "pytorch_model.bin.index.json",
        usize::MAX,
        inspected,
    );
    survives(
        "llava-hf-1.6/2",
        "pytorch_model-00001-of-00002.bin",
        usize::MAX,
        inspected,
    );
    survives("llava-hf-1.6/3", "config.json", usize::MAX, policy);
    survives("llava-hf-1.6/3", "preprocessor_config.json", usize::MAX, policy);
    survives("llava-hf-1.5/2", "processor_config.json", usize::MAX, policy);
    survives("llava-hf-1.5/1", "tokenizer_config.json", usize::MAX, policy);
}

#[test]
fn damaged_adapters_never_panic() {
    let adapter = |dir: &Path| {
        let base = Policy::load(&fixture("llava-hf-1.5/1"), &Device::flex()).unwrap();
        Adapter::load(dir)?
            .attach(base.model)
            .map(drop)
            .map_err(|error| ModelError::Content {
                path: dir.to_owned(),
                reason: error.to_string(),
            })
    };
    survives("peft/1", "adapter_config.json", usize::MAX, adapter);
    survives("peft/1", "adapter_model.safetensors", 4_000, adapter);
}

#[test]
fn numbers_that_are_no_weights_are_refused_by_file_and_tensor() {
    const NAME: &str = "language_model.model.norm.weight";
    let refused = |change: fn(burn::tensor::TensorData) -> burn::tensor::TensorData| {
        let directory = copy("llava-hf-1.5/1");
        let path = directory.path().join("model.safetensors");
        let mut weights = from_safetensors(&fs::read(&path).unwrap()).unwrap();
        let data = weights.remove(NAME).unwrap();
        weights.insert(NAME.into(), change(data));
        fs::write(&path, to_safetensors(&weights, None).unwrap()).unwrap();
        let message = policy(directory.path()).unwrap_err().to_string();
        assert!(
            message.contains("model.safetensors") || message.contains(NAME),
            "{message}"
        );
        message
    };
    let nan = refused(|data| {
        let mut values: Vec<f32> = data.iter().collect();
        values[3] = f32::NAN;
        burn::tensor::TensorData::new(values, data.shape().clone())
    });
    assert!(nan.contains(NAME) && nan.contains("element 3 is NaN"), "{nan}");
    let ints = refused(|data| burn::tensor::TensorData::zeros::<i64, _>(data.shape().clone()));
    assert!(ints.contains("I64") && ints.contains("BF16"), "{ints}");
    let shape = refused(|_| burn::tensor::TensorData::zeros::<f32, _>([31]));
    assert!(
        shape.contains("[31]") && shape.contains("expected [32]"),
        "{shape}"
    );
}
