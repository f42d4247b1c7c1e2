//! Models and adapters: those that are read, and where they are written.

use crate::bench::Bench;
use ::models::ctr::{Calibration, RewardModel};
use ::models::presets::Preset;
use ::models::processor::ImageProcessor;
use ::models::tokenizer::{SpecialTokens, Tokenizer};
use ::models::weights::{from_safetensors, to_safetensors};
use reward_server::RewardConfig;
use std::path::Path;

fn tokenizer() -> Tokenizer {
    Tokenizer::train(["oak desk"].iter(), 270, SpecialTokens::default()).unwrap()
}

/// A directory with a whole policy.
pub(crate) fn with_policy() -> Bench {
    let bench = Bench::new();
    let cpu = models::device::parse_device("cpu").unwrap();
    let policy = Preset::Tiny.policy(tokenizer(), &cpu, 1);
    policy.save(&bench.path("policy")).unwrap();
    bench
}

/// A directory with a whole policy, a whole reward model and what a finished demo writes beside them.
pub(crate) fn with_models() -> Bench {
    let bench = with_policy();
    let cpu = models::device::parse_device("cpu").unwrap();
    let shape = RewardConfig::default();
    let config = shape.network(tokenizer().vocab_size());
    let reward_model = RewardModel {
        network: config.init(&cpu, 1),
        config,
        tokenizer: tokenizer(),
        processor: ImageProcessor::clip(shape.image_size),
        calibration: Calibration::default(),
    };
    reward_model.save(&bench.path("reward-model")).unwrap();
    bench.write("config.toml", "");
    bench.write(
        "report.json",
        r#"{"seed": 1, "mode": "dpo", "catalogue": "shopworld", "processes": [], "rounds": [],
            "wall_seconds": {"pretrain": 1, "reward": 1, "rl": 1, "total": 3},
            "reward_model": {"pair_accuracy": 0.7, "pair_accuracy_ci": [0.6, 0.8], "label_ceiling": 0.8,
                "swap_consistency": 1, "calibration_error": 0, "pairs": 1, "products": 1},
            "baseline": {}, "final": {}, "oracle": {}, "pairs_submitted": 0, "pairs_trained": 0,
            "adapter": "adapter", "adapter_blake3": "blake3:00",
            "weights": {"bytes_per_publish": 0, "publishes": 1, "adoptions": 0, "bytes_received": {}}}"#,
    );
    bench
}

const LEARNER: [&str; 7] = [
    "learner",
    "--policy",
    "policy",
    "--listen",
    "127.0.0.1:0",
    "--set",
    "shopworld.products=32",
];

/// What is put in a file's place.
enum Fault {
    Missing,
    Cut,
    Bytes(&'static [u8]),
    /// A vector that is a matrix.
    Shape,
    /// A number that is none.
    Infinity,
}

fn damage(file: &Path, fault: &Fault) {
    let bytes = std::fs::read(file).unwrap();
    match fault {
        Fault::Missing => std::fs::remove_file(file).unwrap(),
        Fault::Cut => std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
        Fault::Bytes(bytes) => std::fs::write(file, bytes).unwrap(),
        Fault::Shape => {
            let mut weights = from_safetensors(&bytes).unwrap();
            let of_rank = |rank| weights.iter().find(|(_, data)| data.rank() == rank).unwrap();
            let (vector, matrix) = (of_rank(1).0.clone(), of_rank(2).1.clone());
            weights.insert(vector, matrix);
            std::fs::write(file, to_safetensors(&weights, None).unwrap()).unwrap();
        }
        Fault::Infinity => {
            let end = bytes.len() - size_of::<f32>();
            std::fs::write(file, [&bytes[..end], &f32::INFINITY.to_le_bytes()].concat()).unwrap();
        }
    }
}

#[test]
fn a_model_is_never_written_over_something_else() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("taken")).unwrap();
    bench.write("taken/config.json", "{}");
    for command in ["pretrain", "train-reward"] {
        bench
            .run(&[command, "--out", "taken"])
            .refused(64, &["taken", "--out"]);
    }
}

