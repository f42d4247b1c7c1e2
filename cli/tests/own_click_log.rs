//! A user's own click log takes the simulated shop's place: a reward model is trained on it and measured on its held-out
//! products. The real binary, eight products of four pictures each.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A network of one layer and two epochs.
const TINY: [&str; 11] = [
    "reward.image_size=8",
    "reward.patch_size=4",
    "reward.hidden_size=8",
    "reward.intermediate_size=8",
    "reward.layers=1",
    "reward.heads=2",
    "reward.vocab_size=300",
    "reward.epochs=2",
    "reward.products_per_batch=2",
    "click_log.source=clicks.jsonl",
    "click_log.test_share=0.25",
];

/// Four shades of each product; brighter ones are clicked more often.
fn write_log(directory: &Path) {
    let mut lines = String::new();
    for (product, shade) in (0..8u8).flat_map(|product| (0..4u8).map(move |shade| (product, shade))) {
        let image = format!("{product}-{shade}.png");
        let grey = 40 + 50 * shade + product;
        image::RgbImage::from_pixel(8, 8, image::Rgb([grey; 3]))
            .save(directory.join(&image))
            .unwrap();
        let clicks = 50 + 40 * u32::from(shade);
        writeln!(
            lines,
            r#"{{"product_id": "p{product}", "caption": "lamp {product}", "image": "{image}", "impressions": 5000, "clicks": {clicks}}}"#
        )
        .unwrap();
    }
    std::fs::write(directory.join("clicks.jsonl"), lines).unwrap();
}

fn report(directory: &Path, command: &[&str]) -> serde_json::Value {
    let sets = TINY.iter().flat_map(|set| ["--set", set]);
    let output = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(command)
        .args(["--json"])
        .args(sets)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_reward_model_is_trained_and_measured_on_it() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path());
    let trained = report(directory.path(), &["train-reward", "--out", "model"]);
    // Two products are held out, each with six pairs of creatives.
    assert_eq!((&trained["products"], &trained["pairs"]), (&2.into(), &12.into()));
    let measured = report(directory.path(), &["eval-reward", "--model", "model"]);
    assert_eq!(measured, trained);
}
