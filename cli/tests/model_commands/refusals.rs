//! Files that are not whole, or do not belong together.

use crate::fixtures::{fixture, text};
use crate::program::{PROMPT, json, refused};
use std::fs;
use std::path::Path;

/// A copy of a checkpoint, to be damaged.
pub(crate) fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
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
fn what_does_not_fit_the_context_is_blamed_on_what_is_too_long() {
    let model = text(&fixture("llava-hf-1.5/1"));
    let generate = |tokens: &str| {
        let asked = [
            "generate",
            "--model",
            &model,
            "--prompt",
            "hi",
            "--max-new-tokens",
        ];
        let blamed = format!("--max-new-tokens = {tokens}: expected at most ");
        let arguments = [&asked[..], &[tokens]].concat();
        refused(&arguments, &[&blamed, "1024 positions"]);
    };
    generate("1025");
    generate("18446744073709551615");
    let long = "a b ".repeat(1_000);
    let ask = |command, more: &[&str]| {
        let words = ["prompt takes", "context has 1024"];
        refused(&[&[command, "--model", &model], more].concat(), &words);
    };
    ask("generate", &["--prompt", &long, "--max-new-tokens", "1"]);
    ask("logprob", &["--prompt", "hi", "--completion", &long]);
}
