//! What every run of one chaos shares: the program, a policy, a reward model, a store, and the bytes that a deterministic run
//! ends with when nobody disturbs it.

use crate::books::Books;
use crate::lineage::Lineage;
use crate::place::{Place, Role};
use crate::plan::Plan;
use crate::report::Report;
use crate::storm::Storm;
use anyhow::{Context as _, Result, ensure};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// A run small enough for seconds and long enough to be killed in. A task is leased as often as it takes: each kill may cost
/// a lease, and none of them is the task's fault. One actor fetches weights from the other.
/// Images are kept for half a second.
const SMALL: [&str; 19] = [
    "shopworld.products=16",
    "pretrain.samples=2000",
    "reward.epochs=1",
    "learner.versions=24",
    "learner.pairs_per_version=8",
    "learner.minibatch_pairs=4",
    "learner.passes=1",
    "learner.lora.rank=4",
    "learner.lease_ttl_ms=2000",
    "learner.lease_grace_ms=100",
    "learner.max_attempts=1000",
    "learner.linger_ms=500",
    "learner.relay_branches=1",
    "learner.keep_images_days=0.000006",
    "actor.group_size=2",
    "actor.max_new_tokens=8",
    "actor.tasks_per_lease=2",
    "actor.learner_timeout_s=120",
    "actor.reward_timeout_s=120",
];

/// What is logged: all that roles do, and what actors were promised.
const LOG: &str = "info,slatedb=warn,actor::learner_client::receipts=debug";

/// How a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Block by block; equal bytes.
    Deterministic,
    /// In order of arrival, with checkpoints at some versions only: a crash loses versions that were sampled from.
    Asynchronous,
}

impl Mode {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Asynchronous => "asynchronous",
        }
    }

    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Deterministic => &["learner.deterministic=true"],
            Self::Asynchronous => &["learner.max_staleness=2", "learner.checkpoint_every=3"],
        }
    }
}

/// The stage.
pub(crate) struct Stage {
    directory: TempDir,
    program: PathBuf,
    reference: OnceLock<String>,
}

impl Stage {
    /// Trains a policy and a reward model.
    pub(crate) fn set() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("chaos-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        // Whoever builds the program meanwhile does not change what is started.
        let program = directory.path().join("adwright");
        std::fs::copy(env!("CARGO_BIN_EXE_adwright"), &program).context("cannot copy the program")?;
        let stage = Self {
            directory,
            program,
            reference: OnceLock::new(),
        };
        stage.output(stage.configured("pretrain").args(["--out", "policy"]))?;
        stage.output(stage.configured("train-reward").args(["--out", "reward-model"]))?;
        Ok(stage)
    }

    /// Runs, one after the other, until the plan is done, and the report of them.
    pub(crate) fn weather(&self, mode: Mode, mut plan: Plan, report: &mut Report) -> Result<()> {
        if mode == Mode::Deterministic {
            report.expect(self.reference()?);
        }
        for number in 1.. {
            let run = format!("{}-{number}", mode.name());
            let storm = self.run(mode, &run, &mut plan);
            let storm = storm.with_context(|| self.keep(&run))?;
            let books = Books::read(self, &run)?;
            let adapter = self.adapter(&run)?;
            report.add(mode, &run, &storm, &books, adapter)?;
            if plan.is_pending() && storm.kills.is_empty() && storm.points.is_empty() {
                plan.points().for_each(|point| report.never_hit(point));
            }
            if !report.broken().is_empty() {
                eprintln!("{}", self.keep(&run));
                return Ok(());
            }
            if !plan.is_pending() {
                return Ok(());
            }
        }
        unreachable!("runs end by the plan")
    }

