//! Rows of a user's files that are too long for the model that is to read them: each is named with its file before anything is
//! trained or measured.

use crate::bench::{Bench, Said};
use crate::models::with_models;
use std::path::Path;

/// So many letters, as many tokens to the policy of these tests, which joins no two of them. No vocabulary says them in a few.
fn words(tokens: usize) -> String {
    let draws = std::iter::successors(Some(7u32), |draw| {
        Some(draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    });
    let letters = draws.map(|draw| char::from(b"bcfghijlmnpqrtuvwxyz"[(draw >> 16) as usize % 20]));
    letters.take(tokens).collect()
}

/// What was refused before its first step, and what it left.
#[track_caller]
fn refused_at_once(said: &Said, words: &[&str]) {
    said.refused(64, words);
    for begun in ["% loss", "reward model  ", "evaluation "] {
        assert!(!said.errors().contains(begun), "{}", said.errors());
    }
    assert!(!said.directory.join("out").exists());
}

fn list(rows: &[String]) -> String {
    format!("[{}]", rows.join(","))
}

#[test]
fn a_corpus_names_its_rows_that_a_fresh_or_a_loaded_policy_cannot_read() {
    let bench = with_models();
    let row = |(number, tokens): (usize, &usize)| {
        format!(
            r#"{{"id": {number}, "conversations": [{{"from": "human", "value": "what of {number}?"}}, {{"from": "gpt", "value": "{}"}}]}}"#,
            words(*tokens)
        )
    };
    let mut rows = [10; 20];
    (rows[13], rows[17]) = (6_000, 9_000);
    let rows: Vec<String> = rows.iter().enumerate().map(row).collect();
    bench.write("sft.json", list(&rows));
    let train = ["pretrain", "--out", "out", "--set", "corpus.source=sft.json"];
    let small = ["--set", "pretrain.samples=64", "--set", "pretrain.vocab_size=300"];
    let named = [
        "sft.json: 2 mistake(s)",
        "row 14, conversations: its prompt takes",
        "row 18, ",
        "context has 512",
    ];
    refused_at_once(&bench.run(&[&train[..], &small].concat()), &named);
    let named = [
        "2 mistakes",
        "corpus.source: sft.json: row 14, conversations: its prompt takes",
        "row 18, ",
        "context has 512",
    ];
    refused_at_once(
        &bench.run(&[&train[..], &small, &["--model", "policy"]].concat()),
        &named,
    );
}

#[test]
fn a_file_of_pairs_names_its_rows() {
    let bench = with_models();
    bench.picture("1.png", 200);
    bench.picture("2.png", 100);
    let row = |image: &str, asked: usize, chosen: usize| {
        format!(
            r#"{{"images": ["{image}"], "prompt": "{}", "chosen": "{}", "rejected": "no"}}"#,
            words(asked),
            words(chosen)
        )
    };
    let train = |lines: &[String], mode: &str| {
        bench.write("pairs.jsonl", lines.join("\n"));
        let mode = format!("learner.loss.mode={mode}");
        bench.run(&[
            "train-pairs",
            "--policy",
            "policy",
            "--pairs",
            "pairs.jsonl",
            "--out",
            "out",
            "--set",
            &mode,
        ])
    };
    let long = [row("1.png", 10, 10), String::new(), row("2.png", 10, 700)];
    for mode in ["dpo", "joint_swap"] {
        let words = [
            "pairs.jsonl: 1 mistake(s)",
            "row 3, prompt: its prompt takes",
            "its chosen answer 701",
            "512",
        ];
        refused_at_once(&train(&long, mode), &words);
    }
    let apart = [row("1.png", 300, 10), row("2.png", 10, 300)];
    let words = [
        "row 2, prompt: as a negative",
        "the prompt of row 1",
        "learner.loss.mode",
    ];
    refused_at_once(&train(&apart, "joint_swap"), &words);
}

/// A log of two products for training and two that are held out, each with two creatives.
fn click_log(bench: &Bench, captions: [&str; 4]) {
    bench.picture("1.png", 200);
    bench.picture("2.png", 100);
    let line = |(product, caption): (usize, &str), image: u64| {
        format!(
            r#"{{"product_id": "p{product}", "caption": "{caption}", "image": "{image}.png", "impressions": 5000, "clicks": {}}}"#,
            40 * image
        )
    };
    let lines = captions
        .into_iter()
        .enumerate()
        .flat_map(|product| [1, 2].map(|image| line(product, image)));
    bench.write("clicks.jsonl", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_click_log_names_its_rows_that_a_reward_model_cannot_be_asked_about() {
    let bench = with_models();
    let long = words(700);
    click_log(&bench, ["lamp", &long, "lamp", &long]);
    let log = [
        "--set",
        "click_log.source=clicks.jsonl",
        "--set",
        "click_log.test_share=0.5",
        "--set",
        "reward_server.question={caption} or {caption}?",
    ];
    let named = [
        "clicks.jsonl: 2 mistake(s)",
        "row 3, caption: product p1: the question",
        "row 7, caption: product p3",
        "512",
    ];
    let train = ["train-reward", "--model", "policy", "--out", "out"];
    refused_at_once(&bench.run(&[&train[..], &log].concat()), &named);
    // Measured are those alone that were held out; their context is longer.
    let longer = words(2_000);
    click_log(&bench, [&longer; 4]);
    let caig = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures/caig-reward/1");
    let measure = ["eval-reward", "--model", caig.to_str().unwrap()];
    let named = ["clicks.jsonl: 2 mistake(s)", "caption: product p", "1024"];
    refused_at_once(&bench.run(&[&measure[..], &log].concat()), &named);
}

#[test]
fn a_catalogue_names_its_rows_and_completions_that_fit_behind_none_their_key() {
    let bench = with_models();
    bench.picture("1.png", 200);
    bench.picture("2.png", 100);
    let row = |id: u32, tokens: usize| {
        format!(
            r#"{{"id": "lamp-{id}", "image": "{id}.png", "new_caption": "{}"}}"#,
            words(tokens)
        )
    };
    let evaluate = |rows: &[String], tokens: &str| {
        bench.write("mine.json", list(rows));
        let tokens = format!("actor.max_new_tokens={tokens}");
        let models = [
            "evaluate",
            "--model",
            "policy",
            "--reward-model",
            "reward-model",
            "--catalog",
            "mine.json",
        ];
        bench.run(&[&models[..], &["--set", &tokens]].concat())
    };
    let said = evaluate(&[row(1, 10), row(2, 450)], "40");
    let named = [
        "--catalog: catalogue.source: mine.json: row 2, new_caption: product lamp-2",
        "450 tokens",
        "shorten the caption",
    ];
    refused_at_once(&said, &named);
    let said = evaluate(&[row(1, 10), row(2, 12)], "500");
    refused_at_once(
        &said,
        &["actor.max_new_tokens = 500: expected at most ", "context has 512"],
    );
    assert!(!said.errors().contains("lamp-"), "{}", said.errors());
}
