//! What a demo is asked for, and where its output goes.

use crate::bench::{Bench, taken};
use crate::products::catalogue;

#[test]
fn an_unknown_mode_lists_the_modes() {
    let bench = Bench::new();
    bench
        .demo(&["--mode", "ppo"])
        .refused(64, &["--mode", "ppo", "joint_swap", "compat"]);
    bench
        .demo(&["--compare", "dpo,ppo"])
        .refused(64, &["--compare", "ppo", "joint_swap"]);
    bench
        .demo(&["--compare", "dpo"])
        .refused(64, &["--compare", "two or more"]);
    bench
        .demo(&["--compare", "dpo,joint_swap", "--mode", "dpo"])
        .refused(64, &["--mode", "--compare"]);
}

#[test]
fn a_directory_that_is_no_demos_output_is_never_replaced() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("photos")).unwrap();
    bench.write("photos/holiday.jpg", "x");
    let said = bench.run(&["demo", "--out", "photos"]);
    said.refused(64, &["photos", "not the output of an earlier demo"]);
    said.left_nothing_but(&["photos"]);
    assert!(bench.path("photos/holiday.jpg").exists());
}

#[test]
fn a_demo_tells_the_mistakes_of_settings_files_and_arguments_together() {
    let (bench, catalogue) = catalogue(r#"[{"id": "1", "image": "gone.png", "new_caption": "desk lamp"}]"#);
    std::fs::create_dir(bench.path("photos")).unwrap();
    bench.write("photos/holiday.jpg", "x");
    bench.write("clicks.jsonl", "no JSON\n");
    let arguments = [
        "demo",
        "--set",
        "demo.actors=0",
        "--compare",
        "dpo,ppo",
        &catalogue[0],
        &catalogue[1],
        "--set",
        "click_log.source=clicks.jsonl",
        "--out",
        "photos",
        "--from",
        "nowhere",
    ];
    bench.run(&arguments).refused(
        64,
        &[
            "6 mistakes in the configuration",
            "--set demo.actors=0: demo.actors = 0: expected 1 to 64",
            "--compare = \"ppo\"",
            "mine.json: row 1, image: cannot read",
            "clicks.jsonl: row 1, line: not JSON",
            "--out photos is not empty",
            "--from nowhere: not the output of a finished demo",
        ],
    );
}

#[test]
fn an_output_that_is_a_file_or_has_no_name_is_refused() {
    let bench = Bench::new();
    bench.write("result", "x");
    let said = bench.run(&["demo", "--out", "result"]);
    said.refused(64, &["--out result is a file", "name a directory"]);
    said.left_nothing_but(&["result"]);
    bench.run(&["demo", "--out", ""]).refused(64, &["--out"]);
}

#[test]
fn settings_that_undo_what_a_flag_asks_for_are_mistakes() {
    let bench = Bench::new();
    bench
        .demo(&["--control", "--set", "actor.labels=reward"])
        .refused(64, &["actor.labels", "--control"]);
    bench
        .demo(&["--set", "actor.image_generator=remote"])
        .refused(64, &["actor.image_generator", "start the roles"]);
    for key in ["loss.mode", "learner.loss.mode"] {
        let set = format!("{key}=dpo");
        bench
            .demo(&["--compare", "dpo,paper", "--set", &set])
            .refused(64, &["learner.loss.mode", "--compare"]);
    }
}

#[test]
fn what_stages_and_roles_would_refuse_is_told_before_the_first_of_them_and_all_at_once() {
    let bench = Bench::new();
    let (_taken, address) = taken();
    let arguments = [
        "--quick",
        "--compare=joint_swap,mask_only",
        "--dashboard",
        &address,
        "--set=dashboard.token_file=gone",
        "--set=telemetry.tensorboard=/proc/board",
        "--set=learner.loss.mask.patch=4",
        "--set=actor.guardrails.text_blocklist=gone.txt",
        "--set=actor.max_new_tokens=500",
        "--set=click_log.source=gone.jsonl",
        "--set=reward.base=nowhere",
    ];
    let words = [
        "8 mistakes",
        "--dashboard: dashboard.listen: cannot listen on",
        "dashboard.token_file: cannot read gone",
        "telemetry.tensorboard: cannot write to /proc/board",
        "learner.loss.mask.patch = 4",
        "actor.guardrails.text_blocklist: cannot read the blocklist gone.txt",
        "actor.max_new_tokens = 500",
        "click_log.source: gone.jsonl",
        "reward.base: nowhere",
    ];
    bench.demo(&arguments).refused(64, &words);
}

#[test]
fn a_caption_that_the_policy_will_not_be_able_to_read_is_told_before_there_is_a_policy() {
    let long = "№".repeat(600);
    let rows = format!(
        r#"[{{"id": "1", "image": "1.png", "new_caption": "{long}"}}, {{"id": "2", "image": "2.png", "new_caption": "soap"}}]"#
    );
    let (bench, arguments) = catalogue(&rows);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let words = ["mine.json: row 1, new_caption", "shorten the caption"];
    bench.demo(&arguments).refused(64, &words);
}

#[test]
fn certificates_are_nothing_for_a_demo() {
    let bench = Bench::new();
    let sets = ["cert", "key", "ca"].map(|key| format!("--set=tls.{key}=gone"));
    let arguments: Vec<&str> = sets.iter().map(String::as_str).collect();
    bench.demo(&arguments).refused(64, &["tls.cert", "plain text"]);
}