    /// The digest of the adapter of a deterministic run that nobody disturbs.
    fn reference(&self) -> Result<String> {
        if let Some(known) = self.reference.get() {
            return Ok(known.clone());
        }
        let calm = self.run(
            Mode::Deterministic,
            "calm",
            &mut Plan::new(0, 0, Duration::ZERO, 0),
        );
        calm.with_context(|| self.keep("calm"))?;
        let adapter = self.adapter("calm")?;
        Ok(self.reference.get_or_init(|| adapter).clone())
    }

    /// A run with two actors: one that keeps its name and its directory, and one that comes as another each time.
    fn run(&self, mode: Mode, run: &str, plan: &mut Plan) -> Result<Storm> {
        let adapter = format!("adapter-{run}");
        let of_run = format!("run.id={run}");
        let [learner, reward, one, other] = ports()?.map(|port| format!("127.0.0.1:{port}"));
        let peers = [
            format!("--learner=http://{learner}"),
            format!("--reward=http://{reward}"),
        ];
        let kept = [format!("--id={run}-1"), format!("--work-dir=work-{run}")];
        let with_peers = |own: &[String]| [&peers[..], own].concat();
        let places = [
            (
                Role::RewardServer,
                "reward-server",
                &reward,
                vec!["--model=reward-model".into()],
            ),
            (
                Role::Learner,
                "learner",
                &learner,
                ["--policy", "policy", "--adapter", &adapter, "--set", &of_run]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            (Role::Actor, "actor-1", &one, with_peers(&kept)),
            (Role::Actor, "actor-2", &other, with_peers(&[])),
        ];
        let logs = self.path(&format!("logs-{run}"));
        std::fs::create_dir_all(&logs)?;
        let places = places.map(|(role, name, listen, arguments)| {
            let (program, directory) = (self.program.clone(), self.path(""));
            let listen = format!("--listen={listen}");
            let command = move || {
                let mut command = base(&program, &directory);
                command
                    .args([role.name(), &listen, "--store=store"])
                    .args(&arguments);
                set(&mut command, &SMALL);
                set(&mut command, mode.settings());
                command
            };
            Place::new(role, name, logs.clone(), command)
        });
        let lineage = Lineage::of(self.path("store").join("runs").join(run).join("checkpoints"));
        Storm::blow(places.into(), lineage, plan)
    }

    /// The digest of the adapter that a run has left.
    fn adapter(&self, run: &str) -> Result<String> {
        let path = self
            .path(&format!("adapter-{run}"))
            .join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(store::digest(&bytes).to_string())
    }

    /// A command of the program that tells of a run in the store.
    pub(crate) fn tell(&self, run: &str, words: &[&str]) -> Result<String> {
        let place = ["--store", "store", "--run", run];
        self.output(base(&self.program, &self.path("")).args(words).args(place))
    }

    fn configured(&self, subcommand: &str) -> Command {
        let mut command = base(&self.program, &self.path(""));
        command.arg(subcommand);
        set(&mut command, &SMALL);
        command
    }

    fn output(&self, command: &mut Command) -> Result<String> {
        let output = command.env_remove("RUST_LOG").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Keeps the logs and ledger of a run that went wrong, and says where.
    fn keep(&self, run: &str) -> String {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-kept-{}", std::process::id()));
        let what = [self.path(&format!("logs-{run}")), self.path("store")];
        let _ = std::fs::create_dir_all(&kept);
        let _ = Command::new("cp").arg("-r").args(what).arg(&kept).status();
        format!("run {run}, logs and store in {}", kept.display())
    }
}

fn base(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    // Whoever is killed leaves its temporary files to the stage.
    command
        .current_dir(directory)
        .env("RUST_LOG", LOG)
        .env("TMPDIR", directory)
        .stdin(Stdio::null());
    command
}

fn set(command: &mut Command, settings: &[&str]) {
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
}

/// Free ports. Somebody else may take one in between, which has not been seen to happen.
fn ports() -> Result<[u16; 4]> {
    let listener = || TcpListener::bind("127.0.0.1:0");
    let listeners = [listener()?, listener()?, listener()?, listener()?];
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
