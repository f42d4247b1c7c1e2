//! `launch`: an overlay that is written, and what is refused before.

use crate::program::{adwright, text};
use std::path::Path;
use std::process::Command;

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

#[test]
fn a_mistake_is_told_before_an_overlay_is_written() {
    let place = tempfile::tempdir().unwrap();
    manifests(place.path());
    for (line, part) in [
        (
            &["--overlay", "small", "--set", "learner.versoins=9"][..],
            "learner.versions",
        ),
        (&["--overlay", "large"], "small"),
        (&["--overlay", "small", "--image", "a b"], "--image"),
        (&["--overlay", "small", "--namespace", "Ads"], "--namespace"),
        (&["--overlay", "small", "--manifests", "elsewhere"], "--manifests"),
    ] {
        let refused = adwright(place.path(), &[&["launch"], line].concat());
        assert_eq!(refused.status.code(), Some(64), "{line:?}");
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
        assert!(!place.path().join("adwright-launch").exists());
    }
}

/// An overlay of the small manifests, as it is asked for.
const ASKED: [&str; 9] = [
    "launch",
    "--overlay",
    "small",
    "--set",
    "learner.versions=9",
    "--namespace",
    "ads",
    "--image",
    "r.example/adwright:2",
];

/// The overlay, written; answers where its manifests are.
fn written() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    manifests(place.path());
    let written = adwright(place.path(), &ASKED);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
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
        .args([&ASKED[..], &["--dry-run"]].concat())
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
    let dry = adwright(place.path(), &[&ASKED[..], &["--dry-run"]].concat());
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
        let asked = [
            "launch",
            "--manifests",
            &manifests,
            "--overlay",
            name,
            "--out",
            name,
            "--set",
            "run.id=spring",
            "--set",
            "actor.drain_timeout_s=600",
            "--set",
            "learner.scaling.max_actors=64",
            "--namespace",
            "ads",
        ];
        let written = adwright(place.path(), &asked);
        assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
        let objects = rendered(&place.path().join(name));
        let dry = adwright(place.path(), &[&asked[..], &["--dry-run"]].concat());
        assert_eq!(dry.status.code(), Some(0), "{}", text(&dry.stderr));
        assert!(text(&dry.stdout) == objects, "{name}: the dry run differs");
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
        let launched = |sets: &[&str]| {
            let line = [
                "launch",
                "--manifests",
                &manifests,
                "--overlay",
                name,
                "--out",
                name,
            ];
            let sets = sets.iter().flat_map(|set| ["--set", set]);
            adwright(place.path(), &line.into_iter().chain(sets).collect::<Vec<_>>())
        };
        let ends = launched(&["actor.on_run_end=exit", "reward_server.on_run_end=exit"]);
        let moved = launched(&["endpoints.actor_listen=0.0.0.0:7999"]);
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

fn launched(manifests: &Path, words: &[&str]) {
    let done = adwright(manifests, &[&["launch"], words].concat());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
}

/// An overlay upon one that was launched; answers with how the second is asked for.
fn launched_twice(place: &Path) -> [&'static str; 4] {
    manifests(place);
    let first = ["--overlay", "small", "--out", "k8s/overlays/first"];
    launched(place, &[&first[..], &["--set", "learner.versions=9"]].concat());
    let second = ["--overlay", "first", "--out", "second"];
    launched(place, &[&second[..], &["--set", "run.seed=7"]].concat());
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
    launched(place.path(), &second);
    assert!(!written("second/kustomization.yaml").contains("configMapGenerator"));
    assert!(!place.path().join("second/30-launch.toml").exists());
}

#[test]
fn a_run_of_another_name_has_places_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, _) = checkout();
    let launched = |sets: &[&str]| {
        let line = ["launch", "--manifests", &manifests, "--overlay", "gpu"];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let done = adwright(place.path(), &line.into_iter().chain(sets).collect::<Vec<_>>());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        let config = std::fs::read_to_string(place.path().join("adwright-launch/30-launch.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let at = |table: &str, key: &str| Some(config.get(table)?[key].as_str().unwrap().to_owned());
        (at("store", "url"), at("paths", "adapter"), text(&done.stderr))
    };
    let some = |place: &str| Some(place.to_owned());
    let (store, adapter, said) = launched(&["run.id=spring"]);
    assert_eq!(store, some("s3://adwright/runs/spring"));
    assert_eq!(adapter, some("s3://adwright/runs/spring/adapter"));
    assert!(
        said.contains("/runs/demo becomes /runs/spring in store.url and paths.adapter"),
        "{said}"
    );

    let (store, adapter, said) = launched(&["run.id=spring", "store.url=s3://ours/x"]);
    assert_eq!(store, some("s3://ours/x"));
    assert_eq!(adapter, some("s3://adwright/runs/spring/adapter"));
    assert!(said.contains("in paths.adapter"), "{said}");

    let (store, adapter, said) = launched(&["run.seed=7"]);
    // Where the files below have them.
    assert_eq!((store, adapter), (None, None));
    assert!(said.is_empty(), "{said}");
}
