//! What reward models say: `score`, `reward-server` and `evaluate`.

use crate::fixtures::{fixture, text};
use crate::program::{json, refused};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

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

/// A reward model of this form that was trained here for a moment.
fn trained(directory: &Path, form: &str) -> String {
    let out = text(&directory.join(form));
    let form = format!("reward.form={form}");
    let small = [
        &form[..],
        "reward.image_size=8",
        "reward.patch_size=4",
        "reward.hidden_size=8",
        "reward.intermediate_size=8",
        "reward.layers=1",
        "reward.heads=2",
        "reward.epochs=1",
        "shopworld.products=16",
        "shopworld.creatives_per_product=4",
    ];
    let train = ["train-reward", "--out", &out, "--json"];
    let sets = small.iter().flat_map(|&set| ["--set", set]);
    json(&train.into_iter().chain(sets).collect::<Vec<_>>());
    out
}

#[test]
fn a_reward_model_of_our_own_is_inspected_and_scores_in_the_order_of_the_pictures() {
    let directory = tempfile::tempdir().unwrap();
    let pictures = ["square.png", "land.png"].map(|name| text(&fixture("images").join(name)));
    for form in ["siamese", "concat"] {
        let model = trained(directory.path(), form);
        let found = json(&["inspect", &model, "--json"]);
        assert_eq!(found["layout"], "adwright-reward");
        for empty in ["missing", "unused"] {
            assert_eq!(found[empty], Value::Array(vec![]), "{found}");
        }
        let score = |left: &str, right: &str, caption: &str| {
            let asked = ["--left", left, "--right", right, "--caption", caption, "--json"];
            json(&[&["score", "--model", &model][..], &asked].concat())
        };
        let there = score(&pictures[0], &pictures[1], "a red chair");
        let back = score(&pictures[1], &pictures[0], "a red chair");
        let flipped = |value: &Value| Value::from(vec![value[1].clone(), value[0].clone()]);
        assert_eq!(there["logits"], flipped(&back["swapped_logits"]), "{form}");
        assert_eq!(there["swapped_logits"], flipped(&back["logits"]), "{form}");
        let sum = there["p_left"].as_f64().unwrap() + back["p_left"].as_f64().unwrap();
        assert!((sum - 1.0).abs() < 1e-9, "{form}: {sum}");
        assert_eq!(there["ctr"].is_array(), form == "siamese", "{there}");
        assert_eq!(
            there["logits"] == there["swapped_logits"],
            form == "siamese",
            "{there}"
        );
        assert_ne!(
            there["logits"],
            score(&pictures[0], &pictures[1], "a lamp")["logits"]
        );
        let asked = [
            "--left",
            &pictures[0],
            "--right",
            &pictures[1],
            "--question",
            "Which?",
        ];
        let asked = [&["score", "--model", &model][..], &asked].concat();
        refused(&asked, &["--question", form, "--caption"]);
        let wrong = ["generate", "--model", &model, "--prompt", "x"];
        refused(&wrong, &["adwright-reward", "expected a LLaVA"]);
    }
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
    // Of a catalogue of one's own, those that are held out, or all where none are.
    image::RgbaImage::from_pixel(8, 8, image::Rgba([90, 30, 30, 255]))
        .save(out.path().join("a.png"))
        .unwrap();
    let row = |id| serde_json::json!({ "id": id, "image": "a.png", "new_caption": "lamp" });
    let rows: Vec<_> = (0..12).map(|id| row(format!("p{id}"))).collect();
    let catalogue = out.path().join("mine.json");
    std::fs::write(&catalogue, serde_json::Value::from(rows).to_string()).unwrap();
    let own = ["--catalog", &text(&catalogue)].map(str::to_owned);
    let own = own.each_ref().map(String::as_str);
    let divided = evaluate(&own);
    assert_eq!(divided["held_out"], true);
    assert!(
        (2..=6).contains(&divided["products"].as_u64().unwrap()),
        "{divided}"
    );
    let whole = evaluate(&[&own[..], &["--set", "catalogue.test_share=0"]].concat());
    assert_eq!(
        (&whole["held_out"], &whole["products"]),
        (&false.into(), &12.into())
    );
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
