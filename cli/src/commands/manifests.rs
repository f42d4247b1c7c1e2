//! What k8s/ starts, read as this program reads it: the command line of every container of every overlay by `clap`, and the
//! configuration that the overlay's ConfigMap holds with what the command line sets. Nothing is started; k8s/policy does that.

use super::{layers, role_layers};
use crate::args::{Cli, Command};
use crate::config::{Config, ConfigError};
use clap::Parser as _;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;

/// Where pods find the run's configuration.
const CONFIG: &str = "/etc/adwright/config.toml";

/// The rendered objects of each overlay by its name, where there is a kubectl.
fn overlays() -> Option<Vec<(String, Vec<Value>)>> {
    let k8s = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/overlays");
    let mut overlays: Vec<PathBuf> = fs::read_dir(k8s)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    overlays.sort();
    let named = |overlay: PathBuf| {
        let objects = serde_saphyr::from_multiple(&rendered(&overlay)?).unwrap();
        Some((
            overlay.file_name().unwrap().to_string_lossy().into_owned(),
            objects,
        ))
    };
    overlays.into_iter().map(named).collect()
}

/// What kubectl makes of an overlay. Where there is none that is said, but for `K8S=required`, with which `.ci/run` starts the tests.
pub(super) fn rendered(overlay: &Path) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "whether a test may be passed over is no setting of a run"
    )]
    let required = std::env::var_os("K8S").is_some_and(|value| value == "required");
    let rendered = process::Command::new("kubectl")
        .arg("kustomize")
        .arg(overlay)
        .output();
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(error) => {
            assert!(!required, "K8S=required, and there is no kubectl: {error}");
            writeln!(std::io::stderr(), "passed over, there is no kubectl: {error}").unwrap();
            return None;
        }
    };
    let told = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{}: {told}", overlay.display());
    Some(String::from_utf8(rendered.stdout).unwrap())
}

/// Every container of ours at any depth, with where it is.
fn containers<'a>(at: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let list = inner
                    .as_array()
                    .filter(|_| matches!(key.as_str(), "containers" | "initContainers"));
                for one in list.into_iter().flatten() {
                    let ours = one["image"]
                        .as_str()
                        .is_some_and(|image| image.starts_with("adwright:"));
                    found.extend(ours.then(|| (format!("{at} {}", one["name"]), one)));
                }
                containers(at, inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| containers(at, item, found)),
        _ => {}
    }
}

/// The configuration file that an overlay gives its pods.
fn config_of(objects: &[Value]) -> &str {
    let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    let texts: Vec<&str> = maps
        .filter_map(|map| map["data"]["config.toml"].as_str())
        .collect();
    assert_eq!(texts.len(), 1, "one configuration for all pods");
    texts[0]
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

/// The arguments of a container, with the configuration file where this test has put it.
fn arguments(container: &Value, config: &Path) -> Vec<String> {
    let arguments = container["args"].as_array().unwrap().iter();
    let here = |word: &str| {
        if word == CONFIG {
            config.display().to_string()
        } else {
            word.to_owned()
        }
    };
    arguments
        .map(|argument| here(argument.as_str().expect("arguments are text")))
        .collect()
}

#[test]
fn what_every_container_is_started_with_is_taken_by_the_command_line_and_the_configuration() {
    let Some(overlays) = overlays() else {
        return;
    };
    assert!(overlays.len() >= 5, "{}", overlays.len());
    let directory = tempfile::tempdir().unwrap();
    for (name, objects) in &overlays {
        let file = directory.path().join(format!("{name}.toml"));
        fs::write(&file, config_of(objects)).unwrap();
        let mut found = Vec::new();
        objects
            .iter()
            .for_each(|object| containers(name, object, &mut found));
        assert!(found.len() >= 3, "{name}: {} containers", found.len());
        for (place, container) in found {
            let arguments = arguments(container, &file);
            assert!(
                arguments.contains(&file.display().to_string()),
                "{place} is not told of {CONFIG}"
            );
            let config = configured(&arguments).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(config.run.id, "demo", "{place}");
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
