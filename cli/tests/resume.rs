//! Every role a process of its own, killed without warning and started again: nothing that was acknowledged is lost, nothing
//! is trained twice, and the weights are those of a run that nobody disturbed.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod processes;

use processes::{Role, wait_until};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A run small enough for seconds and long enough to be killed in.
const SMALL: [&str; 15] = [
    "shopworld.products=16",
    "pretrain.samples=2000",
    "reward.epochs=1",
    "learner.versions=12",
    "learner.pairs_per_version=8",
    "learner.minibatch_pairs=4",
    "learner.passes=1",
    "learner.lora.rank=4",
    "learner.lease_ttl_ms=2000",
    "learner.lease_grace_ms=100",
    "actor.group_size=2",
    "actor.max_new_tokens=8",
    "actor.tasks_per_lease=2",
    "actor.learner_timeout_s=60",
    "actor.reward_timeout_s=60",
];

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adwright"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn configured(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = command(directory, arguments);
    command.args(SMALL.iter().flat_map(|setting| ["--set", setting]));
    command
}

fn done(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A free port. Somebody else may take it in between, which has not been seen to happen.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// One role of a run, at an address that stays.
struct Place<'a> {
    directory: &'a Path,
    name: &'static str,
    listen: String,
    arguments: Vec<String>,
    /// `None` between two processes.
    role: Option<Role>,
}

impl<'a> Place<'a> {
    fn start(directory: &'a Path, name: &'static str, arguments: Vec<String>) -> Self {
        let mut place = Self {
            directory,
            name,
            listen: format!("127.0.0.1:{}", port()),
            arguments,
            role: None,
        };
        place.restart();
        place
    }

    /// SIGKILL to whoever is there, then a new process.
    fn restart(&mut self) {
        self.role = None;
        let log = format!("{}-{}.log", self.name, self.listen.replace(':', "-"));
        let always = [
            self.name,
            "--listen",
            &self.listen,
            "--deterministic",
            "--store",
            "store",
        ];
        let mut command = configured(self.directory, &always);
        let (role, _) = Role::start(command.args(&self.arguments), &self.directory.join(log));
        self.role = Some(role);
    }

    fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn has_ended(&mut self) -> bool {
        self.role.as_mut().is_none_or(Role::has_ended)
    }
}

/// Runs to the end with two actors. Before each entry of `kills` so many milliseconds pass; then the role of that number, of
/// learner, reward-server and actors, is killed and started again.
fn run(directory: &Path, run: &str, kills: &[(u64, usize)]) -> Vec<u8> {
    let of_run = format!("run.id={run}");
    let adapter = format!("adapter-{run}");
    let mut reward = Place::start(
        directory,
        "reward-server",
        vec!["--model".into(), "reward-model".into()],
    );
    let learner = ["--policy", "policy", "--adapter", &adapter, "--set", &of_run].map(str::to_owned);
    let mut learner = Place::start(directory, "learner", learner.to_vec());
    let urls = ["--learner".into(), learner.url(), "--reward".into(), reward.url()];
    let mut actors = [1, 2].map(|number| {
        let own = [format!("--id={run}-{number}")];
        Place::start(directory, "actor", urls.iter().cloned().chain(own).collect())
    });
    for &(after_ms, role) in kills {
        sleep(Duration::from_millis(after_ms));
        if learner.has_ended() {
            break;
        }
        match role {
            0 => learner.restart(),
            1 => reward.restart(),
            actor => actors[actor - 2].restart(),
        }
    }
    wait_until("the run does not end", || learner.has_ended());
    fs::read(directory.join(adapter).join("adapter_model.safetensors")).unwrap()
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let output = command(directory, arguments).output().unwrap();
    serde_json::from_str(&done(&output)).unwrap()
}

