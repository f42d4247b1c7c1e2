//! What the program says to bad input: one clear error that names the file, row, key or address, exit status 64 for
//! what the user can put right and 1 for a run that failed, and nothing half-written. The real binary, no training.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use models::ctr::{Calibration, RewardModel};
use models::presets::Preset;
use models::processor::ImageProcessor;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{from_safetensors, to_safetensors};
use reward_server::RewardConfig;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory for one test, with its own products.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn picture(&self, name: &str, colour: u8) {
        image::RgbaImage::from_pixel(8, 8, image::Rgba([colour, 90, 10, 255]))
            .save(self.path(name))
            .unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adwright"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said {
            output: self.command(arguments).output().unwrap(),
            directory: self.directory.path().to_owned(),
        }
    }

    /// Runs a demo that must be refused before it begins.
    fn demo(&self, arguments: &[&str]) -> Said {
        let said = self.run(&[&["demo", "--out", "result"], arguments].concat());
        assert!(!self.path("result").exists(), "output of a refused demo");
        assert!(
            !self.path("result.unfinished").exists(),
            "leftovers of a refused demo"
        );
        said
    }
}

/// How the program answered.
struct Said {
    output: Output,
    directory: PathBuf,
}

impl Said {
    fn errors(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn refused(&self, status: i32, words: &[&str]) {
        let errors = self.errors();
        assert_eq!(self.output.status.code(), Some(status), "{errors}");
        assert!(self.output.stdout.is_empty(), "standard output is for results");
        for word in words {
            assert!(errors.contains(word), "{word:?} is not in:\n{errors}");
        }
        for fault in ["panicked", "RUST_BACKTRACE"] {
            assert!(!errors.contains(fault), "{errors}");
        }
    }

    #[track_caller]
    fn left_nothing_but(&self, names: &[&str]) {
        let mut left: Vec<String> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, names);
    }
}

fn catalogue(rows: &str) -> (Bench, Vec<String>) {
    let bench = Bench::new();
    bench.picture("1.png", 200);
    bench.picture("2.png", 100);
    let path = bench.write("mine.json", rows);
    (bench, vec!["--catalog".into(), path])
}

#[track_caller]
fn refused_catalogue(rows: &str, words: &[&str]) {
    let (bench, arguments) = catalogue(rows);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    bench.demo(&arguments).refused(64, words);
}

#[test]
fn an_unknown_argument_is_a_usage_error() {
    let bench = Bench::new();
    bench
        .run(&["demo", "--sede", "4"])
        .refused(64, &["--sede", "--seed"]);
    bench.run(&["demonstrate"]).refused(64, &["demonstrate"]);
    bench.run(&["demo", "--seed", "-1"]).refused(64, &["--seed"]);
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
        "u64",
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
}

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
fn a_malformed_catalogue_is_named_with_what_would_be_right() {
    let bench = Bench::new();
    bench
        .demo(&["--catalog", "nowhere.json"])
        .refused(64, &["nowhere.json", "No such file"]);
    bench.demo(&["--catalog", "file:///nowhere/at-all"]).refused(
        64,
        &[
            "catalogue.source = \"file:///nowhere/at-all\"",
            "no such directory",
        ],
    );
    let wanted = "a JSON list of {id, image, new_caption} is needed";
    refused_catalogue("", &["mine.json", "not JSON", wanted]);
    refused_catalogue("{\"id\": 1}", &["mine.json", "not a list", wanted]);
    refused_catalogue("[]", &["mine.json", "the list is empty", wanted]);
}

#[test]
fn every_faulty_row_of_a_catalogue_is_told_at_once() {
    let (bench, arguments) = catalogue(
        r#"[{"id": "1", "image": "1.png", "new_caption": "desk lamp"},
            {"id": "1", "image": "2.png", "new_caption": "oak chair"},
            {"id": "3", "image": "gone.png", "new_caption": "tea pot"},
            {"id": "4", "image": "text.png", "new_caption": "tea cup"},
            {"id": "5", "image": "2.png", "caption": "soap"}]"#,
    );
    bench.write("text.png", "this is no picture");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    bench.demo(&arguments).refused(
        64,
        &[
            "mine.json",
            "row 2",
            "row 3",
            "gone.png",
            "row 4",
            "text.png",
            "row 5",
            "new_caption",
        ],
    );
}

#[test]
fn a_catalogue_of_one_product_has_no_partner_for_it() {
    let one = r#"[{"id": "1", "image": "1.png", "new_caption": "desk lamp"}]"#;
    refused_catalogue(one, &["mine.json", "product 1 has no partner", "loss.mode = dpo"]);
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
fn a_click_log_whose_creatives_cannot_be_compared_blames_the_key() {
    let bench = Bench::new();
    let said = bench.run(&[
        "train-reward",
        "--set",
        "reward.min_impressions=1000000000",
        "--set",
        "shopworld.products=16",
    ]);
    said.refused(64, &["training products", "reward.min_impressions", "1000000000"]);
    said.left_nothing_but(&[]);
}

#[test]
fn a_model_is_never_written_over_something_else() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("taken")).unwrap();
    bench.write("taken/config.json", "{}");
    for command in ["pretrain", "train-reward"] {
        bench
            .run(&[command, "--out", "taken"])
            .refused(64, &["taken", "--out"]);
    }
}

