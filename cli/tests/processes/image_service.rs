//! The example image service of docs/image_service as a process, with stubs made from our definitions, and a run whose actor renders
//! with it: the service is killed in the middle and comes back.

use crate::held_out::reward_of_base;
use crate::program::{Guarded, wait_until};
use crate::python::Example;
use crate::stage::{Stage, configured, done};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXAMPLE: Example = Example {
    name: "image_service",
    variable: "IMAGE_SERVICE_PYTHON",
    modules: "grpc, grpc_health, grpc_tools, PIL",
    definitions: &["image"],
    root: "proto",
};

/// Side of the service's pictures, in pixels: none that the simulated shop renders.
const SIDE: u32 = 40;

/// The service.
struct Service {
    _process: Guarded,
    address: String,
}

impl Service {
    fn start(python: &str, stubs: &Path, listen: &str) -> Self {
        let child = Command::new(python)
            .arg(EXAMPLE.file("server.py"))
            .args(["--listen", listen, "--side", &SIDE.to_string()])
            .env("PYTHONPATH", stubs)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Guarded(child);
        let mut line = String::new();
        let stdout = process.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = address
            .unwrap_or_else(|| panic!("the service said {line:?}"))
            .to_owned();
        Self {
            _process: process,
            address,
        }
    }
}

fn images(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("store/runs/served/images"));
    files.map_or(vec![], |files| files.map(|file| file.unwrap().path()).collect())
}

#[test]
#[ignore = "needs a Python with the packages of docs/image_service/requirements.txt; .ci/run runs it"]
fn a_run_renders_with_the_example_service_and_outlasts_its_death() {
    let python = EXAMPLE.python();
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let stubs = EXAMPLE.stubs(&python, directory);
    let service = Service::start(&python, &stubs, "127.0.0.1:0");
    let rendering = ["actor.image_generator=remote".to_owned()];
    let (reward, mut learner) = (stage.reward_server(), stage.learner_with("served", &rendering));
    let endpoint = format!("endpoints.images=http://{}", service.address);
    let settings = [
        "actor.image_generator=remote",
        &endpoint,
        "actor.image_timeout_s=60",
    ];
    let actor = stage.actor_with("painter", &learner, &reward, &settings);
    wait_until("no image comes", || images(directory).len() > 4);
    let address = service.address.clone();
    drop(service);
    let waits = actor.line_with("no tasks are leased meanwhile");
    assert!(waits.contains(&address), "{waits}");
    assert!(!learner.has_ended());
    let _back = Service::start(&python, &stubs, &address);
    stage.adapter_of("served", learner);

    assert_ne!(
        reward_of_base(directory, &settings),
        reward_of_base(directory, &[])
    );

    let export = ["ledger", "export", "--store", "store", "--run", "served"];
    let lines = done(&configured(directory, &export).output().unwrap());
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let pairs = lines.iter().filter(|line| line["outcome"] == "pair").count();
    assert!(pairs > 0);
    for line in &lines {
        // Whatever failed while nobody rendered was tried again.
        assert_ne!(line["outcome"], "failed", "{line}");
        let parallel = ["image_digests", "images", "rewards", "barred"];
        let lengths = parallel.map(|key| line[key].as_array().unwrap().len());
        assert_eq!(lengths, [2; 4], "{line}");
    }
    for file in images(directory) {
        let picture = data::cutout::decode_rgb(&fs::read(&file).unwrap());
        assert_eq!(picture.unwrap().dimensions(), (SIDE, SIDE), "{}", file.display());
    }
}