/// Goes two versions back in the run that ended with `adapter`, and on from there, to the same bytes; then takes it elsewhere.
fn rolled_back(directory: &Path, adapter: &[u8]) {
    let of_run = ["--store", "store", "--run", "calm", "--json"];
    let ask = |command: &[&str]| json(directory, &[&["checkpoint"], command, &of_run[..]].concat());
    let told = ask(&["rollback", "--to", "1.10"]);
    assert_eq!(told["epoch"], 2);
    assert_eq!(told["left_behind"].as_array().unwrap().len(), 2);
    let list = ask(&["list"]);
    let left: Vec<bool> = list["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["left_behind"].as_bool().unwrap())
        .collect();
    assert_eq!(left, [false, true, true]);
    assert!(
        run(directory, "calm", &[]) == adapter,
        "other weights after a rollback"
    );
    let list = ask(&["list"]);
    let newest = list["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(newest["version"], serde_json::json!({"epoch": 3, "number": 12}));
    assert_eq!(
        newest["content"]["parent"],
        serde_json::json!({"epoch": 1, "number": 10})
    );

    let pulled = ask(&["pull", "--out", "pulled"]);
    assert_eq!(pulled["version"], newest["version"]);
    let read = |path: &str| fs::read(directory.join(path)).unwrap();
    assert!(read("pulled/adapter_model.safetensors") == adapter);
    let exported = ask(&[
        "export",
        "--version",
        "3.12",
        "--model",
        "policy",
        "--out",
        "exported",
    ]);
    assert_eq!(exported["merged"], false);
    for name in ["adapter_model.safetensors", "adapter_config.json", "lineage.json"] {
        let (here, there) = (
            read(&format!("exported/{name}")),
            read(&format!("adapter-calm/{name}")),
        );
        assert!(here == there, "{name}");
    }
    // Folded in, it is the model that `adwright export --merge` makes of the run's adapter.
    let url = format!("file://{}/merged", directory.display());
    ask(&["export", "--merge", "--model", "policy", "--out", &url]);
    let merge = [
        "export",
        "--adapter",
        "adapter-calm",
        "--model",
        "policy",
        "--merge",
        "--out",
        "theirs",
    ];
    done(&command(directory, &merge).output().unwrap());
    let names = |name: &str| -> BTreeSet<_> {
        let entries = fs::read_dir(directory.join(name)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("merged"), names("theirs"));
    assert!(read("merged/model.safetensors") == read("theirs/model.safetensors"));
}

#[test]
fn killed_roles_lose_nothing_and_leave_the_weights_of_an_undisturbed_run() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for stage in [
        ["pretrain", "--out", "policy"],
        ["train-reward", "--out", "reward-model"],
    ] {
        done(&configured(directory, &stage).output().unwrap());
    }
    let undisturbed = run(directory, "calm", &[]);
    rolled_back(directory, &undisturbed);
    // Of the first eight kills each role has two; the times are drawn.
    let mut draws = ChaCha8Rng::seed_from_u64(11);
    let kills: Vec<(u64, usize)> = (0..12)
        .map(|kill| (draws.random_range(20..500), kill % 4))
        .collect();
    let disturbed = run(directory, "stormy", &kills);
    assert!(disturbed == undisturbed, "other weights");

    let ledger = |subcommand: &str, more: &[&str]| {
        let place = ["--store", "store", "--run", "stormy"];
        done(
            &command(directory, &["ledger", subcommand])
                .args(place)
                .args(more)
                .output()
                .unwrap(),
        )
    };
    let lines: Vec<Value> = ledger("export", &[])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tasks: BTreeSet<u64> = lines.iter().map(|line| line["task"].as_u64().unwrap()).collect();
    assert_eq!(
        (lines.len(), tasks),
        (96, (0..96).collect()),
        "each task has one terminal outcome"
    );
    for line in &lines {
        assert_eq!(line["outcome"] == "pair", line["trained_step"].is_u64(), "{line}");
    }
    let starts = lines
        .iter()
        .map(|line| line["epoch"].as_u64().unwrap())
        .max()
        .unwrap();
    assert!(starts > 1, "the learner was never killed in between");
    let summary: Value = serde_json::from_str(&ledger("inspect", &["--json"])).unwrap();
    assert_eq!(summary["pairs_trained"], summary["outcomes"]["pairs"]);
    let checkpoints = [
        "checkpoint",
        "verify",
        "--store",
        "store",
        "--run",
        "stormy",
        "--json",
    ];
    let checkpoints: Value =
        serde_json::from_str(&done(&command(directory, &checkpoints).output().unwrap())).unwrap();
    let newest = checkpoints["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&newest["version"]["number"], &newest["problem"]),
        (&12.into(), &Value::Null)
    );
}