#[test]
fn a_model_directory_that_is_none_is_named() {
    let bench = Bench::new();
    bench
        .run(&["reward-server", "--model", "nowhere"])
        .refused(64, &["nowhere"]);
    bench
        .run(&["eval-reward", "--model", "nowhere"])
        .refused(64, &["nowhere"]);
    bench
        .run(&["learner", "--policy", "nowhere", "--listen", "127.0.0.1:0"])
        .refused(64, &["nowhere"]);
}

#[test]
fn an_address_that_is_none_is_named() {
    let bench = Bench::new();
    bench
        .run(&["learner", "--listen", "localhost"])
        .refused(64, &["endpoints.learner_listen", "localhost", "HOST:PORT"]);
    bench
        .run(&["actor", "--learner", "127.0.0.1:7400"])
        .refused(64, &["endpoints.learner", "http://"]);
    bench
        .run(&["actor", "--store", "ftp://host/x"])
        .refused(64, &["ftp://host/x", "file"]);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_behind() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::create_dir(bench.path("policy")).unwrap();
    let roles = [&["actor"][..], &["learner", "--policy", "policy"]];
    for role in roles {
        let said = bench.run(&[role, &["--listen", &address]].concat());
        said.refused(1, &["cannot listen on", &address, "--listen", "in use"]);
        said.left_nothing_but(&["policy"]);
    }
}

#[test]
fn a_dashboard_that_others_reach_needs_a_token_and_what_is_none_is_said() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("policy")).unwrap();
    bench.write("short", "fifteen-bytes-x\n");
    let learner = [
        "learner",
        "--policy",
        "policy",
        "--listen",
        "127.0.0.1:0",
        "--dashboard",
    ];
    let with = |more: &[&str]| bench.run(&[&learner[..], more].concat());
    with(&["0.0.0.0:0"]).refused(64, &["dashboard.token_file", "16 characters"]);
    with(&["0.0.0.0:0", "--set", "dashboard.token_file=nowhere"])
        .refused(64, &["dashboard.token_file", "nowhere"]);
    let short = with(&["127.0.0.1:0", "--set", "dashboard.token_file=short"]);
    short.refused(64, &["dashboard.token_file", "15 bytes"]);
    with(&["7403"]).refused(64, &["dashboard.listen", "HOST:PORT"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = with(&[&address]);
    said.refused(1, &[&address, "--dashboard", "in use"]);
    said.left_nothing_but(&["policy", "short"]);
}

#[test]
fn a_catalogue_that_a_learner_cannot_use_leaves_nothing_behind() {
    let (bench, _) = catalogue("[]");
    std::fs::create_dir(bench.path("policy")).unwrap();
    let said = bench.run(&[
        "learner",
        "--policy",
        "policy",
        "--set",
        "catalogue.source=mine.json",
    ]);
    said.refused(64, &["mine.json", "the list is empty"]);
    said.left_nothing_but(&["1.png", "2.png", "mine.json", "policy"]);
}

#[test]
fn an_actor_without_a_learner_gives_up_names_the_address_and_needs_no_catalogue() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let said = bench.run(&[
        "actor",
        "--learner",
        &url,
        "--listen",
        "localhost:0",
        "--set",
        "actor.learner_timeout_s=0.3",
        "--set",
        "catalogue.source=on-the-learners-machine.json",
    ]);
    said.refused(1, &["learner", &url, "did not answer"]);
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

/// A directory with a whole policy, a whole reward model and what a finished demo writes beside them.
fn with_models() -> Bench {
    let bench = Bench::new();
    let cpu = models::device::parse_device("cpu").unwrap();
    let tokenizer = || Tokenizer::train(["oak desk"].iter(), 270, SpecialTokens::default()).unwrap();
    let policy = Preset::Tiny.policy(tokenizer(), &cpu, 1);
    policy.save(&bench.path("policy")).unwrap();
    let shape = RewardConfig::default();
    let config = shape.network(tokenizer().vocab_size());
    let reward_model = RewardModel {
        network: config.init(&cpu, 1),
        config,
        tokenizer: tokenizer(),
        processor: ImageProcessor::clip(shape.image_size),
        calibration: Calibration::default(),
    };
    reward_model.save(&bench.path("reward-model")).unwrap();
    bench.write("config.toml", "");
    bench.write(
        "report.json",
        r#"{"seed": 1, "mode": "dpo", "catalogue": "shopworld", "processes": [], "rounds": [],
            "wall_seconds": {"pretrain": 1, "reward": 1, "rl": 1, "total": 3},
            "reward_model": {"pair_accuracy": 0.7, "pair_accuracy_ci": [0.6, 0.8], "label_ceiling": 0.8,
                "swap_consistency": 1, "calibration_error": 0, "pairs": 1, "products": 1},
            "baseline": {}, "final": {}, "oracle": {}, "pairs_submitted": 0, "pairs_trained": 0,
            "adapter": "adapter", "adapter_blake3": "blake3:00",
            "weights": {"bytes_per_publish": 0, "publishes": 1, "adoptions": 0, "bytes_received": {}}}"#,
    );
    bench
}

