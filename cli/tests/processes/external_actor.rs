//! The example actor of docs/external_actor as a process, with stubs made from our definitions, today's and the
//! oldest: it is the only actor of a run, which ends, with or without telling it.

use crate::program::{Guarded, signal, wait_until};
use crate::python::Example;
use crate::stage::{LONG_LEASES, Place, Stage, configured, done};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXAMPLE: Example = Example {
    name: "external_actor",
    variable: "EXTERNAL_ACTOR_PYTHON",
    modules: "blake3, grpc, grpc_tools, PIL",
    definitions: &["learner", "reward"],
    root: "proto",
};

/// One of the oldest wire.
const OLDER: Example = Example {
    root: "proto/baseline/2026-11-28",
    ..EXAMPLE
};

/// What the example looks at that the oldest wire does not have.
const NEWER: &str = "lease.HasField(\"reward_model\") and scored.reward_model != lease.reward_model";

/// An actor in Python, and what it says.
struct Actor {
    process: Guarded,
    said: PathBuf,
    errors: PathBuf,
}

/// What its program needs beside a run: where its stubs are, and a Python.
struct Made {
    python: String,
    stubs: PathBuf,
    program: PathBuf,
}

impl Made {
    /// Of an actor whose program is `source`.
    fn of(example: &Example, source: &str, stage: &Stage) -> Self {
        let directory = stage.directory.path();
        let program = directory.join("actor.py");
        fs::write(&program, source).unwrap();
        let python = example.python();
        let stubs = example.stubs(&python, directory);
        Self {
            python,
            stubs,
            program,
        }
    }

