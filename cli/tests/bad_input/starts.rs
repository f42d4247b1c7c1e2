//! A start that is refused: told of everything that can be known to be wrong, each thing by its flag or key, before anything is taken,
//! written or computed. Nothing is left behind, not even a directory.

use crate::bench::{Bench, taken};
use crate::models::with_policy;

/// Things that cannot be read or written to.
fn with_bad_files() -> Bench {
    let bench = Bench::new();
    bench.write("bad.json", r#"[{"id": 1}]"#);
    bench.write("text.png", "x");
    bench
}

#[test]
fn everything_that_is_wrong_with_a_learners_start_is_told_at_once() {
    let bench = with_bad_files();
    let (_taken, address) = taken();
    let arguments = [
        "learner",
        "--policy=nowhere",
        "--steps=missing/steps.jsonl",
        "--pairs=/proc/nowhere",
        "--summary=missing/run.json",
        "--adapter=text.png",
        "--dashboard=127.0.0.1:0",
        "--set=catalogue.source=bad.json",
        "--set=dashboard.token_file=gone",
        "--set=telemetry.tensorboard=/proc/board",
        "--listen",
        &address,
    ];
    let words = [
        "--policy: paths.policy: nowhere is no model directory",
        "catalogue.source: bad.json: row 1, id",
        "catalogue.source: bad.json: row 1, image",
        "--steps: cannot write to missing/steps.jsonl",
        "--pairs: cannot write to /proc/nowhere",
        "--summary: cannot write to missing/run.json",
        "--adapter: paths.adapter: cannot write to text.png",
        "--listen: endpoints.learner_listen: cannot listen on",
        "dashboard.token_file: cannot read gone",
        "telemetry.tensorboard: cannot write to /proc/board",
    ];
    let said = bench.run(&arguments);
    said.refused(64, &words);
    said.left_nothing_but(&["bad.json", "text.png"]);
    // With a key that is out of range as without.
    let said = bench.run(&[&arguments[..], &["--set=learner.versions=0"]].concat());
    said.refused(64, &words);
    said.refused(64, &["learner.versions = 0"]);
    said.left_nothing_but(&["bad.json", "text.png"]);
}

#[test]
fn what_a_policy_cannot_do_with_the_products_is_told_before_it_is_read_and_leaves_nothing() {
    let bench = with_policy();
    let sets = [
        "--set=shopworld.products=32",
        "--set=loss.mode=mask_only",
        "--set=loss.mask.patch=4",
        "--set=actor.max_new_tokens=500",
    ];
    let learner = [
        "learner",
        "--policy=policy",
        "--listen=127.0.0.1:0",
        "--steps=missing/steps.jsonl",
    ];
    let words = ["learner.loss.mask.patch = 4", "actor.max_new_tokens = 500"];
    let said = bench.run(&[&learner[..], &sets].concat());
    said.refused(64, &words);
    said.refused(64, &["3 mistakes", "--steps: cannot write"]);
    said.left_nothing_but(&["policy"]);
    // Whoever asks beforehand hears the same.
    let beforehand = ["config", "check", "--role=learner", "--set=paths.policy=policy"];
    let said = bench.run(&[&beforehand[..], &sets].concat());
    said.refused(64, &words);
    said.refused(64, &["2 mistakes"]);
    said.left_nothing_but(&["policy"]);
}

#[test]
fn everything_that_is_wrong_with_a_reward_servers_start_is_told_at_once() {
    let bench = Bench::new();
    let (_taken, address) = taken();
    let arguments = [
        "reward-server",
        "--model=nowhere",
        "--listen",
        &address,
        "--metrics",
        &address,
    ];
    let words = [
        "3 mistakes",
        "--model: paths.reward_model: nowhere",
        "--listen: endpoints.reward_listen: cannot listen on",
        "--metrics: telemetry.metrics_listen: cannot listen on",
    ];
    bench.run(&arguments).refused(64, &words);
}

#[test]
fn everything_that_is_wrong_with_a_question_to_a_model_is_told_at_once() {
    let bench = with_policy();
    bench.write("text.png", "x");
    let asked = [
        "--model=policy",
        "--adapter=nowhere",
        "--image=text.png",
        "--raw-prompt",
        "--prompt=of nothing",
        "--set=compute.threads=0",
        "--device=tpu",
    ];
    let words = [
        "--adapter: ",
        "nowhere",
        "--image: text.png",
        "--prompt has 0 <image>, and one --image was given",
        "compute.threads = 0",
        "compute.device",
    ];
    let generate = bench.run(&[&["generate", "--top-p=2"], &asked[..]].concat());
    generate.refused(64, &words);
    generate.refused(64, &["6 mistakes", "--top-p = 2: expected above 0"]);
    let logprob = bench.run(&[&["logprob", "--completion=x"], &asked[..]].concat());
    logprob.refused(64, &words);
    logprob.refused(64, &["5 mistakes"]);
    // Without a picture there is nothing to say of the prompt, but that it is too long.
    let long = format!("--prompt={}", "a b ".repeat(1_000));
    let said = bench.run(&[
        "logprob",
        "--model=policy",
        "--completion=x",
        "--adapter=nowhere",
        &long,
    ]);
    said.refused(64, &["2 mistakes", "--adapter: ", "--prompt: its prompt takes"]);
}

#[test]
fn everything_that_is_wrong_with_a_question_to_a_reward_model_is_told_at_once() {
    let bench = with_bad_files();
    let words = [
        "4 mistakes",
        "--model: nowhere",
        "--left: text.png",
        "--right: cannot read gone.png",
        "compute.dtype",
    ];
    let asked = ["score", "--model=nowhere", "--left=text.png", "--right=gone.png"];
    bench
        .run(&[&asked[..], &["--dtype=int4"]].concat())
        .refused(64, &words);
    let words = [
        "3 mistakes",
        "--model: paths.reward_model: nowhere",
        "click_log.source: bad.json: ",
        "compute.device",
    ];
    let asked = [
        "eval-reward",
        "--model=nowhere",
        "--set=click_log.source=bad.json",
    ];
    bench
        .run(&[&asked[..], &["--device=tpu"]].concat())
        .refused(64, &words);
}

#[test]
fn everything_that_is_wrong_with_an_evaluation_is_told_at_once() {
    let bench = with_bad_files();
    let asked = [
        "evaluate",
        "--model=nowhere",
        "--reward-model=missing",
        "--catalog=bad.json",
        "--set=catalogue.test_share=0.7",
        "--set=actor.image_generator=diffusion",
    ];
    let words = [
        "--model: paths.policy: nowhere",
        "--reward-model: paths.reward_model: missing",
        "catalogue.source: bad.json: row 1, id",
        "catalogue.test_share = 0.7: expected 0 to 0.5",
        "diffusion.model: ",
    ];
    bench
        .run(&[&asked[..], &["--adapter=gone"]].concat())
        .refused(64, &words);
    bench
        .run(&[&asked[..], &["--adapter=gone"]].concat())
        .refused(64, &["--adapter: ", "gone"]);
    // A run that is followed is not asked for before that.
    let follow = [
        "--follow",
        "--learner=http://127.0.0.1:9",
        "--set=tls.cert=gone.crt",
    ];
    bench.run(&[&asked[..], &follow].concat()).refused(64, &words);
}

#[test]
fn everything_that_is_wrong_with_an_actors_start_is_told_at_once() {
    let bench = with_bad_files();
    let sets = [
        "--set=actor.guardrails.text_blocklist=gone.txt",
        "--set=actor.guardrails.image_blocklist=gone",
        "--set=tls.cert=gone.crt",
        "--set=tls.key=gone.key",
        "--set=tls.ca=gone.ca",
        "--set=store.url=text.png",
    ];
    let words = [
        "store.url: cannot write to text.png",
        "actor.guardrails.text_blocklist: cannot read the blocklist gone.txt",
        "actor.guardrails.image_blocklist: cannot read the blocklist gone",
        "tls.cert: cannot read gone.crt",
        "tls.key: cannot read gone.key",
        "tls.ca: cannot read gone.ca",
    ];
    let actor = [
        "actor",
        "--id=a/b",
        "--work-dir=text.png/work",
        "--listen=127.0.0.1:0",
    ];
    let said = bench.run(&[&actor[..], &sets].concat());
    said.refused(64, &words);
    said.refused(
        64,
        &[
            "8 mistakes",
            "--id: ",
            "--work-dir: cannot write to text.png/work",
        ],
    );
    let said = bench.run(&[&["config", "check", "--role=actor"], &sets[..]].concat());
    said.refused(64, &words);
    said.refused(64, &["6 mistakes"]);
    said.left_nothing_but(&["bad.json", "text.png"]);
}

#[test]
fn everything_that_is_wrong_with_a_training_is_told_at_once() {
    let bench = with_bad_files();
    let refused = |arguments: &[&str], words: &[&str]| {
        let said = bench.run(arguments);
        said.refused(64, words);
        said.refused(64, &["--out: cannot write to text.png"]);
        said.left_nothing_but(&["bad.json", "text.png"]);
    };
    refused(
        &["pretrain", "--out=text.png", "--set=corpus.source=gone.json"],
        &["2 mistakes", "corpus.source: gone.json: cannot read"],
    );
    refused(
        &[
            "train-reward",
            "--out=text.png",
            "--set=click_log.source=gone.jsonl",
            "--model=nowhere",
        ],
        &[
            "3 mistakes",
            "click_log.source: gone.jsonl: cannot read",
            "--model: reward.base: nowhere",
        ],
    );
    refused(
        &[
            "train-pairs",
            "--pairs=gone.json",
            "--policy=nowhere",
            "--out=text.png",
            "--steps=a/b",
        ],
        &[
            "4 mistakes",
            "--pairs: gone.json: cannot read",
            "--policy: paths.policy: nowhere",
            "--steps: cannot write to a/b",
        ],
    );
}

#[test]
fn a_url_that_lacks_a_slash_is_no_directory() {
    let bench = Bench::new();
    for arguments in [
        &["config", "check", "--role=learner", "--set=store.url=s3:/bad"][..],
        &["config", "check", "--set=paths.adapter=s3:/bad"],
        &["actor", "--store=s3:/bad"],
        &["pretrain", "--out=s3:/bad"],
        &["demo", "--out=s3:/bad"],
        &["checkpoint", "list", "--store=s3:/bad", "--run=demo"],
    ] {
        let said = bench.run(arguments);
        said.refused(64, &["s3:/bad"]);
        said.left_nothing_but(&[]);
    }
}
