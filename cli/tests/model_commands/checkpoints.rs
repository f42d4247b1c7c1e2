//! Checkpoints that are made, converted, looked into and exported.

use crate::fixtures::{fixture, text};
use crate::program::{PROMPT, json, refused, run};
use crate::refusals::copy;
use models::weights::{from_safetensors, to_safetensors};
use serde_json::Value;
use std::fs;
use std::path::Path;

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
