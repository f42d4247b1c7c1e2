//! A small deterministic run: what it needs, made in a directory, and its roles at addresses that stay.

use crate::program::{line_in, wait_until};
use crate::role::Role;
use failpoint::Mutation;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

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

pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adwright"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

pub(crate) fn configured(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = command(directory, arguments);
    command.args(SMALL.iter().flat_map(|setting| ["--set", setting]));
    command
}

pub(crate) fn done(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A free port below those that systems give to whoever asks for any: nobody gets it before its role listens there, nor between two
/// processes of the role.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs of tests that run at the same time begin at places of their own.
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Leases that do not run out while whoever has them is at work, however slow the machine is: for runs in which nobody dies.
pub(crate) const LONG_LEASES: &str = "learner.lease_ttl_ms=60000";

/// Steps so small that a run of thousands of versions stays where it began. One that learns comes to say the same of each product in every
/// candidate, and fails for want of pairs.
pub(crate) const SMALL_STEPS: &str = "learner.optimizer.learning_rate=0.00001";

/// Where a stage has certificates, when its roles prove who they are.
pub(crate) const CERTIFICATES: &str = "certificates";

/// What tells a role which certificates are its own; nothing where there are none.
pub(crate) fn certificates(directory: &Path, role: &str) -> Vec<String> {
    if !directory.join(CERTIFICATES).exists() {
        return vec![];
    }
    let file = |key, file| format!("--set=tls.{key}={CERTIFICATES}/{role}/{file}");
    vec![
        file("cert", "tls.crt"),
        file("key", "tls.key"),
        file("ca", "ca.crt"),
        "--set=tls.reload_s=1".into(),
    ]
}

/// One role of a run, at an address that stays.
pub(crate) struct Place<'a> {
    directory: &'a Path,
    name: &'static str,
    listen: String,
    arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// `None` between two processes.
    pub(crate) role: Option<Role>,
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
    pub(crate) fn restart(&mut self) {
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
            .args(certificates(self.directory, self.name))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (role, _) = Role::start(&mut command, &self.log());
        self.role = Some(role);
    }

    pub(crate) fn url(&self) -> String {
        match self.directory.join(CERTIFICATES).exists() {
            true => format!("https://{}", self.listen),
            false => format!("http://{}", self.listen),
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.role.as_mut().is_none_or(Role::has_ended)
    }

    /// Whether it has ended well.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.role.take().unwrap().wait()
    }

    pub(crate) fn process(&self) -> u32 {
        self.role.as_ref().unwrap().process()
    }

    pub(crate) fn log(&self) -> PathBuf {
        let log = format!("{}-{}.log", self.name, self.listen.replace(':', "-"));
        self.directory.join(log)
    }

    /// Waits until it says something.
    pub(crate) fn line_with(&self, words: &str) -> String {
        line_in(&self.log(), words)
    }
}

/// What the roles need, made in a directory, and the adapter of a run in which nothing breaks.
pub(crate) struct Stage {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) undisturbed: Vec<u8>,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let stage = Self::with_models();
        let undisturbed = stage.run("calm");
        Self { undisturbed, ..stage }
    }

    /// The same without that run.
    pub(crate) fn with_models() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for stage in [
            ["pretrain", "--out", "policy"],
            ["train-reward", "--out", "reward-model"],
        ] {
            done(&configured(directory.path(), &stage).output().unwrap());
        }
        Self {
            directory,
            undisturbed: vec![],
        }
    }

    /// The adapter of a run in which nothing breaks, begun or gone on with.
    pub(crate) fn run(&self, run: &str) -> Vec<u8> {
        self.run_by(run, 2)
    }

    /// With so many actors: where little is left to do, the first may have done it before another one comes.
    pub(crate) fn run_by(&self, run: &str, actors: usize) -> Vec<u8> {
        let reward = self.reward_server();
        let learner = self.learner(run, &[]);
        let _actors: Vec<_> = (1..=actors)
            .map(|number| self.actor(&format!("{run}-{number}"), &learner, &reward))
            .collect();
        self.adapter_of(run, learner)
    }

    pub(crate) fn reward_server(&self) -> Place<'_> {
        self.reward_server_of("demo")
    }

    /// One that scores for the named run only, where its callers prove who they are.
    pub(crate) fn reward_server_of(&self, run: &str) -> Place<'_> {
        self.reward_server_with(&[format!("run.id={run}")])
    }

    /// A reward-server with settings of its own.
    pub(crate) fn reward_server_with(&self, settings: &[String]) -> Place<'_> {
        let mut arguments = vec!["--model=reward-model".to_owned()];
        arguments.extend(settings.iter().map(|set| format!("--set={set}")));
        Place::start(self.directory.path(), "reward-server", arguments, &[])
    }

    /// A learner with settings of its own.
    pub(crate) fn learner_with(&self, run: &str, settings: &[String]) -> Place<'_> {
        self.learner_in(run, settings, &[])
    }

    pub(crate) fn learner(&self, run: &str, environment: &[(&'static str, &str)]) -> Place<'_> {
        self.learner_in(run, &[], environment)
    }

    /// A learner with settings and an environment of its own.
    pub(crate) fn learner_in(
        &self,
        run: &str,
        settings: &[String],
        environment: &[(&'static str, &str)],
    ) -> Place<'_> {
        let mut arguments = vec![
            "--policy=policy".into(),
            format!("--adapter=adapter-{run}"),
            format!("--set=run.id={run}"),
        ];
        arguments.extend(settings.iter().map(|set| format!("--set={set}")));
        Place::start(self.directory.path(), "learner", arguments, environment)
    }

    pub(crate) fn actor(&self, id: &str, learner: &Place<'_>, reward: &Place<'_>) -> Place<'_> {
        self.actor_with(id, learner, reward, &[])
    }

    /// An actor with settings of its own.
    pub(crate) fn actor_with(
        &self,
        id: &str,
        learner: &Place<'_>,
        reward: &Place<'_>,
        settings: &[&str],
    ) -> Place<'_> {
        self.actor_in(id, learner, reward, settings, &[])
    }

    /// An actor that breaks a promise.
    pub(crate) fn actor_that_breaks(
        &self,
        mutation: Mutation,
        id: &str,
        learner: &Place<'_>,
        reward: &Place<'_>,
    ) -> Place<'_> {
        self.actor_in(
            id,
            learner,
            reward,
            &[],
            &[(failpoint::MUTATION, mutation.name())],
        )
    }

    /// An actor with settings and an environment of its own.
    pub(crate) fn actor_in(
        &self,
        id: &str,
        learner: &Place<'_>,
        reward: &Place<'_>,
        settings: &[&str],
        environment: &[(&'static str, &str)],
    ) -> Place<'_> {
        let mut arguments = vec![
            format!("--learner={}", learner.url()),
            format!("--reward={}", reward.url()),
            format!("--id={id}"),
        ];
        // Who comes when the run is over finds its end.
        let run = learner
            .arguments
            .iter()
            .find(|argument| argument.starts_with("--set=run.id="));
        arguments.extend(run.cloned());
        arguments.extend(settings.iter().map(|set| format!("--set={set}")));
        Place::start(self.directory.path(), "actor", arguments, environment)
    }

    /// Waits for the run's end.
    pub(crate) fn adapter_of(&self, run: &str, mut learner: Place<'_>) -> Vec<u8> {
        wait_until("the run does not end", || learner.has_ended());
        fs::read(
            self.directory
                .path()
                .join(format!("adapter-{run}/adapter_model.safetensors")),
        )
        .unwrap()
    }
}
