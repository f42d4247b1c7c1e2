//! A run whose versions are measured on held-out products while it goes on, by a process that only looks on.

use crate::program::{Guarded, line_in, signal, wait_until};
use crate::stage::{Stage, configured, done};
use crate::watched::{health, watched_at};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// What an evaluator of the run at `learner` says, with the policy in `policy` and settings of its own.
fn followed(directory: &Path, policy: &str, learner: &str, settings: &[&str]) -> Output {
    let model = format!("--model={policy}");
    let learner = format!("--learner={learner}");
    let follow = ["evaluate", "--follow", "--json", "--reward-model=reward-model"];
    let mut command = configured(directory, &[&follow[..], &[&model, &learner]].concat());
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.args(["--set", "demo.samples=4"]).output().unwrap()
}

/// The reward of the policy in `policy` on two test products, rendered as these settings say.
pub(crate) fn reward_of_base(directory: &Path, settings: &[&str]) -> f64 {
    let models = [
        "evaluate",
        "--json",
        "--model=policy",
        "--reward-model=reward-model",
    ];
    let mut command = configured(directory, &models);
    command.args([
        "--set",
        "demo.products=2",
        "--set",
        "demo.samples=2",
        "--set",
        "demo.kl_samples=2",
    ]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let report: Value = serde_json::from_str(&done(&command.output().unwrap())).unwrap();
    report["policies"][0]["reward"].as_f64().unwrap()
}

#[test]
fn versions_are_measured_as_they_come_and_the_learner_takes_what_it_is_told() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let settings = ["learner.versions=3".to_owned()];
    let reward = stage.reward_server();
    let mut learner = stage.learner_with("watched", &settings);

    let other = configured(directory, &["pretrain", "--seed", "9", "--out", "other"]).output();
    done(&other.unwrap());
    let refused = followed(directory, "other", &learner.url(), &[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(
        said.contains("other/model.safetensors is not the run's base"),
        "{said}"
    );

    let refused = followed(directory, "policy", &learner.url(), &["shopworld.test_share=0.5"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    let named = said.lines().filter(|line| line.contains("catalogue.held_out"));
    let [named] = named.collect::<Vec<_>>()[..] else {
        panic!("not one line: {said}");
    };
    for words in [
        "catalogue.held_out = 8 products, blake3:",
        "the run has ",
        "catalogue.test_share",
        &learner.url(),
    ] {
        assert!(named.contains(words), "{words}: {named}");
    }
    learner.line_with("refused: other settings than the run's");

    // It is there before there is anything to measure but the policy that the run began with.
    let mut follower = Follower::start(directory, &learner.url(), &["demo.samples=4"]);
    follower.until_it_says("measuring");
    let _actor = stage.actor("a", &learner, &reward);
    assert!(
        follower.process.0.wait().unwrap().success(),
        "{}",
        follower.said()
    );
    let told = follower.lines();
    let lines: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["version"]["number"], 0, "{told}");
    let last = lines.last().unwrap();
    assert_eq!(last["version"]["number"], 3, "{told}");
    for figure in ["reward", "match_rate", "true_ctr", "invalid_rate", "kl"] {
        assert!(last[figure].is_f64(), "{figure}: {told}");
    }
    // It waits for who still looks on, and no longer.
    assert!(learner.succeeded());
    assert!(learner.line_with("version measured").contains("reward"));
    let nobody = followed(directory, "policy", &learner.url(), &[]);
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1), "{said}");
    assert!(said.contains(&learner.url()), "{said}");
}

/// What Kubernetes gives an evaluator between SIGTERM and SIGKILL (k8s/components/evaluator), less what it takes for itself.
const GRACE: Duration = Duration::from_secs(10);

/// An evaluator as a process.
struct Follower {
    process: Guarded,
    log: PathBuf,
    lines: PathBuf,
}

impl Follower {
    /// Of the run at `learner`, with settings of its own.
    fn start(directory: &Path, learner: &str, settings: &[&str]) -> Self {
        let (log, lines) = (directory.join("evaluator.log"), directory.join("evaluator.json"));
        let learner = format!("--learner={learner}");
        let follow = [
            "evaluate",
            "--follow",
            "--json",
            "--unfinished-status=75",
            &learner,
        ];
        let models = [
            "--model=policy",
            "--reward-model=reward-model",
            "--metrics=127.0.0.1:0",
        ];
        let mut command = configured(directory, &[&follow[..], &models[..]].concat());
        command
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::from(fs::File::create(&lines).unwrap()))
            .stderr(Stdio::from(fs::File::create(&log).unwrap()));
        Self {
            process: Guarded(command.spawn().unwrap()),
            log,
            lines,
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn until_it_says(&self, words: &str) {
        line_in(&self.log, words);
    }

    fn lines(&self) -> String {
        fs::read_to_string(&self.lines).unwrap()
    }

    /// What it says of its health.
    fn health(&self, service: &str) -> String {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(health(&watched_at(&self.log), service))
    }

    /// Its exit status after a signal.
    fn stopped_by(&mut self, name: &str) -> Option<i32> {
        let asked = Instant::now();
        signal(self.process.0.id(), name);
        let status = self.process.0.wait().unwrap();
        assert!(asked.elapsed() < GRACE, "{:?}: {}", asked.elapsed(), self.said());
        status.code()
    }
}

#[test]
fn an_evaluator_that_is_stopped_while_it_measures_tells_nothing_and_the_next_one_measures_that_version() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    // Nobody samples: it stays at its first version.
    let mut learner = stage.learner("measured", &[]);
    // Minutes of measuring: one description after the other.
    let slowly = ["demo.samples=1024", "demo.batch=1"];
    let mut first = Follower::start(directory, &learner.url(), &slowly);
    first.until_it_says("measuring");
    assert_eq!(first.health("liveness"), "Serving");
    wait_until("it is not ready", || first.health("") == "Serving");
    assert_eq!(first.stopped_by("TERM"), Some(75), "{}", first.said());
    let said = first.said();
    assert!(
        said.contains("draining") && said.contains("stopped while it was being measured"),
        "{said}"
    );
    assert_eq!(first.lines(), "");

    let mut second = Follower::start(directory, &learner.url(), &["demo.samples=4"]);
    wait_until("it measures nothing", || second.lines().ends_with('\n'));
    let line: Value = serde_json::from_str(&second.lines()).unwrap();
    assert_eq!(line["version"]["number"], 0, "{line}");
    // Between two versions.
    assert_eq!(second.stopped_by("INT"), Some(75), "{}", second.said());
    learner.line_with("version measured");
    let measured = fs::read_to_string(learner.log()).unwrap();
    assert_eq!(measured.matches("version measured").count(), 1);
    signal(learner.process(), "TERM");
    assert!(learner.succeeded());
}
