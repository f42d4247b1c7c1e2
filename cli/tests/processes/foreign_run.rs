//! The three stages on checkpoints that others made, every role a process of its own.

use crate::fixtures::{fixture, text};
use crate::role::Role;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A shop and a run small enough for seconds. Most of what an untrained policy writes cannot be rendered, so that rewards tie:
/// many tasks give a few pairs.
const SMALL: [&str; 13] = [
    "learner.max_tasks_per_pair=500",
    "shopworld.products=16",
    "learner.versions=2",
    "learner.pairs_per_version=4",
    "learner.minibatch_pairs=4",
    "learner.passes=1",
    "learner.linger_ms=10000",
    "learner.lora.rank=4",
    "learner.lora.dropout=0.1",
    "learner.activation_checkpointing=true",
    "actor.group_size=2",
    "actor.max_new_tokens=8",
    "actor.tasks_per_lease=2",
];

/// The program in `directory`, with the small settings.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adwright"));
    command
        .args(arguments)
        .args(SMALL.iter().flat_map(|setting| ["--set", setting]))
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let output = command(directory, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    output
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_slice(&run(directory, arguments).stdout).unwrap()
}

/// Starts a role and returns its endpoint; `None` if it had nothing left to do.
fn start(directory: &Path, arguments: &[&str]) -> (Role, Option<String>) {
    let log = directory.join(format!("{}.log", arguments[0]));
    Role::start(
        command(directory, arguments).args(["--listen", "127.0.0.1:0"]),
        &log,
    )
}

fn serving(directory: &Path, arguments: &[&str]) -> (Role, String) {
    let (role, endpoint) = start(directory, arguments);
    (role, endpoint.unwrap())
}

/// What `y+` of a prompt gains under an adapter.
fn log_prob(directory: &Path, model: &str, more: &[&str]) -> f64 {
    let ask = [
        "logprob",
        "--model",
        model,
        "--prompt",
        "Where?",
        "--completion",
        "on a table",
        "--json",
    ];
    let asked: Vec<&str> = ask.into_iter().chain(more.iter().copied()).collect();
    json(directory, &asked)["sum"].as_f64().unwrap()
}

#[test]
fn a_run_on_a_checkpoint_of_transformers_gives_an_adapter_and_its_pairs() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let (model, chooser) = (text(&fixture("llava-hf-1.6/1")), text(&fixture("caig-reward/1")));
    let (_reward, reward) = serving(place, &["reward-server", "--model", &chooser]);
    let learner = [
        "learner",
        "--policy",
        &model,
        "--adapter",
        "adapter",
        "--pairs",
        "pairs",
    ];
    let (learner, address) = serving(place, &learner);
    let actor = |id: &str| {
        start(
            place,
            &["actor", "--id", id, "--learner", &address, "--reward", &reward],
        )
    };
    let actors = [actor("a").0, actor("b").0];
    assert!(
        learner.wait(),
        "{}",
        fs::read_to_string(place.join("learner.log")).unwrap()
    );
    assert!(actors.into_iter().all(Role::wait));
    let adapted = log_prob(place, &model, &["--adapter", "adapter"]);
    assert!((adapted - log_prob(place, &model, &[])).abs() > 1e-4);

    // The run's pairs train the same policy without anybody's help.
    let pairs = fs::read_to_string(place.join("pairs/pairs.jsonl")).unwrap();
    let count = pairs.lines().count();
    assert!((1..=8).contains(&count), "{count}");
    let train = [
        "train-pairs",
        "--policy",
        &model,
        "--pairs",
        "pairs/pairs.jsonl",
        "--epochs",
        "2",
        "--out",
        "again",
        "--json",
    ];
    let trained = json(place, &train);
    assert_eq!(
        (&trained["pairs"], &trained["epochs"]),
        (&count.into(), &2.into())
    );
    assert!(trained["loss"].as_f64().unwrap().is_finite());
    log_prob(place, &model, &["--adapter", "again"]);
}

#[test]
fn pre_training_a_checkpoint_of_transformers_writes_one_in_the_same_layout() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let conversation = r#"{"id": "1", "conversations": [
        {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "on a table"}]}"#;
    fs::write(place.join("sft.json"), format!("[{conversation}]")).unwrap();
    let model = text(&fixture("llava-hf-1.5/2"));
    let train = [
        "pretrain",
        "--model",
        &model,
        "--out",
        "tuned",
        "--json",
        "--set",
        "corpus.source=sft.json",
        "--set",
        "pretrain.samples=64",
        "--set",
        "pretrain.batch=4",
        "--set",
        "pretrain.optimizer.learning_rate=1e-2",
    ];
    let trained = json(place, &train);
    assert!(trained["loss"].as_f64().unwrap() < 1.0, "{trained}");
    let inspect = |model: &str| -> Value {
        let inspect = Command::new(env!("CARGO_BIN_EXE_adwright"))
            .args(["inspect", model, "--json"])
            .current_dir(place)
            .output();
        serde_json::from_slice(&inspect.unwrap().stdout).unwrap()
    };
    let (before, after) = (inspect(&model), inspect("tuned"));
    for key in ["layout", "parameters", "dtypes", "tokenizer"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_ne!(before["digest"], after["digest"]);
    assert!(log_prob(place, "tuned", &[]) > log_prob(place, &model, &[]) + 5.0);
}

#[test]
fn a_reward_model_on_a_checkpoint_of_transformers_is_read_by_everything_that_asks_one() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let model = text(&fixture("llava-hf-1.6/1"));
    let settings = [
        "--set",
        "reward.epochs=1",
        "--set",
        "reward.lora.rank=4",
        "--set",
        "shopworld.creatives_per_product=4",
    ];
    let asked = |arguments: &[&'static str]| -> Value {
        let arguments: Vec<&str> = arguments.iter().chain(&settings).copied().collect();
        json(place, &arguments)
    };
    let train = ["train-reward", "--model", &model, "--out", "chooser", "--json"];
    let train: Vec<&str> = train.into_iter().chain(settings).collect();
    let trained = json(place, &train);
    assert!(
        (0.0..=1.0).contains(&trained["pair_accuracy"].as_f64().unwrap()),
        "{trained}"
    );
    assert_eq!(trained, asked(&["eval-reward", "--model", "chooser", "--json"]));

    let inspect = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(["inspect", "chooser", "--json"])
        .current_dir(place)
        .output();
    let inspected: Value = serde_json::from_slice(&inspect.unwrap().stdout).unwrap();
    assert_eq!(inspected["layout"], "caig-reward");
    assert_eq!(inspected["missing"], Value::Array(vec![]));

    let pictures = ["square.png", "land.png"].map(|name| text(&fixture("images").join(name)));
    let score = [
        "score",
        "--model",
        "chooser",
        "--left",
        &pictures[0],
        "--right",
        &pictures[1],
        "--json",
    ];
    assert!(json(place, &score)["ctr"].is_array());
    start(place, &["reward-server", "--model", "chooser"]);

    // Trained further, it is another one.
    let again = ["train-reward", "--model", "chooser", "--out", "again", "--json"];
    asked(&again);
    let digest = |model: &str| {
        let score = [
            "score",
            "--model",
            model,
            "--left",
            &pictures[0],
            "--right",
            &pictures[1],
            "--json",
        ];
        json(place, &score)["model_digest"].clone()
    };
    assert_ne!(digest("chooser"), digest("again"));
}
