//! The places where a process can be made to die are in builds for tests and in no other.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use failpoint::Point;
use std::path::Path;
use std::process::Command;

/// The features of `failpoint` in what cargo would build of this crate, following dependencies of these kinds.
fn features(kinds: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "cli",
            "--prefix",
            "none",
        ])
        .args(["--edges", kinds, "--format", "{p} features:{f}"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let of_failpoint = tree.lines().filter(|line| line.starts_with("failpoint v"));
    let features = of_failpoint.filter_map(|line| line.split_once("features:"));
    features
        .map(|(_, features)| features.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn only_builds_for_tests_have_the_feature() {
    let of_use = features("normal,build");
    assert!(
        !of_use.is_empty() && of_use.iter().all(String::is_empty),
        "{of_use:?}"
    );
    let of_tests = features("normal,build,dev");
    assert!(
        of_tests.iter().any(|features| features == "failpoints"),
        "{of_tests:?}"
    );
}

/// So that the feature is what puts them there.
#[test]
fn the_names_can_be_found_in_a_program_that_has_them() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_adwright")).unwrap();
    let holds = |text: &str| program.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds(failpoint::VARIABLE));
    for point in [Point::ALL[0], Point::ALL[Point::ALL.len() - 1]] {
        assert!(holds(point.name()), "{}", point.name());
    }
}

#[test]
fn a_process_that_is_to_die_at_no_known_point_says_which_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(["config", "print"])
        .env(failpoint::VARIABLE, "learner.asleep:1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        said.contains("learner.asleep") && said.contains("learner.submit.durable"),
        "{said}"
    );
}