/// Training takes hours and writing its result seconds: whether it can be written is seen first.
#[cfg(unix)]
#[test]
fn a_model_that_could_not_be_written_is_refused_before_anything_is_trained() {
    let bench = with_models();
    bench.write("taken", "a file");
    std::os::unix::fs::symlink(bench.path("gone/away"), bench.path("dangling")).unwrap();
    let left = [
        "config.toml",
        "dangling",
        "policy",
        "report.json",
        "reward-model",
        "taken",
    ];
    let commands: [&[&str]; 5] = [
        &["pretrain", "--set", "pretrain.samples=64"],
        &["train-reward", "--set", "reward.epochs=1"],
        &["train-pairs", "--policy", "policy", "--pairs", "none.json"],
        &["init", "--preset", "tiny"],
        &["convert", "policy", "--to", "llava-hf"],
    ];
    for command in commands {
        for out in ["dangling", "dangling/below", "taken", "taken/below"] {
            let small = ["--set", "shopworld.products=16"];
            let sets = if command.contains(&"--set") {
                &small[..]
            } else {
                &[]
            };
            let said = bench.run(&[command, sets, &["--out", out]].concat());
            said.refused(64, &[out]);
            assert!(!said.errors().contains('%'), "{}", said.errors());
            said.left_nothing_but(&left);
        }
        let said = bench.run(&[command, &["--out", "dangling"]].concat());
        said.refused(64, &["cannot write to dangling", "--out"]);
    }
    let steps = [
        "train-pairs",
        "--policy",
        "policy",
        "--pairs",
        "none.json",
        "--out",
        "out",
    ];
    let said = bench.run(&[&steps[..], &["--steps", "nowhere/steps.jsonl"]].concat());
    said.refused(64, &["--steps", "nowhere/steps.jsonl"]);
    said.left_nothing_but(&left);
}

#[test]
fn a_model_directory_that_is_none_is_named() {
    let bench = Bench::new();
    bench
        .run(&["reward-server", "--model", "nowhere"])
        .refused(64, &["nowhere"]);
    bench
        .run(&["eval-reward", "--model", "nowhere"])
        .refused(64, &["nowhere"]);
    bench
        .run(&["learner", "--policy", "nowhere", "--listen", "127.0.0.1:0"])
        .refused(64, &["nowhere"]);
}

#[test]
fn a_broken_model_is_named_alike_by_every_command_that_reads_it() {
    let learner: &[&str] = &LEARNER;
    let from: &[&str] = &["demo", "--from", ".", "--out", "out/demo"];
    let readers: [(&str, [&[&str]; 2]); 3] = [
        ("policy", [learner, from]),
        (
            "reward-model",
            [&["reward-server", "--model", "reward-model"], from],
        ),
        (
            "reward-model",
            [&["eval-reward", "--model", "reward-model"], from],
        ),
    ];
    let faults = [
        (
            "model.safetensors",
            Fault::Missing,
            &["cannot read", "No such file"][..],
        ),
        ("model.safetensors", Fault::Cut, &["no whole safetensors file"]),
        (
            "model.safetensors",
            Fault::Bytes(b"garbage"),
            &["no whole safetensors file"],
        ),
        (
            "model.safetensors",
            Fault::Shape,
            &["weight", "shape [", "expected ["],
        ),
        (
            "model.safetensors",
            Fault::Infinity,
            &["weight ", "inf", "expected finite numbers"],
        ),
        ("tokenizer.json", Fault::Bytes(b"{}"), &["tokenizer"]),
        ("tokenizer.json", Fault::Missing, &["cannot read"]),
        ("config.json", Fault::Bytes(b"{ no json"), &["not valid JSON"]),
        ("config.json", Fault::Missing, &["cannot read"]),
    ];
    let bench = with_models();
    for (index, (model, commands)) in readers.iter().enumerate() {
        for (name, fault, words) in &faults {
            let file = bench.path(model).join(name);
            let whole = std::fs::read(&file).unwrap();
            damage(&file, fault);
            // What the second reader of the reward model says of `--from` was seen with the first.
            let commands = if index == 2 { &commands[..1] } else { &commands[..] };
            for command in commands {
                let said = bench.run(command);
                said.refused(64, &[&format!("{model}/{name}")]);
                said.refused(64, words);
                assert!(!bench.path("out").exists(), "{command:?}");
            }
            std::fs::write(&file, whole).unwrap();
        }
    }
}

#[test]
fn an_adapter_that_could_not_be_written_is_refused_before_the_run() {
    let bench = with_models();
    let learner = |adapter: &str| bench.run(&[&LEARNER[..], &["--adapter", adapter]].concat());
    bench.write("taken", "a file");
    learner("taken").refused(64, &["paths.adapter", "taken", "expected a directory"]);
    std::fs::create_dir(bench.path("other")).unwrap();
    bench.write("other/adapter_config.json", "{}");
    bench.write("other/lineage.json", r#"{"run_id": "night", "run_seed": 3}"#);
    learner("other").refused(64, &["/other", "the adapter of run night, seed 3", "remove it"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn a_policy_that_cannot_be_trained_from_nothing_is_no_preset() {
    let bench = Bench::new();
    let large = ["--set", "policy.preset=llava-1.6-7b"];
    let words = ["policy.preset", "llava-1.6-7b", "expected tiny", "paths.policy"];
    bench
        .run(&[&["pretrain"], &large[..]].concat())
        .refused(64, &words);
    bench.demo(&large).refused(64, &words);
}