/// Files below a directory; none when there is no such directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return vec![];
    };
    let below = |path: PathBuf| {
        if path.is_dir() {
            files_below(&path)
        } else {
            vec![path]
        }
    };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}

const LEARNER: [&str; 7] = [
    "learner",
    "--policy",
    "policy",
    "--listen",
    "127.0.0.1:0",
    "--set",
    "shopworld.products=32",
];

/// What is put in a file's place.
enum Fault {
    Missing,
    Cut,
    Bytes(&'static [u8]),
    /// A vector that is a matrix.
    Shape,
    /// A number that is none.
    Infinity,
}

fn damage(file: &Path, fault: &Fault) {
    let bytes = std::fs::read(file).unwrap();
    match fault {
        Fault::Missing => std::fs::remove_file(file).unwrap(),
        Fault::Cut => std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
        Fault::Bytes(bytes) => std::fs::write(file, bytes).unwrap(),
        Fault::Shape => {
            let mut weights = from_safetensors(&bytes).unwrap();
            let of_rank = |rank| weights.iter().find(|(_, data)| data.rank() == rank).unwrap();
            let (vector, matrix) = (of_rank(1).0.clone(), of_rank(2).1.clone());
            weights.insert(vector, matrix);
            std::fs::write(file, to_safetensors(&weights, None).unwrap()).unwrap();
        }
        Fault::Infinity => {
            let end = bytes.len() - size_of::<f32>();
            std::fs::write(file, [&bytes[..end], &f32::INFINITY.to_le_bytes()].concat()).unwrap();
        }
    }
}

#[test]
fn a_broken_model_is_named_alike_by_every_command_that_reads_it() {
    let learner: &[&str] = &LEARNER;
    let from: &[&str] = &["demo", "--from", ".", "--out", "out/demo"];
    let readers: [(&str, [&[&str]; 2]); 3] = [
        ("policy", [learner, from]),
        (
            "reward-model",
            [&["reward-server", "--model", "reward-model"], from],
        ),
        (
            "reward-model",
            [&["eval-reward", "--model", "reward-model"], from],
        ),
    ];
    let faults = [
        (
            "model.safetensors",
            Fault::Missing,
            &["cannot read", "No such file"][..],
        ),
        ("model.safetensors", Fault::Cut, &["no whole safetensors file"]),
        (
            "model.safetensors",
            Fault::Bytes(b"garbage"),
            &["no whole safetensors file"],
        ),
        (
            "model.safetensors",
            Fault::Shape,
            &["weight", "shape [", "expected ["],
        ),
        (
            "model.safetensors",
            Fault::Infinity,
            &["weight ", "inf", "expected finite numbers"],
        ),
        ("tokenizer.json", Fault::Bytes(b"{}"), &["tokenizer"]),
        ("tokenizer.json", Fault::Missing, &["cannot read"]),
        ("config.json", Fault::Bytes(b"{ no json"), &["not valid JSON"]),
        ("config.json", Fault::Missing, &["cannot read"]),
    ];
    let bench = with_models();
    for (index, (model, commands)) in readers.iter().enumerate() {
        for (name, fault, words) in &faults {
            let file = bench.path(model).join(name);
            let whole = std::fs::read(&file).unwrap();
            damage(&file, fault);
            // What the second reader of the reward model says of `--from` was seen with the first.
            let commands = if index == 2 { &commands[..1] } else { &commands[..] };
            for command in commands {
                let said = bench.run(command);
                said.refused(64, &[&format!("{model}/{name}")]);
                said.refused(64, words);
                assert_eq!(files_below(&bench.path("out")), [] as [PathBuf; 0], "{command:?}");
            }
            std::fs::write(&file, whole).unwrap();
        }
    }
}

#[test]
fn an_adapter_that_could_not_be_written_is_refused_before_the_run() {
    let bench = with_models();
    let learner = |adapter: &str| bench.run(&[&LEARNER[..], &["--adapter", adapter]].concat());
    bench.write("taken", "a file");
    learner("taken").refused(64, &["paths.adapter", "taken", "expected a directory"]);
    std::fs::create_dir(bench.path("other")).unwrap();
    bench.write("other/adapter_config.json", "{}");
    bench.write("other/lineage.json", r#"{"run_id": "night", "run_seed": 3}"#);
    learner("other").refused(64, &["/other", "the adapter of run night, seed 3", "remove it"]);
    assert_eq!(files_below(&bench.path("out")), [] as [PathBuf; 0]);
}

#[test]
fn a_policy_that_cannot_be_trained_from_nothing_is_no_preset() {
    let bench = Bench::new();
    let large = ["--set", "policy.preset=llava-1.6-7b"];
    let words = ["policy.preset", "llava-1.6-7b", "expected tiny", "paths.policy"];
    bench
        .run(&[&["pretrain"], &large[..]].concat())
        .refused(64, &words);
    bench.demo(&large).refused(64, &words);
}
