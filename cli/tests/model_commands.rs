//! `inspect`, `generate`, `logprob`, `score` and `export` on checkpoints that others made, with the real binary: what scripts
//! read of them, and what they say to files that are not whole.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod fixtures;

use fixtures::{fixture, text};
use models::weights::{from_safetensors, to_safetensors};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROMPT: &str = "USER: <image>\nWhat is it? ASSISTANT:";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(output.stdout.is_empty() && !said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

#[test]
fn a_fresh_checkpoint_is_whole_follows_its_seed_and_generates() {
    let out = tempfile::tempdir().unwrap();
    let made = |name: &str, seed: &str| {
        let dir = text(&out.path().join(name));
        let init = run(&[
            "init", "--preset", "tiny", "--seed", seed, "--dtype", "bf16", "--out", &dir,
        ]);
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        dir
    };
    let (dir, again, other) = (made("a", "3"), made("b", "3"), made("c", "4"));
    let found = json(&["inspect", &dir, "--json"]);
    assert_eq!(found["missing"], Value::Array(vec![]));
    assert_eq!(found["dtypes"]["BF16"], found["parameters"]);
    assert_eq!(found["digest"], json(&["inspect", &again, "--json"])["digest"]);
    assert_ne!(found["digest"], json(&["inspect", &other, "--json"])["digest"]);
    let drawn = json(&[
        "generate",
        "--model",
        &dir,
        "--prompt",
        "warm light",
        "--max-new-tokens",
        "4",
        "--json",
    ]);
    assert_eq!(drawn["completions"].as_array().unwrap().len(), 1);
    refused(&["init", "--preset", "tiny", "--out", &dir], &[&dir]);
    let unknown = run(&["init", "--preset", "huge", "--out", &dir]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("llava-1.6-7b"));
    assert_eq!(unknown.status.code(), Some(64));
}

#[test]
fn a_converted_checkpoint_is_whole_and_describes_the_same_model() {
    let out = tempfile::tempdir().unwrap();
    let (there, back) = (text(&out.path().join("hf")), text(&out.path().join("original")));
    let original = text(&fixture("llava-original/1"));
    assert!(
        run(&["convert", &original, "--to", "llava-hf", "--out", &there])
            .status
            .success()
    );
    let found = json(&["inspect", &there, "--json"]);
    assert_eq!(
        (&found["layout"], &found["tokenizer"]),
        (&"llava-hf-1.5".into(), &"json".into())
    );
    assert!(
        run(&["convert", &there, "--to", "llava-original", "--out", &back])
            .status
            .success()
    );
    let (before, after) = (
        json(&["inspect", &original, "--json"]),
        json(&["inspect", &back, "--json"]),
    );
    for key in [
        "layout",
        "parameters",
        "dtypes",
        "vocab_size",
        "tokenizer",
        "missing",
        "unused",
    ] {
        assert_eq!(before[key], after[key], "{key}");
    }
    let lacking = text(&fixture("llava-hf-1.5/1"));
    let target = text(&out.path().join("none"));
    refused(
        &["convert", &lacking, "--to", "llava-original", "--out", &target],
        &["tokenizer.model"],
    );
    assert!(!Path::new(&target).exists());
}

/// A copy of a checkpoint, to be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}

fn expected(name: &str) -> Value {
    let inputs = fs::read(fixture(name).join("expected.json")).unwrap();
    let inputs: Value = serde_json::from_slice(&inputs).unwrap();
    inputs["inputs"][0].clone()
}

#[test]
fn greedy_tokens_and_log_probs_are_those_of_transformers() {
    for name in ["llava-hf-1.5/2", "llava-hf-1.6/1", "llava-original/3"] {
        let (model, image) = (text(&fixture(name)), text(&fixture("images/land.png")));
        let ask = [
            "--model",
            &model,
            "--image",
            &image,
            "--raw-prompt",
            "--prompt",
            PROMPT,
            "--json",
        ];
        let expected = expected(name);
        let flags = ["--greedy", "--max-new-tokens", "32"];
        let drawn = json(&[&["generate"][..], &ask, &flags].concat());
        let ids = drawn["completions"][0]["token_ids"].as_array().unwrap();
        // The reference was told not to stop.
        assert_eq!(
            ids[..],
            expected["greedy_ids"].as_array().unwrap()[..ids.len()],
            "{name}"
        );
        let scored = json(&[&["logprob"][..], &ask, &["--completion", "Yes."]].concat());
        assert_eq!(scored["token_ids"], expected["completion_ids"], "{name}");
        let (ours, theirs) = (
            scored["sum"].as_f64().unwrap(),
            expected["logprob_sum"].as_f64().unwrap(),
        );
        assert!((ours - theirs).abs() < 1e-3, "{name}: {ours} {theirs}");
        let ids = expected["completion_ids"].to_string();
        let again = json(
            &[
                &["logprob"][..],
                &ask,
                &["--completion-ids", ids.trim_matches(['[', ']'])],
            ]
            .concat(),
        );
        assert_eq!(again, scored, "{name}");
    }
}

#[test]
fn drawn_completions_depend_on_the_seed_and_come_with_their_own_log_probs() {
    let model = text(&fixture("llava-hf-1.5/1"));
    let draw = |seed: &str| {
        let flags = [
            "--num",
            "3",
            "--seed",
            seed,
            "--max-new-tokens",
            "8",
            "--temperature",
            "0.7",
            "--json",
        ];
        json(
            &[
                &["generate", "--model", &model, "--prompt", "Name a colour."][..],
                &flags,
            ]
            .concat(),
        )
    };
    let first = draw("4");
    assert_eq!(first["completions"].as_array().unwrap().len(), 3);
    assert_eq!((draw("4"), draw("5") == first), (first.clone(), false));
    let ids = first["completions"][1]["token_ids"].to_string();
    let ids = ids.trim_matches(['[', ']']);
    let flags = ["--prompt", "Name a colour.", "--completion-ids", ids, "--json"];
    let scored = json(&[&["logprob", "--model", &model][..], &flags].concat());
    let pairs = scored["log_probs"].as_array().unwrap().iter();
    for (scored, drawn) in pairs.zip(first["completions"][1]["log_probs"].as_array().unwrap()) {
        assert!(
            (scored.as_f64().unwrap() - drawn.as_f64().unwrap()).abs() < 1e-4,
            "{scored} {drawn}"
        );
    }
}

#[test]
fn inspect_tells_layout_formats_and_what_is_missing() {
    let cases = [
        ("llava-hf-1.5/3", "llava-hf-1.5", "BF16", "json"),
        ("llava-hf-1.6/2", "llava-hf-1.6", "BF16", "json"),
        ("llava-original/1", "llava-original", "F16", "sentencepiece"),
        ("caig-reward/2", "caig-reward", "BF16", "sentencepiece"),
    ];
    for (name, layout, dtype, tokenizer) in cases {
        let found = json(&["inspect", &text(&fixture(name)), "--json"]);
        assert_eq!(
            (&found["layout"], &found["tokenizer"]),
            (&layout.into(), &tokenizer.into()),
            "{name}"
        );
        assert!(found["dtypes"][dtype].as_u64().unwrap() > 10_000, "{found}");
        assert_eq!(
            (&found["missing"], &found["unused"]),
            (&Value::Array(vec![]), &Value::Array(vec![])),
            "{name}"
        );
        assert!(found["digest"].as_str().unwrap().starts_with("blake3:"));
    }
    let damaged = copy("llava-hf-1.5/1");
    let config = damaged.path().join("config.json");
    let content = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        content.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4"),
    )
    .unwrap();
    let output = run(&["inspect", &text(damaged.path()), "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(found["missing"].as_array().unwrap().len(), 2 * 9, "{found}");
}

#[test]
fn inspect_tells_an_adapter_and_what_it_lacks() {
    let whole = fixture("peft/1");
    let found = json(&["inspect", &text(&whole), "--json"]);
    let weights = from_safetensors(&fs::read(whole.join("adapter_model.safetensors")).unwrap()).unwrap();
    let numbers: usize = weights.values().map(|data| data.num_elements()).sum();
    assert_eq!(
        (&found["layout"], &found["parameters"]),
        (&"peft".into(), &numbers.into())
    );
    assert_eq!(
        (&found["vocab_size"], &found["tokenizer"], &found["template"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&found["missing"], &found["unused"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    let damaged = copy("peft/1");
    let (lost, mut left) = (
        weights
            .keys()
            .find(|name| name.contains("lora_B"))
            .unwrap()
            .clone(),
        weights,
    );
    left.remove(&lost);
    let bytes = to_safetensors(&left, None).unwrap();
    fs::write(damaged.path().join("adapter_model.safetensors"), bytes).unwrap();
    let output = run(&["inspect", &text(damaged.path()), "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &found["missing"]),
        (Some(1), &Value::Array(vec![lost.into()]))
    );
}

/// The learner writes beside an adapter what it was trained on.
#[test]
fn an_adapter_of_ours_is_refused_on_another_base_of_the_same_shapes() {
    let (adapter, base) = (copy("peft/1"), text(&fixture("llava-hf-1.5/1")));
    let (weights, lineage) = (
        fixture("llava-hf-1.5/1/model.safetensors"),
        adapter.path().join("lineage.json"),
    );
    let picture = text(&fixture("images/land.png"));
    let arguments = [
        "generate",
        "--model",
        &base,
        "--adapter",
        &text(adapter.path()),
        "--image",
        &picture,
        "--prompt",
        PROMPT,
        "--raw-prompt",
        "--greedy",
        "--max-new-tokens",
        "2",
        "--json",
    ];
    let digest = format!("blake3:{}", store::digest(&fs::read(weights).unwrap()).hex());
    let trained_on = |digest: &str| {
        let files = serde_json::json!({"base": [{"name": "model.safetensors", "digest": digest}]});
        fs::write(&lineage, files.to_string()).unwrap();
    };
    trained_on(&digest);
    json(&arguments);
    trained_on(&format!("blake3:{}", "0".repeat(64)));
    refused(&arguments, &["lineage.json", "model.safetensors", &digest]);
    fs::write(&lineage, "{}").unwrap();
    refused(&arguments, &["lineage.json", "base"]);
    fs::remove_file(&lineage).unwrap();
    json(&arguments);
}

/// Stopped without being asked to be nice: it serves nobody.
#[test]
fn a_reward_server_takes_caigs_checkpoint_and_no_other() {
    let model = text(&fixture("caig-reward/1"));
    let mut server = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(["reward-server", "--model", &model, "--listen", "127.0.0.1:0"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let said = BufReader::new(server.stdout.take().unwrap()).read_line(&mut line);
    server.kill().unwrap();
    server.wait().unwrap();
    said.unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&ready["event"], &ready["role"]),
        (&"ready".into(), &"reward-server".into())
    );
    let other = text(&fixture("llava-hf-1.5/1"));
    refused(
        &["reward-server", "--model", &other, "--listen", "127.0.0.1:0"],
        &["llava-hf-1.5/1", "score.weight"],
    );
}

#[test]
fn score_gives_both_orders_in_the_order_of_the_pictures() {
    let model = text(&fixture("caig-reward/1"));
    let pictures = ["square.png", "land.png"].map(|name| text(&fixture("images").join(name)));
    let score = |left: &str, right: &str| {
        json(&[
            "score", "--model", &model, "--left", left, "--right", right, "--json",
        ])
    };
    let (there, back) = (
        score(&pictures[0], &pictures[1]),
        score(&pictures[1], &pictures[0]),
    );
    let flipped = |value: &Value| Value::from(vec![value[1].clone(), value[0].clone()]);
    assert_eq!(there["logits"], flipped(&back["swapped_logits"]));
    assert_eq!(there["swapped_logits"], flipped(&back["logits"]));
    let sum = there["p_left"].as_f64().unwrap() + back["p_left"].as_f64().unwrap();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert!(there["ctr"].is_array());
    let other = text(&fixture("llava-original/1"));
    refused(
        &[
            "score",
            "--model",
            &other,
            "--left",
            &pictures[0],
            "--right",
            &pictures[1],
        ],
        &["score.weight"],
    );
}

#[test]
fn an_exported_adapter_is_the_adapter_and_a_merged_base_the_same_model() {
    let (model, adapter) = (text(&fixture("llava-hf-1.5/1")), text(&fixture("peft/1")));
    let out = tempfile::tempdir().unwrap();
    let (alone, merged) = (
        text(&out.path().join("adapter")),
        text(&out.path().join("merged")),
    );
    let export = ["export", "--adapter", &adapter, "--model", &model, "--out"];
    assert!(run(&[&export[..], &[&alone]].concat()).status.success());
    assert!(
        run(&[&export[..], &[&merged, "--merge"]].concat())
            .status
            .success()
    );
    let image = text(&fixture("images/land.png"));
    let sum = |model: &[&str]| {
        let ask = [
            "--image",
            &image,
            "--raw-prompt",
            "--prompt",
            PROMPT,
            "--completion",
            "Yes.",
            "--json",
        ];
        json(&[&["logprob", "--model"][..], model, &ask].concat())["sum"]
            .as_f64()
            .unwrap()
    };
    let (with, again, folded) = (
        sum(&[&model, "--adapter", &adapter]),
        sum(&[&model, "--adapter", &alone]),
        sum(&[&merged]),
    );
    assert_eq!(with, again);
    assert!((with - folded).abs() < 1e-3, "{with} {folded}");
    assert!((with - sum(&[&model])).abs() > 1e-2);
    refused(&[&export[..], &[&merged]].concat(), &["not empty"]);
}

#[test]
fn files_that_are_not_whole_are_refused_by_name_and_what_is_wrong() {
    type Damage = fn(&Path);
    let ask = |model: &Path| {
        let model = text(model);
        ["logprob", "--model", &model, "--prompt", "x", "--completion", "y"].map(str::to_owned)
    };
    let cases: [(&str, Damage, &[&str]); 8] = [
        (
            "llava-hf-1.5/2",
            |dir| fs::remove_file(dir.join("model-00002-of-00003.safetensors")).unwrap(),
            &["model-00002-of-00003.safetensors"],
        ),
        (
            "llava-hf-1.5/1",
            |dir| {
                let bytes = fs::read(dir.join("model.safetensors")).unwrap();
                fs::write(dir.join("model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
            },
            &["model.safetensors", "no whole safetensors file"],
        ),
        (
            "llava-hf-1.6/2",
            |dir| {
                let path = dir.join("pytorch_model-00001-of-00002.bin");
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            },
            &["pytorch_model-00001-of-00002.bin"],
        ),
        (
            "llava-hf-1.5/1",
            |dir| fs::write(dir.join("config.json"), "{\"model_type\": \"llava\"}").unwrap(),
            &["config.json", "text_config"],
        ),
        (
            "llava-hf-1.5/1",
            |dir| {
                let path = dir.join("config.json");
                let content = fs::read_to_string(&path).unwrap();
                fs::write(path, content.replace("quick_gelu", "gelu_new")).unwrap();
            },
            &[
                "config.json",
                "vision_config.hidden_act",
                "gelu_new",
                "quick_gelu",
            ],
        ),
        (
            "llava-hf-1.5/1",
            |dir| {
                let path = dir.join("config.json");
                let content = fs::read_to_string(&path).unwrap();
                fs::write(
                    path,
                    content.replace("\"vocab_size\": 384", "\"vocab_size\": 300"),
                )
                .unwrap();
            },
            &["image_token_index"],
        ),
        (
            "llava-hf-1.5/1",
            |dir| fs::remove_file(dir.join("tokenizer.json")).unwrap(),
            &["tokenizer.json"],
        ),
        (
            "llava-hf-1.5/2",
            |dir| {
                let path = dir.join("model.safetensors.index.json");
                let content = fs::read_to_string(&path).unwrap();
                fs::write(
                    path,
                    content.replace("model-00001-of-00003", "../model-00001-of-00003"),
                )
                .unwrap();
            },
            &["model.safetensors.index.json", "beside it"],
        ),
    ];
    for (name, damage, words) in cases {
        let directory = copy(name);
        damage(directory.path());
        let ask = ask(directory.path());
        refused(&ask.each_ref().map(String::as_str), words);
    }
}

#[test]
fn a_prompt_and_its_pictures_must_agree() {
    let (model, image) = (
        text(&fixture("llava-hf-1.5/1")),
        text(&fixture("images/land.png")),
    );
    let ask = [
        "logprob",
        "--model",
        &model,
        "--completion",
        "y",
        "--raw-prompt",
        "--prompt",
    ];
    refused(&[&ask[..], &["<image> a"]].concat(), &["no --image"]);
    refused(&[&ask[..], &["a", "--image", &image]].concat(), &["0 <image>"]);
    refused(&[&ask[..], &["a", "--image", &model]].concat(), &[&model]);
    let adapter = text(&fixture("peft/3"));
    refused(
        &[&ask[..], &["a", "--adapter", &adapter]].concat(),
        &["another base"],
    );
}

#[test]
fn evaluate_measures_base_and_adapters_with_the_same_seeds() {
    let out = tempfile::tempdir().unwrap();
    let reward = out.path().join("reward");
    let small = [
        "--set",
        "reward.epochs=1",
        "--set",
        "shopworld.products=16",
        "--set",
        "shopworld.creatives_per_product=4",
        "--set",
        "demo.samples=2",
        "--set",
        "demo.kl_samples=1",
    ];
    let train = ["train-reward", "--out", &text(&reward), "--json"].map(str::to_owned);
    json(&train.iter().map(String::as_str).chain(small).collect::<Vec<_>>());
    let (model, adapter) = (text(&fixture("llava-hf-1.5/1")), text(&fixture("peft/1")));
    let evaluate = |more: &[&str]| {
        let ask = [
            "evaluate",
            "--model",
            &model,
            "--reward-model",
            &text(&reward),
            "--json",
        ]
        .map(str::to_owned);
        json(
            &ask.iter()
                .map(String::as_str)
                .chain(small)
                .chain(more.iter().copied())
                .collect::<Vec<_>>(),
        )
    };
    let found = evaluate(&["--adapter", &adapter, "--adapter", &adapter]);
    assert_eq!(
        (&found["samples"], found["policies"].as_array().unwrap().len()),
        (&2.into(), 3)
    );
    assert_eq!(found["policies"][1]["reward"], found["policies"][2]["reward"]);
    let comparisons = found["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 3);
    // The last is the adapter against itself.
    assert_eq!(comparisons[2]["win_rate"], 0.5);
    assert_eq!(comparisons[2]["win_rate_ci"], serde_json::json!([0.5, 0.5]));
    assert_eq!(evaluate(&[])["policies"][0], found["policies"][0]);
    let foreign = text(&fixture("peft/3"));
    let ask = [
        "evaluate",
        "--model",
        &model,
        "--reward-model",
        &text(&reward),
        "--adapter",
        &foreign,
    ]
    .map(str::to_owned);
    refused(
        &ask.iter().map(String::as_str).chain(small).collect::<Vec<_>>(),
        &["another base", "peft/3"],
    );
}
