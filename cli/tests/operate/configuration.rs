//! `config`: checked, and described.

use crate::program::{adwright, text};
use serde_json::Value;

#[test]
fn a_configuration_is_right_in_one_line_or_wrong_with_every_key_and_64() {
    let place = tempfile::tempdir().unwrap();
    let right = adwright(place.path(), &["config", "check", "--set", "run.id=night"]);
    assert_eq!(right.status.code(), Some(0));
    let said = text(&right.stdout);
    assert!(said.lines().count() == 1 && said.contains("run night"), "{said}");

    std::fs::write(
        place.path().join("a.toml"),
        "[run]\nsede = 1\n[actor]\ngroup_size = 1\n",
    )
    .unwrap();
    let wrong = adwright(
        place.path(),
        &[
            "config",
            "check",
            "--config",
            "a.toml",
            "--set",
            "compute.threads=0",
        ],
    );
    assert_eq!(wrong.status.code(), Some(64));
    let said = text(&wrong.stderr);
    for key in ["run.sede", "actor.group_size", "compute.threads"] {
        assert!(said.contains(key), "{key} is not in {said}");
    }
    assert!(wrong.stdout.is_empty());
}

#[test]
fn several_files_and_directories_are_one_configuration_and_say_who_set_what() {
    let place = tempfile::tempdir().unwrap();
    let pod = place.path().join("pod");
    std::fs::create_dir(&pod).unwrap();
    for (name, text) in [
        ("pod/20-own.toml", "[run]\nid = \"own\"\n"),
        ("pod/10-base.toml", "[run]\nid = \"base\"\nseed = 4\n"),
        ("last.toml", "[run]\nseed = 5\n"),
    ] {
        std::fs::write(place.path().join(name), text).unwrap();
    }
    let list = ["--config", "pod", "--config", "last.toml"];
    let told = |words: &[&str]| adwright(place.path(), &[&["config"], words, &list[..]].concat());
    let checked = text(&told(&["check"]).stdout);
    assert!(
        checked.starts_with("pod, last.toml: ") && checked.contains("run own"),
        "{checked}"
    );
    let printed = text(&told(&["print"]).stdout);
    assert!(
        printed.contains("id = \"own\"") && printed.contains("seed = 5"),
        "{printed}"
    );
    let origins = text(&told(&["print", "--origins"]).stdout);
    assert_eq!(
        origins,
        "run.id = \"own\" # pod/20-own.toml\nrun.seed = 5 # last.toml\n"
    );

    std::fs::write(pod.join("15-wrong.toml"), "[actor]\ngroup_sise = 2\n").unwrap();
    let wrong = told(&["check"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(
        text(&wrong.stderr).contains("pod/15-wrong.toml: actor.group_sise"),
        "{}",
        text(&wrong.stderr)
    );
}

#[test]
fn a_role_is_checked_against_what_it_reads_at_its_start() {
    let place = tempfile::tempdir().unwrap();
    let actor = adwright(place.path(), &["config", "check", "--role", "actor"]);
    assert_eq!(actor.status.code(), Some(0), "{}", text(&actor.stderr));
    assert!(
        text(&actor.stdout).contains("for an actor"),
        "{}",
        text(&actor.stdout)
    );
    let models = ["paths.policy", "paths.reward_model"];
    for (role, read) in [
        ("learner", &models[..1]),
        ("reward-server", &models[1..]),
        ("evaluator", &models[..]),
    ] {
        let checked = adwright(place.path(), &["config", "check", "--role", role]);
        assert_eq!(checked.status.code(), Some(64));
        let said = text(&checked.stderr);
        for key in models {
            assert_eq!(said.contains(key), read.contains(&key), "{role}: {said}");
        }
    }
}

#[test]
fn the_schema_is_json_and_its_page_is_the_committed_one() {
    let place = tempfile::tempdir().unwrap();
    let schema: Value =
        serde_json::from_slice(&adwright(place.path(), &["config", "schema"]).stdout).unwrap();
    assert_eq!(
        schema["properties"]["actor"]["properties"]["group_size"]["maximum"],
        64
    );
    let page = text(&adwright(place.path(), &["config", "schema", "--markdown"]).stdout);
    assert_eq!(page, include_str!("../../../docs/configuration.md"));
}
