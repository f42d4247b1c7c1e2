//! What k8s/ starts, read as this program reads it: the command line of every container of every overlay by `clap`, and the
//! configuration files that its pod mounts with what the command line sets. Nothing is started; k8s/policy does that.

use super::{layers, role_layers};
use crate::args::{Cli, Command};
use crate::config::{Config, ConfigError};
use clap::Parser as _;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Where pods find the run's configuration.
const CONFIG: &str = "/etc/adwright";

/// The rendered objects of each overlay by its name.
fn overlays() -> Vec<(String, Vec<Value>)> {
    let k8s = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/overlays");
    let mut overlays: Vec<PathBuf> = fs::read_dir(k8s)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    overlays.sort();
    let named = |overlay: PathBuf| {
        let objects = serde_saphyr::from_multiple(&rendered(&overlay)).unwrap();
        let name = overlay.file_name().unwrap();
        (name.to_string_lossy().into_owned(), objects)
    };
    overlays.into_iter().map(named).collect()
}

/// What kubectl makes of an overlay.
pub(super) fn rendered(overlay: &Path) -> String {
    let rendered = process::Command::new("kubectl")
        .arg("kustomize")
        .arg(overlay)
        .output();
    let rendered = rendered.expect("this test needs kubectl, and there is none on this machine");
    let told = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{}: {told}", overlay.display());
    String::from_utf8(rendered.stdout).unwrap()
}

/// A container of ours.
struct Started<'a> {
    /// Where it is, for people.
    place: String,
    pod: &'a Value,
    container: &'a Value,
}

/// Every container of ours at any depth.
fn started<'a>(at: &str, value: &'a Value, found: &mut Vec<Started<'a>>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let list = inner
                    .as_array()
                    .filter(|_| matches!(key.as_str(), "containers" | "initContainers"));
                for container in list.into_iter().flatten() {
                    let ours = container["image"]
                        .as_str()
                        .is_some_and(|image| image.starts_with("adwright:"));
                    found.extend(ours.then(|| Started {
                        place: format!("{at} {}", container["name"]),
                        pod: value,
                        container,
                    }));
                }
                started(at, inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| started(at, item, found)),
        _ => {}
    }
}

/// The one of a list whose field has a value.
fn the<'a>(list: &'a Value, field: &str, value: &Value) -> &'a Value {
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| &one[field] == value);
    found.unwrap_or_else(|| panic!("no {field} {value} in {list}"))
}

impl Started<'_> {
    /// The configuration files that a kubelet would put where it looks for them, by name.
    fn files<'a>(&self, objects: &'a [Value]) -> Vec<(&'a String, &'a Value)> {
        let mount = the(&self.container["volumeMounts"], "mountPath", &CONFIG.into());
        let volume = the(&self.pod["volumes"], "name", &mount["name"]);
        let sources = volume["projected"]["sources"].as_array().unwrap();
        let maps = sources
            .iter()
            .map(|source| &source["configMap"])
            .filter(|map| !map.is_null());
        let data = maps.flat_map(|map| {
            assert!(
                map["items"].is_null(),
                "{}: files of the ConfigMap are left out",
                self.place
            );
            let named = objects
                .iter()
                .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == map["name"]);
            let named = named.unwrap_or_else(|| panic!("{}: no ConfigMap {}", self.place, map["name"]));
            named["data"].as_object().unwrap()
        });
        data.collect()
    }

    /// Its arguments, with the configuration where this test has put it.
    fn arguments(&self, config: &Path) -> Vec<String> {
        let arguments = self.container["args"].as_array().unwrap().iter();
        let here = |word: &str| match word {
            CONFIG => config.display().to_string(),
            _ => word.to_owned(),
        };
        arguments
            .map(|argument| here(argument.as_str().expect("arguments are text")))
            .collect()
    }
}

/// What a process with these arguments would be configured with.
fn configured(arguments: &[String]) -> Result<Config, ConfigError> {
    let words = std::iter::once("adwright".to_owned()).chain(arguments.iter().cloned());
    let command = Cli::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
        .command;
    let (layers, config) = match &command {
        Command::Learner(args) => (
            role_layers(&args.role, "endpoints.learner_listen"),
            &args.role.config,
        ),
        Command::Actor(args) => (
            role_layers(&args.role, "endpoints.actor_listen"),
            &args.role.config,
        ),
        Command::RewardServer(args) => (
            role_layers(&args.role, "endpoints.reward_listen"),
            &args.role.config,
        ),
        Command::Pretrain(args) => (
            layers(&args.train.config, &args.train.compute),
            &args.train.config,
        ),
        Command::TrainReward(args) => (
            layers(&args.train.config, &args.train.compute),
            &args.train.config,
        ),
        Command::Evaluate(args) => (layers(&args.config, &args.compute), &args.config),
        other => panic!("no pod runs this: {other:?}"),
    };
    // Where the overlay computes is not where this test does.
    let here = ["compute.device=cpu".to_owned(), "compute.dtype=f32".to_owned()];
    layers.sets(&config.sets).sets(&here).resolve()
}

#[test]
#[ignore = "needs kubectl; .ci/run runs it"]
fn what_every_container_is_started_with_is_taken_by_the_command_line_and_the_configuration() {
    let overlays = overlays();
    assert!(overlays.len() >= 5, "{}", overlays.len());
    for (name, objects) in &overlays {
        let mut found = Vec::new();
        objects
            .iter()
            .for_each(|object| started(name, object, &mut found));
        assert!(found.len() >= 3, "{name}: {} containers", found.len());
        for one in found {
            let place = &one.place;
            let mounted = tempfile::tempdir().unwrap();
            let files = one.files(objects);
            assert!(files.len() >= 2, "{place}: {} configuration files", files.len());
            for (file, text) in files {
                fs::write(mounted.path().join(file), text.as_str().unwrap()).unwrap();
            }
            let arguments = one.arguments(mounted.path());
            assert!(
                arguments.contains(&mounted.path().display().to_string()),
                "{place} is not told of {CONFIG}"
            );
            let config = configured(&arguments).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(config.run.id, "demo", "{place}");
            // Of the first file, and of the overlay's.
            assert_eq!(config.endpoints.actor_listen, "0.0.0.0:7402", "{place}");
            assert_eq!(config.telemetry.metrics_listen, "0.0.0.0:7409", "{place}");
            assert!(config.endpoints.learner.contains("adwright-learner"), "{place}");
            let ends = config.actor.on_run_end == actor::OnRunEnd::Exit;
            assert_eq!(ends, name == "jobset", "{place}");
        }
    }
}

#[test]
fn a_flag_or_a_key_that_does_not_exist_would_be_found() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let misspelt = configured(&words(&["actor", "--set", "actor.groop_size=2"])).unwrap_err();
    assert!(misspelt.to_string().contains("groop_size"), "{misspelt}");
    let flag = Cli::try_parse_from(["adwright", "actor", "--work-dirr", "/x"]);
    assert!(flag.is_err());
}
