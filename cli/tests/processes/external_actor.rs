//! The example actor of docs/external_actor as a process, with stubs made from our definitions, today's and the
//! oldest: it is the only actor of a run, which ends.

use crate::program::{Guarded, wait_until};
use crate::python::Example;
use crate::stage::{Place, Stage, configured, done};
use serde_json::Value;
use std::fs;
use std::path::Path;
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

/// The command line of an actor whose program is `source`.
fn actor(
    (example, source): (&Example, &str),
    python: &str,
    stage: &Stage,
    learner: &Place<'_>,
    reward: &Place<'_>,
) -> Command {
    let program = stage.directory.path().join("actor.py");
    fs::write(&program, source).unwrap();
    let address = |place: &Place<'_>| place.url().trim_start_matches("http://").to_owned();
    let mut command = Command::new(python);
    command
        .arg(program)
        .args(["--learner", &address(learner), "--reward", &address(reward)])
        .args(["--store", "store", "--id", "python"])
        .current_dir(stage.directory.path())
        .env("PYTHONPATH", example.stubs(python, stage.directory.path()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
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
    let python = example.python();
    let stage = Stage::with_models();
    let (reward, mut learner) = (stage.reward_server(), stage.learner("foreign", &[]));
    let [said, errors] = ["said", "errors"].map(|name| stage.directory.path().join(name));
    let mut command = actor((example, source), &python, &stage, &learner, &reward);
    let to = |path: &Path| fs::File::create(path).unwrap();
    let mut actor = Guarded(command.stdout(to(&said)).stderr(to(&errors)).spawn().unwrap());
    wait_until("the run does not end", || learner.has_ended());
    assert!(learner.succeeded());
    let ended = actor.0.wait().unwrap();
    let [said, errors] = [said, errors].map(|path| fs::read_to_string(path).unwrap());
    assert!(ended.success() && !errors.contains("refused"), "{errors}");
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