    fn start(&self, name: &str, stage: &Stage, of: [&Place<'_>; 2], more: &[&str]) -> Actor {
        let directory = stage.directory.path();
        let [learner, reward] = of.map(|place| place.url().trim_start_matches("http://").to_owned());
        let [said, errors] = ["said", "errors"].map(|what| directory.join(format!("{name}.{what}")));
        let to = |path: &Path| fs::File::create(path).unwrap();
        let process = Command::new(&self.python)
            .arg(&self.program)
            .args(["--learner", &learner, "--reward", &reward])
            .args(["--store", "store", "--id", name])
            .args(more)
            .current_dir(directory)
            .env("PYTHONPATH", &self.stubs)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(to(&said))
            .stderr(to(&errors))
            .spawn()
            .unwrap();
        Actor {
            process: Guarded(process),
            said,
            errors,
        }
    }
}

impl Actor {
    /// What it has said and complained of, when it has ended, with this status.
    #[track_caller]
    fn ended(&mut self, status: i32) -> (String, String) {
        let ended = self.process.0.wait().unwrap();
        let [said, errors] = [&self.said, &self.errors].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(ended.code(), Some(status), "{said}{errors}");
        assert!(!errors.contains("Traceback"), "{errors}");
        (said, errors)
    }
}

#[test]
#[ignore = "needs a Python with the packages of docs/external_actor/requirements.txt; .ci/run runs it"]
fn a_run_is_trained_from_what_an_actor_in_python_submits() {
    let source = fs::read_to_string(EXAMPLE.file("actor.py")).unwrap();
    a_run_is_trained_from_what_it_submits(&EXAMPLE, &source);
}

#[test]
#[ignore = "needs a Python with the packages of docs/external_actor/requirements.txt; .ci/run runs it"]
fn a_run_is_trained_from_what_an_actor_of_the_oldest_wire_submits() {
    let source = fs::read_to_string(OLDER.file("actor.py")).unwrap();
    let older = source.replace(NEWER, "False");
    assert_ne!(older, source);
    a_run_is_trained_from_what_it_submits(&OLDER, &older);
}

fn a_run_is_trained_from_what_it_submits(example: &Example, source: &str) {
    let stage = Stage::with_models();
    let made = Made::of(example, source, &stage);
    let (reward, mut learner) = (
        stage.reward_server(),
        stage.learner_with("foreign", &[LONG_LEASES.into()]),
    );
    let mut actor = made.start("python", &stage, [&learner, &reward], &[]);
    wait_until("the run does not end", || learner.has_ended());
    assert!(learner.succeeded());
    let (said, errors) = actor.ended(0);
    assert!(!errors.contains("refused"), "{errors}");
    assert!(said.ends_with("done\n"), "{said}");

    let export = ["ledger", "export", "--store", "store", "--run", "foreign"];
    let lines = done(&configured(stage.directory.path(), &export).output().unwrap());
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let trained = lines.iter().filter(|line| line["trained_step"].is_u64()).count();
    assert!(trained > 0, "{lines:?}");
    for line in &lines {
        assert_ne!(line["outcome"], "failed", "{line}");
        let images = line["images"].as_array().unwrap();
        assert!(images.iter().all(|image| image == "present"), "{line}");
    }
}

#[test]
#[ignore = "needs a Python with the packages of docs/external_actor/requirements.txt; .ci/run runs it"]
fn an_actor_in_python_ends_with_a_run_whose_learner_has_not_told_it_and_gives_up_on_one_that_is_gone() {
    const FOUND: &str = "the run's end stands in its store: version 1.2";
    let stage = Stage::with_models();
    let source = fs::read_to_string(EXAMPLE.file("actor.py")).unwrap();
    let made = Made::of(&EXAMPLE, &source, &stage);
    let reward = stage.reward_server();
    // It dies when it has recorded the end and told nobody.
    let dies = [(failpoint::VARIABLE, "learner.end.recorded:1")];
    let mut learner = stage.learner_in("over", &["learner.versions=2".into()], &dies);
    let mut joined = made.start("joined", &stage, [&learner, &reward], &[]);
    wait_until("it does not die", || learner.has_ended());
    let (said, errors) = joined.ended(0);
    assert!(
        errors.contains(FOUND) && said.ends_with("done\n"),
        "{said}{errors}"
    );

    let late = |name, run, versions| {
        let expected = ["--run", run, "--versions", versions, "--patience", "2"];
        made.start(name, &stage, [&learner, &reward], &expected)
    };
    let mut told = late("late", "over", "2");
    let mut longer = late("longer", "over", "3");
    let mut other = late("other", "other", "2");
    let (_, errors) = told.ended(0);
    assert!(errors.contains(FOUND), "{errors}");
    let (_, errors) = longer.ended(1);
    assert!(
        errors.contains("this is not the end of the run: version 1.2"),
        "{errors}"
    );
    let (_, errors) = other.ended(1);
    let missed = format!(
        "gives up: the learner at {} gave no answer",
        learner.url().trim_start_matches("http://")
    );
    assert!(errors.contains(&missed) && !errors.contains(FOUND), "{errors}");
}

#[test]
#[ignore = "needs a Python with the packages of docs/external_actor/requirements.txt; .ci/run runs it"]
fn an_actor_in_python_that_is_stopped_hands_back_what_it_holds_and_is_not_waited_for() {
    let stage = Stage::with_models();
    let source = fs::read_to_string(EXAMPLE.file("actor.py")).unwrap();
    let made = Made::of(&EXAMPLE, &source, &stage);
    let reward = stage.reward_server();
    // Nothing that it keeps would come back before the test is over.
    let settings = [
        "learner.lease_ttl_ms=3600000".into(),
        "learner.linger_ms=3600000".into(),
    ];
    let mut learner = stage.learner_with("handed", &settings);
    let mut stopped = made.start("stopped", &stage, [&learner, &reward], &[]);
    let written = || fs::read_to_string(&stopped.said).unwrap().starts_with("joined");
    wait_until("it has joined", written);
    signal(stopped.process.0.id(), "TERM");
    let (said, errors) = stopped.ended(0);
    assert!(
        said.ends_with("done\n") && !errors.contains("not told"),
        "{errors}"
    );
    let mut stays = made.start("stays", &stage, [&learner, &reward], &[]);
    wait_until("the run does not end", || learner.has_ended());
    assert!(learner.succeeded());
    stays.ended(0);
}
