//! Arguments, settings and configuration files.

use crate::bench::{Bench, Said};
use std::path::Path;

#[test]
fn an_unknown_argument_is_a_usage_error() {
    let bench = Bench::new();
    bench
        .run(&["demo", "--sede", "4"])
        .refused(64, &["--sede", "--seed"]);
    bench.run(&["demonstrate"]).refused(64, &["demonstrate"]);
    bench.run(&["demo", "--seed", "-1"]).refused(64, &["--seed"]);
    bench
        .run(&["bench", "control-plane", "--seconds", "nan"])
        .refused(64, &["--seconds"]);
    bench
        .run(&["bench", "control-plane", "--seconds", "200"])
        .refused(64, &["--seconds 200", "--rate 6000"]);
    bench
        .run(&["bench", "staleness", "--deterministic"])
        .refused(64, &["--deterministic"]);
    bench
        .run(&["bench", "staleness", "--compare", "dpo,joint_swap"])
        .refused(64, &["--compare"]);
    bench
        .run(&["demo", "--seed", "18446744073709551615"])
        .refused(64, &["--seed"]);
}

#[test]
fn help_and_version_are_results() {
    let bench = Bench::new();
    for argument in ["--help", "--version"] {
        let said = bench.run(&[argument]);
        assert!(
            said.output.status.success() && !said.output.stdout.is_empty() && said.output.stderr.is_empty()
        );
    }
}

#[test]
fn all_configuration_mistakes_are_told_at_once_with_file_key_and_remedy() {
    let bench = Bench::new();
    let file = bench.write(
        "mine.toml",
        "[actor]\ngroup_sise = 4\n[learner]\nversions = \"many\"\n[learner.loss]\nbeta = -1.0\n[shopworld]\nproducts = 3\n",
    );
    let words = [
        "mistakes in the configuration",
        "mine.toml: actor.group_sise",
        "actor.group_size?",
        "mine.toml: learner.versions",
        "a whole number",
        "mine.toml: learner.loss.beta = -1",
        "mine.toml: shopworld.products = 3",
        "--set demo.actors=0",
    ];
    for command in [
        &["learner"][..],
        &["actor"],
        &["reward-server"],
        &["pretrain"],
        &["config", "print"],
    ] {
        bench
            .run(&[command, &["--config", &file, "--set", "demo.actors=0"]].concat())
            .refused(64, &words);
    }
    let by_flag = [&words[..7], &["--actors: demo.actors = 0", "1 to 64"]].concat();
    bench
        .demo(&["--config", &file, "--actors", "0"])
        .refused(64, &by_flag);
}

#[test]
fn a_configuration_file_that_is_missing_or_no_toml_is_named() {
    let bench = Bench::new();
    bench
        .run(&["learner", "--config", "nowhere.toml"])
        .refused(64, &["nowhere.toml", "No such file"]);
    let file = bench.write("broken.toml", "[run]\nseed = = 3\n");
    bench
        .run(&["learner", "--config", &file])
        .refused(64, &["broken.toml", "line 2"]);
    // Every one of several.
    let right = bench.write("right.toml", "[run]\nseed = 3\n");
    bench
        .run(&[
            "learner",
            "--config",
            "nowhere.toml",
            "--config",
            &file,
            "--config",
            &right,
        ])
        .refused(64, &["nowhere.toml", "broken.toml"]);
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().display().to_string();
    bench
        .run(&["learner", "--config", &empty])
        .refused(64, &[&empty, "no *.toml"]);
}

#[test]
fn an_unknown_device_or_number_format_says_what_there_is() {
    let bench = Bench::new();
    bench
        .demo(&["--device", "tpu:0"])
        .refused(64, &["--device", "tpu:0", "cuda:N"]);
    for command in [
        "learner",
        "actor",
        "reward-server",
        "pretrain",
        "train-reward",
        "eval-reward",
    ] {
        bench
            .run(&[command, "--device", "gpu"])
            .refused(64, &["compute.device", "gpu", "cpu"]);
        bench
            .run(&[command, "--dtype", "int4"])
            .refused(64, &["compute.dtype", "int4", "f32"]);
    }
}

#[test]
fn settings_that_would_overflow_or_exhaust_memory_are_refused_by_key() {
    let bench = Bench::new();
    for (set, right) in [
        ("learner.passes=9223372036854775807", "1 to 1000"),
        ("learner.lora.rank=1000000000", "1 to 1024"),
        ("pretrain.clip_norm=inf", "1e-6 to 1000000"),
        ("learner.optimizer.epsilon=1e-60", "1e-20 to 1"),
        ("shopworld.products=1000000", "GiB"),
        ("store.url=memory:///", "file:///absolute/directory"),
    ] {
        let key = set.split('=').next().unwrap();
        bench
            .run(&["learner", "--set", set])
            .refused(64, &[&format!("{key} = "), right]);
    }
}

#[test]
fn a_log_filter_that_is_none_is_refused_with_its_variable() {
    let bench = Bench::new();
    let output = bench
        .command(&["actor", "--learner", "http://127.0.0.1:9"])
        .env("RUST_LOG", "actor=loud")
        .output()
        .unwrap();
    let directory = bench.directory.path().to_owned();
    Said { output, directory }.refused(64, &["RUST_LOG", "actor=loud", "debug"]);
}

#[test]
fn the_printed_configuration_can_be_read_back() {
    let bench = Bench::new();
    let first = bench.run(&[
        "config",
        "print",
        "--set",
        "run.seed=9",
        "--set",
        "loss.pcpo_weight=0",
    ]);
    assert!(first.output.status.success(), "{}", first.errors());
    let file = bench.write("printed.toml", &first.output.stdout);
    let second = bench.run(&["config", "print", "--config", &file]);
    assert_eq!(second.output.stdout, first.output.stdout);
    let text = String::from_utf8(second.output.stdout).unwrap();
    assert!(
        text.contains("seed = 9") && text.contains("pcpo_weight = 0"),
        "{text}"
    );
}

#[test]
fn shipped_configurations_are_accepted() {
    let bench = Bench::new();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    for name in ["demo.toml", "caig.toml", "quick.toml"] {
        let path = configs.join(name).display().to_string();
        // A machine without a GPU checks the rest.
        let said = bench.run(&[
            "config",
            "print",
            "--config",
            &path,
            "--set",
            "compute.device=cpu",
        ]);
        assert!(said.output.status.success(), "{name}: {}", said.errors());
    }
}
