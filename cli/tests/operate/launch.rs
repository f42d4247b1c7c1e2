//! `launch`: an overlay that is written, and what is refused before.

use crate::program::{adwright, text};
use std::path::Path;
use std::process::{Command, Output};

/// Manifests of one role that mounts the configuration, as k8s/ has them.
fn manifests(root: &Path) {
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: adwright\n";
    let role = "apiVersion: v1\nkind: Pod\nmetadata: {name: adwright-actor}\nspec:\n  containers: [{name: actor, image: adwright}]\n  volumes: [{name: config, configMap: {name: adwright-config}}]\n";
    let generator = "configMapGenerator:\n  - name: adwright-config\n    files: [10-base.toml]\n";
    let files = [
        (
            "k8s/base/kustomization.yaml",
            format!("{head}resources: [role.yaml]\n{generator}"),
        ),
        ("k8s/base/role.yaml", role.to_owned()),
        (
            "k8s/base/10-base.toml",
            "[run]\nid = \"demo\"\n[learner]\nversions = 3\n".to_owned(),
        ),
        (
            "k8s/overlays/small/kustomization.yaml",
            format!("{head}resources: [../../base]\n"),
        ),
    ];
    for (name, text) in files {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), text).unwrap();
    }
}

/// `launch`, with these flags, and these settings of the run.
fn launch(place: &Path, words: &[&str], sets: &[&str]) -> Output {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let line = ["launch"].into_iter().chain(words.iter().copied()).chain(sets);
    adwright(place, &line.collect::<Vec<_>>())
}

/// The same, and it has done what it was asked for.
#[track_caller]
fn launched(place: &Path, words: &[&str], sets: &[&str]) -> Output {
    let done = launch(place, words, sets);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    done
}

#[test]
fn a_mistake_is_told_before_an_overlay_is_written() {
    let place = tempfile::tempdir().unwrap();
    manifests(place.path());
    let small = |flag, value| vec!["--overlay", "small", flag, value];
    for (words, part) in [
        (small("--set", "learner.versoins=9"), "learner.versions"),
        (vec!["--overlay", "large"], "small"),
        (small("--image", "a b"), "--image"),
        (small("--namespace", "Ads"), "--namespace"),
        (small("--manifests", "elsewhere"), "--manifests"),
    ] {
        let refused = launch(place.path(), &words, &[]);
        assert_eq!(refused.status.code(), Some(64), "{words:?}");
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
        assert!(!place.path().join("adwright-launch").exists());
    }
}

/// An overlay of the small manifests, as it is asked for.
const ASKED: [&str; 6] = [
    "--overlay",
    "small",
    "--namespace",
    "ads",
    "--image",
    "r.example/adwright:2",
];
const SET: [&str; 1] = ["learner.versions=9"];

/// The overlay, written; answers where its manifests are.
fn written() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    manifests(place.path());
    let written = launched(place.path(), &ASKED, &SET);
    assert!(text(&written.stdout).contains("kubectl apply -k adwright-launch"));
    place
}

#[test]
fn an_overlay_holds_what_is_set_and_a_dry_run_says_what_it_needs() {
    let place = written();
    let config = std::fs::read_to_string(place.path().join("adwright-launch/20-launch.toml")).unwrap();
    assert!(
        config.contains("versions = 9") && !config.contains("id = \"demo\""),
        "{config}"
    );
    let without = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .arg("launch")
        .args(ASKED)
        .arg("--dry-run")
        .current_dir(place.path())
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("needs kubectl"));
}

#[test]
#[ignore = "needs kubectl; .ci/run runs it"]
fn a_dry_run_prints_what_kubectl_makes_of_the_written_overlay() {
    let place = written();
    let objects = rendered(&place.path().join("adwright-launch"));
    let dry = launched(place.path(), &[&ASKED[..], &["--dry-run"]].concat(), &SET);
    assert_eq!(text(&dry.stdout), objects);
    for part in [
        "versions = 9",
        "id = \"demo\"",
        "10-base.toml: |",
        "20-launch.toml: |",
        "namespace: ads",
        "image: r.example/adwright:2",
    ] {
        assert!(objects.contains(part), "{part} is not in\n{objects}");
    }
}

/// The manifests of the checkout, and the names of their overlays.
fn checkout() -> (String, Vec<String>) {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s");
    let overlays = std::fs::read_dir(manifests.join("overlays")).unwrap();
    let mut names: Vec<String> = overlays
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    (manifests.to_str().unwrap().to_owned(), names)
}

/// What `kubectl` makes of a directory.
fn rendered(overlay: &Path) -> String {
    let rendered = Command::new("kubectl").arg("kustomize").arg(overlay).output();
    let rendered = rendered.expect("this test needs kubectl, and there is none on this machine");
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    text(&rendered.stdout)
}

#[test]
#[ignore = "needs kubectl; .ci/run runs it"]
fn a_dry_run_of_every_overlay_is_what_kubectl_makes_of_it_byte_for_byte() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, overlays) = checkout();
    for name in &overlays {
        let words = [
            "--manifests",
            &manifests,
            "--overlay",
            name,
            "--out",
            name,
            "--namespace",
            "ads",
        ];
        let sets = [
            "run.id=spring",
            "actor.drain_timeout_s=600",
            "learner.scaling.max_actors=64",
            "telemetry.otlp=http://collector.observability:4317",
        ];
        launched(place.path(), &words, &sets);
        let objects = rendered(&place.path().join(name));
        let dry = launched(place.path(), &[&words[..], &["--dry-run"]].concat(), &sets);
        assert!(text(&dry.stdout) == objects, "{name}: the dry run differs");
        assert!(
            objects.contains("-launch-collector\n  namespace: ads\n"),
            "{name}"
        );
        // The actors' pods, wherever they are described.
        assert!(objects.contains("terminationGracePeriodSeconds: 610\n"), "{name}");
        let most = ["maxReplicas: 64\n", "maxReplicaCount: 64\n"].map(|most| objects.matches(most).count());
        let most: usize = most.iter().sum();
        assert_eq!(most, usize::from(name.starts_with("elastic")), "{name}");
    }
}

