//! Roles as processes that find something broken: a checkpoint, a learner that was thought dead, a reward-server that is gone.
//! Each is named at once, and a deterministic run ends with the bytes of one in which nothing broke.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod processes;

use processes::{Role, signal, wait_until};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
    environment: Vec<(&'static str, String)>,
    /// `None` between two processes.
    role: Option<Role>,
}

impl<'a> Place<'a> {
    fn start(
        directory: &'a Path,
        name: &'static str,
        arguments: Vec<String>,
        environment: &[(&'static str, &str)],
    ) -> Self {
        let mut place = Self {
            directory,
            name,
            listen: format!("127.0.0.1:{}", port()),
            arguments,
            environment: environment
                .iter()
                .map(|&(name, value)| (name, value.to_owned()))
                .collect(),
            role: None,
        };
        place.restart();
        place
    }

    /// SIGKILL to whoever is there, then a new process.
    fn restart(&mut self) {
        self.role = None;
        let always = [
            self.name,
            "--listen",
            &self.listen,
            "--deterministic",
            "--store",
            "store",
        ];
        let mut command = configured(self.directory, &always);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (role, _) = Role::start(&mut command, &self.log());
        self.role = Some(role);
    }

    fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn has_ended(&mut self) -> bool {
        self.role.as_mut().is_none_or(Role::has_ended)
    }

    /// Whether it has ended well.
    fn succeeded(&mut self) -> bool {
        self.role.take().unwrap().wait()
    }

    fn process(&self) -> u32 {
        self.role.as_ref().unwrap().process()
    }

    fn log(&self) -> PathBuf {
        let log = format!("{}-{}.log", self.name, self.listen.replace(':', "-"));
        self.directory.join(log)
    }

    /// Waits until it says something.
    fn line_with(&self, words: &str) -> String {
        let mut found = None;
        wait_until(words, || {
            let said = fs::read_to_string(self.log()).unwrap();
            found = said.lines().find(|line| line.contains(words)).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }
}

/// What the roles need, made in a directory, and the adapter of a run in which nothing breaks.
struct Stage {
    directory: tempfile::TempDir,
    undisturbed: Vec<u8>,
}

impl Stage {
    fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for stage in [
            ["pretrain", "--out", "policy"],
            ["train-reward", "--out", "reward-model"],
        ] {
            done(&configured(directory.path(), &stage).output().unwrap());
        }
        let stage = Self {
            directory,
            undisturbed: vec![],
        };
        let reward = stage.reward_server();
        let learner = stage.learner("calm", &[]);
        let _actor = stage.actor("calm-1", &learner, &reward);
        let undisturbed = stage.adapter_of("calm", learner);
        Self { undisturbed, ..stage }
    }

    fn reward_server(&self) -> Place<'_> {
        Place::start(
            self.directory.path(),
            "reward-server",
            vec!["--model=reward-model".into()],
            &[],
        )
    }

    fn learner(&self, run: &str, environment: &[(&'static str, &str)]) -> Place<'_> {
        let (adapter, run) = (format!("--adapter=adapter-{run}"), format!("--set=run.id={run}"));
        let arguments = vec!["--policy=policy".into(), adapter, run];
        Place::start(self.directory.path(), "learner", arguments, environment)
    }

    fn actor(&self, id: &str, learner: &Place<'_>, reward: &Place<'_>) -> Place<'_> {
        let peers = [
            format!("--learner={}", learner.url()),
            format!("--reward={}", reward.url()),
        ];
        let arguments = [&peers[..], &[format!("--id={id}")]].concat();
        Place::start(self.directory.path(), "actor", arguments, &[])
    }

    /// Waits for the run's end.
    fn adapter_of(&self, run: &str, mut learner: Place<'_>) -> Vec<u8> {
        wait_until("the run does not end", || learner.has_ended());
        fs::read(
            self.directory
                .path()
                .join(format!("adapter-{run}/adapter_model.safetensors")),
        )
        .unwrap()
    }
}

#[test]
fn what_breaks_is_named_at_once_and_the_weights_are_those_of_a_run_in_which_nothing_broke() {
    let stage = Stage::set();
    a_truncated_checkpoint_is_passed_over(&stage);
    a_learner_that_was_replaced_while_it_stood_still_ends(&stage);
    a_reward_server_that_is_gone_is_waited_for(&stage);
}

fn a_truncated_checkpoint_is_passed_over(stage: &Stage) {
    let reward = stage.reward_server();
    // It dies with checkpoint 4 written, whose version nobody has heard of.
    let death = [(failpoint::VARIABLE, "learner.checkpoint.written:4")];
    let mut learner = stage.learner("torn", &death);
    let _actor = stage.actor("torn-1", &learner, &reward);
    wait_until("the learner does not die", || learner.has_ended());
    let checkpoints = stage.directory.path().join("store/runs/torn/checkpoints");
    let manifest = fs::read(checkpoints.join("manifest-1-4.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let digest = manifest["optimizer"].as_str().unwrap();
    let part = checkpoints
        .join("parts")
        .join(digest.trim_start_matches("blake3:"));
    let whole = fs::metadata(&part).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&part)
        .unwrap()
        .set_len(whole / 2)
        .unwrap();

    learner.environment.clear();
    learner.restart();
    let passed_over = learner.line_with("checkpoint passed over");
    assert!(
        passed_over.contains("v1.4") && passed_over.contains(part.file_name().unwrap().to_str().unwrap()),
        "{passed_over}"
    );
    assert!(learner.line_with("the run goes on").contains("v1.3"));
    assert!(
        stage.adapter_of("torn", learner) == stage.undisturbed,
        "other weights"
    );
}

/// A machine that stands still looks dead. When it goes on, its learner holds leases and outcomes that are another's by then.
fn a_learner_that_was_replaced_while_it_stood_still_ends(stage: &Stage) {
    let reward = stage.reward_server();
    let mut first = stage.learner("frozen", &[]);
    let mut its_actor = stage.actor("frozen-1", &first, &reward);
    first.line_with("published");
    let frozen = [its_actor.process(), first.process()];
    frozen.iter().for_each(|&process| signal(process, "STOP"));
    let second = stage.learner("frozen", &[]);
    let _actor = stage.actor("frozen-2", &second, &reward);
    second.line_with("published");
    frozen.iter().for_each(|&process| signal(process, "CONT"));
    wait_until("the first learner goes on", || first.has_ended());
    assert!(!first.succeeded(), "it took itself for the learner of the run");
    let reason = first.line_with("has been taken over by a later writer");
    assert!(reason.contains("runs/frozen/ledger"), "{reason}");
    its_actor.role = None;
    assert!(
        stage.adapter_of("frozen", second) == stage.undisturbed,
        "other weights"
    );
}

fn a_reward_server_that_is_gone_is_waited_for(stage: &Stage) {
    let mut reward = stage.reward_server();
    let learner = stage.learner("unscored", &[]);
    let actor = stage.actor("unscored-1", &learner, &reward);
    learner.line_with("published");
    reward.role = None;
    let missed = actor.line_with("peer does not answer");
    assert!(
        missed.contains("reward-server") && missed.contains(&reward.url()),
        "{missed}"
    );
    reward.restart();
    assert!(
        stage.adapter_of("unscored", learner) == stage.undisturbed,
        "other weights"
    );
}

#[test]
fn a_run_that_is_not_there_is_named_and_its_directory_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], word: &str, code: i32| {
        let output = command(directory.path(), arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(word) && output.status.code() == Some(code),
            "{arguments:?}: {said}"
        );
    };
    refused(
        &["ledger", "inspect", "--store", "stoer", "--run", "a"],
        "stoer",
        64,
    );
    refused(
        &["checkpoint", "list", "--store", "stoer", "--run", "a"],
        "stoer",
        64,
    );
    assert!(!directory.path().join("stoer").exists());
    fs::create_dir(directory.path().join("store")).unwrap();
    refused(
        &["ledger", "export", "--store", "store", "--run", "a"],
        "runs/a/ledger",
        64,
    );
    refused(
        &["ledger", "export", "--store", "store", "--run", "a b"],
        "--run",
        64,
    );
    refused(
        &["checkpoint", "verify", "--store", "store", "--run", "a"],
        "run a has no checkpoint",
        1,
    );
}
