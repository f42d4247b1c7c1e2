//! What models say: `generate` and `logprob`.

use crate::fixtures::{fixture, text};
use crate::program::{PROMPT, json};
use serde_json::Value;
use std::fs;

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