#[test]
fn what_the_manifests_cannot_follow_is_refused_with_every_key() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, overlays) = checkout();
    for name in &overlays {
        let words = ["--manifests", &manifests, "--overlay", name, "--out", name];
        let ends = ["actor.on_run_end=exit", "reward_server.on_run_end=exit"];
        let ends = launch(place.path(), &words, &ends);
        let moved = launch(place.path(), &words, &["endpoints.actor_listen=0.0.0.0:7999"]);
        let (ends_said, moved_said) = (text(&ends.stderr), text(&moved.stderr));
        assert_eq!(moved.status.code(), Some(64), "{name}: {moved_said}");
        assert!(
            moved_said.contains("endpoints.actor_listen = 0.0.0.0:7999: expected 0.0.0.0:7402"),
            "{moved_said}"
        );
        if name == "jobset" {
            assert_eq!(ends.status.code(), Some(0), "{ends_said}");
            continue;
        }
        assert_eq!(ends.status.code(), Some(64), "{name}: {ends_said}");
        for key in ["actor.on_run_end", "reward_server.on_run_end"] {
            let expected = format!("{key} = exit: expected idle");
            assert!(ends_said.contains(&expected), "{name}: {ends_said}");
        }
        assert!(!place.path().join(name).exists(), "{name} is written");
    }
}

/// An overlay upon one that was launched; answers with how the second is asked for.
fn launched_twice(place: &Path) -> [&'static str; 4] {
    manifests(place);
    let first = ["--overlay", "small", "--out", "k8s/overlays/first"];
    launched(place, &first, &["learner.versions=9"]);
    let second = ["--overlay", "first", "--out", "second"];
    launched(place, &second, &["run.seed=7"]);
    second
}

#[test]
#[ignore = "needs kubectl; .ci/run runs it"]
fn kubectl_finds_the_files_of_every_overlay_that_was_launched_upon() {
    let place = tempfile::tempdir().unwrap();
    launched_twice(place.path());
    let objects = rendered(&place.path().join("second"));
    for part in ["10-base.toml: |", "20-launch.toml: |", "30-launch.toml: |"] {
        assert!(objects.contains(part), "{part} is not in\n{objects}");
    }
}

#[test]
fn an_overlay_that_was_launched_is_launched_upon_and_nothing_set_adds_no_file() {
    let place = tempfile::tempdir().unwrap();
    let second = launched_twice(place.path());
    let written = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(written("k8s/overlays/first/20-launch.toml").contains("versions = 9"));
    let config = written("second/30-launch.toml");
    assert!(
        config.contains("seed = 7") && !config.contains("versions"),
        "{config}"
    );
    launched(place.path(), &second, &[]);
    assert!(!written("second/kustomization.yaml").contains("configMapGenerator"));
    assert!(!place.path().join("second/30-launch.toml").exists());
}

#[test]
fn pods_are_let_out_to_a_service_that_is_set_or_it_is_told_as_shut_out() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, _) = checkout();
    let file = place.path().join("adwright-launch/network-policy.yaml");
    let said = |set: &str| {
        let words = ["--manifests", &manifests, "--overlay", "gpu"];
        text(&launched(place.path(), &words, &[set]).stderr)
    };
    let told = said("telemetry.otlp=http://collector.observability:4317");
    assert!(
        told.contains("network-policy.yaml lets pods out to namespace observability, of which it is taken for a Service, at port 4317"),
        "{told}"
    );
    let policy = std::fs::read_to_string(&file).unwrap();
    assert!(policy.contains("port: 4317"), "{policy}");
    let told = said("telemetry.otlp=http://collector:4317");
    for part in [
        "telemetry.otlp = http://collector:4317",
        "at port 4317",
        "docs/operations.md",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!file.exists(), "what was needed for another address is left");
    assert!(said("run.seed=7").is_empty());
}

#[test]
fn a_run_of_another_name_has_places_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, _) = checkout();
    let of_gpu = |sets: &[&str]| {
        let done = launched(
            place.path(),
            &["--manifests", &manifests, "--overlay", "gpu"],
            sets,
        );
        let config = std::fs::read_to_string(place.path().join("adwright-launch/30-launch.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let at = |table: &str, key: &str| Some(config.get(table)?[key].as_str().unwrap().to_owned());
        (at("store", "url"), at("paths", "adapter"), text(&done.stderr))
    };
    let some = |place: &str| Some(place.to_owned());
    let (store, adapter, said) = of_gpu(&["run.id=spring"]);
    assert_eq!(store, some("s3://adwright/runs/spring"));
    assert_eq!(adapter, some("s3://adwright/runs/spring/adapter"));
    assert!(
        said.contains("/runs/demo becomes /runs/spring in store.url and paths.adapter"),
        "{said}"
    );

    let (store, adapter, said) = of_gpu(&["run.id=spring", "store.url=s3://ours/x"]);
    assert_eq!(store, some("s3://ours/x"));
    assert_eq!(adapter, some("s3://adwright/runs/spring/adapter"));
    assert!(said.contains("in paths.adapter"), "{said}");

    let (store, adapter, said) = of_gpu(&["run.seed=7"]);
    // Where the files below have them.
    assert_eq!((store, adapter), (None, None));
    assert!(said.is_empty(), "{said}");
}
