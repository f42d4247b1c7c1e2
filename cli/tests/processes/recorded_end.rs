//! Runs whose learner has gone with their end: who comes then finds the end in the store, and no run that goes on is stopped by it.

use crate::http::{number, page_of};
use crate::program::{Guarded, line_in, signal, wait_until};
use crate::stage::{Place, Stage, configured, done};
use crate::watched::{health, watched_at};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A process that comes when nobody listens at the learner's address.
struct Late {
    process: Guarded,
    log: PathBuf,
}

impl Late {
    fn start(directory: &Path, name: &str, arguments: &[&str], settings: &[&str]) -> Self {
        let log = directory.join(format!("late-{name}.log"));
        let mut command = configured(directory, arguments);
        command
            .args(settings.iter().map(|setting| format!("--set={setting}")))
            .stdout(Stdio::null())
            .stderr(Stdio::from(fs::File::create(&log).unwrap()));
        let process = Guarded(command.spawn().unwrap());
        Self { process, log }
    }

    fn actor(stage: &Stage, name: &str, learner: &Place<'_>, reward: &Place<'_>, settings: &[&str]) -> Self {
        let [learner, reward] =
            [("learner", learner), ("reward", reward)].map(|(of, place)| format!("--{of}={}", place.url()));
        let arguments = [
            "actor",
            "--listen=127.0.0.1:0",
            "--metrics=127.0.0.1:0",
            "--store=store",
            "--deterministic",
            "--unfinished-status=75",
            &learner,
            &reward,
        ];
        Self::start(stage.directory.path(), name, &arguments, settings)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn until_it_says(&self, words: &str) {
        line_in(&self.log, words);
    }

    fn is_running(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// Its exit status.
    fn ended(&mut self) -> Option<i32> {
        self.process.0.wait().unwrap().code()
    }
}

/// What is said by who has found the end.
const FOUND: &str = "the run's end stands in its store";

/// Looks once more when this is over, and then gives up.
const IMPATIENT: &str = "actor.learner_timeout_s=2";

#[test]
fn who_comes_when_a_complete_run_has_no_learner_any_more_ends_or_idles_as_those_who_were_told() {
    let stage = Stage::with_models();
    let (directory, reward) = (stage.directory.path(), stage.reward_server());
    let mut learner = stage.learner_with("over", &["learner.versions=2".into()]);
    let mut told = stage.actor("told", &learner, &reward);
    assert!(learner.succeeded() && told.succeeded());

    let late = |name, settings: &[&str]| Late::actor(&stage, name, &learner, &reward, settings);
    let of_run = ["run.id=over", "learner.versions=2"];
    let mut exit = late("exit", &of_run);
    let mut idle = late("idle", &[&of_run[..], &["actor.on_run_end=idle"]].concat());
    // Of a run that shares the store, and of this one, once it is to be made longer.
    let mut other = late("other", &["run.id=other", "learner.versions=2", IMPATIENT]);
    let mut longer = late("longer", &["run.id=over", "learner.versions=3", IMPATIENT]);

    assert_eq!(exit.ended(), Some(0), "{}", exit.said());
    for words in [
        FOUND,
        "the run was over before this actor could take part",
        "complete=true",
    ] {
        assert!(exit.said().contains(words), "{words}: {}", exit.said());
    }
    assert_eq!(other.ended(), Some(1), "{}", other.said());
    assert!(!other.said().contains(FOUND), "{}", other.said());
    assert_eq!(longer.ended(), Some(1), "{}", longer.said());
    assert!(longer.said().contains("complete-1.json") && longer.said().contains("it is to go on"));

    idle.until_it_says("the run is complete: idle until stopped");
    let (page, runtime) = (watched_at(&idle.log), tokio::runtime::Runtime::new().unwrap());
    assert_eq!(runtime.block_on(health(&page, "")), "NotServing");
    assert_eq!(runtime.block_on(health(&page, "liveness")), "Serving");
    assert_eq!(number(&page_of(&page), "learner_run_complete"), 1.0);
    signal(idle.process.0.id(), "TERM");
    assert_eq!(idle.ended(), Some(0), "{}", idle.said());

    let follow = [
        "evaluate",
        "--follow",
        "--model=policy",
        "--reward-model=reward-model",
    ];
    let url = format!("--learner={}", learner.url());
    let mut evaluator = Late::start(
        directory,
        "evaluator",
        &[&follow[..], &[&url]].concat(),
        &[&of_run[..], &["store.url=store"]].concat(),
    );
    assert_eq!(evaluator.ended(), Some(0), "{}", evaluator.said());
    assert!(
        evaluator.said().contains("before this evaluator"),
        "{}",
        evaluator.said()
    );

    let record = directory.join("store/runs/over/end/complete-1.json");
    let whole = fs::read(&record).unwrap();
    fs::write(&record, &whole[..whole.len() / 2]).unwrap();
    let mut misled = late("misled", &[&of_run[..], &[IMPATIENT]].concat());
    assert_eq!(misled.ended(), Some(1), "{}", misled.said());
    assert!(
        misled
            .said()
            .contains("runs/over/end/complete-1.json in file:///"),
        "{}",
        misled.said()
    );
}

#[test]
fn a_learner_that_dies_over_its_runs_end_has_ended_it_and_a_run_that_goes_on_is_not_stopped_by_its_old_end() {
    let stage = Stage::with_models();
    let reward = stage.reward_server();
    let settings = |versions| {
        let versions = format!("learner.versions={versions}");
        [versions, "learner.optimizer.schedule=constant".into()]
    };
    let dies = [(failpoint::VARIABLE, "learner.end.recorded:1")];
    let mut learner = stage.learner_in("longer", &settings(2), &dies);
    let mut actor = stage.actor("joined", &learner, &reward);
    wait_until("it does not die", || learner.has_ended());
    assert!(actor.succeeded(), "{}", fs::read_to_string(actor.log()).unwrap());
    actor.line_with(FOUND);
    let adapter = stage.directory.path().join("adapter-longer/adapter_config.json");
    assert!(!adapter.exists());
    learner.environment.clear();
    learner.restart();
    assert!(learner.succeeded() && adapter.exists());

    // Taken up, and killed.
    let mut learner = stage.learner_in("longer", &settings(3), &[]);
    learner.role = None;
    // It would take the old end for the run's, were that still there.
    let mut late = Late::actor(
        &stage,
        "late",
        &learner,
        &reward,
        &["run.id=longer", "learner.versions=2"],
    );
    late.until_it_says("waiting: the peer does not serve");
    // Longer than it takes to look twice.
    std::thread::sleep(Duration::from_secs(4));
    assert!(
        late.is_running() && !late.said().contains(FOUND),
        "{}",
        late.said()
    );
    learner.restart();
    assert!(learner.succeeded());
    assert_eq!(late.ended(), Some(0), "{}", late.said());
    let list = ["checkpoint", "list", "--store=store", "--run=longer", "--json"];
    let list = done(&configured(stage.directory.path(), &list).output().unwrap());
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let newest = list["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(newest["version"]["number"], 3, "{list}");
}
