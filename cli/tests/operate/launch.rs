//! `launch`: an overlay that is written, and what is refused before.

use crate::program::{adwright, text};
use std::path::Path;
use std::process::Command;

/// Manifests of one role that mounts the configuration, as k8s/ has them.
fn manifests(root: &Path) {
    let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: adwright\n";
    let role = "apiVersion: v1\nkind: Pod\nmetadata: {name: adwright-actor}\nspec:\n  containers: [{name: actor, image: adwright}]\n  volumes: [{name: config, configMap: {name: adwright-config}}]\n";
    let generator = "configMapGenerator:\n  - name: adwright-config\n    files: [config.toml]\n";
    let files = [
        (
            "k8s/base/kustomization.yaml",
            format!("{head}resources: [role.yaml]\n{generator}"),
        ),
        ("k8s/base/role.yaml", role.to_owned()),
        (
            "k8s/base/config.toml",
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

#[test]
fn a_dry_run_prints_what_kubectl_makes_of_the_written_overlay() {
    let place = tempfile::tempdir().unwrap();
    manifests(place.path());
    let asked = [
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
    let written = adwright(place.path(), &asked);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert!(text(&written.stdout).contains("kubectl apply -k adwright-launch"));
    let config = std::fs::read_to_string(place.path().join("adwright-launch/config.toml")).unwrap();
    assert!(
        config.contains("versions = 9") && config.contains("id = \"demo\""),
        "{config}"
    );

    let without = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args([&asked[..], &["--dry-run"]].concat())
        .current_dir(place.path())
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("needs kubectl"));

    let Some(objects) = rendered(&place.path().join("adwright-launch")) else {
        return;
    };
    let dry = adwright(place.path(), &[&asked[..], &["--dry-run"]].concat());
    assert_eq!(text(&dry.stdout), objects);
    for part in ["versions = 9", "namespace: ads", "image: r.example/adwright:2"] {
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

/// What `kubectl` makes of a directory. Where there is none that is said, but for `K8S=required`, with which `.ci/run` starts the tests.
fn rendered(overlay: &Path) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "whether a test may be passed over is no setting of a run"
    )]
    let required = std::env::var_os("K8S").is_some_and(|value| value == "required");
    let Ok(rendered) = Command::new("kubectl").arg("kustomize").arg(overlay).output() else {
        assert!(!required, "K8S=required, and there is no kubectl");
        eprintln!("the rest is passed over: there is no kubectl on this machine");
        return None;
    };
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    Some(text(&rendered.stdout))
}

#[test]
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
        let Some(objects) = rendered(&place.path().join(name)) else {
            return;
        };
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

#[test]
fn a_run_of_another_name_has_places_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let (manifests, _) = checkout();
    let launched = |sets: &[&str]| {
        let line = ["launch", "--manifests", &manifests, "--overlay", "gpu"];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let done = adwright(place.path(), &line.into_iter().chain(sets).collect::<Vec<_>>());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        let config = std::fs::read_to_string(place.path().join("adwright-launch/config.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let at = |table: &str, key: &str| config[table][key].as_str().unwrap().to_owned();
        (at("store", "url"), at("paths", "adapter"), text(&done.stderr))
    };
    let (store, adapter, said) = launched(&["run.id=spring"]);
    assert_eq!(store, "s3://adwright/runs/spring");
    assert_eq!(adapter, "s3://adwright/runs/spring/adapter");
    assert!(
        said.contains("/runs/demo becomes /runs/spring in store.url and paths.adapter"),
        "{said}"
    );

    let (store, adapter, said) = launched(&["run.id=spring", "store.url=s3://ours/x"]);
    assert_eq!(store, "s3://ours/x");
    assert_eq!(adapter, "s3://adwright/runs/spring/adapter");
    assert!(said.contains("in paths.adapter"), "{said}");

    let (store, adapter, said) = launched(&["run.seed=7"]);
    assert_eq!(store, "s3://adwright/runs/demo");
    assert_eq!(adapter, "s3://adwright/runs/demo/adapter");
    assert!(said.is_empty(), "{said}");
}
