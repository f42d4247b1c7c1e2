use super::*;
use crate::config::Layers;
use std::path::{Path, PathBuf};

fn overlay(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../k8s/overlays")
        .join(name)
}

fn objects(name: &str) -> Objects {
    Objects::of(&overlay(name)).unwrap()
}

/// The configuration of an overlay with keys set.
fn config(name: &str, sets: &[&str]) -> Config {
    let files = crate::launch::Configured::of(&overlay(name)).unwrap().paths();
    let sets: Vec<String> = ["compute.device=cpu"]
        .iter()
        .chain(sets)
        .map(|&set| set.to_owned())
        .collect();
    Layers::default().files(&files).sets(&sets).resolve().unwrap()
}

fn refused(name: &str, sets: &[&str]) -> Vec<String> {
    let mistakes = unfit(&config(name, sets), &objects(name));
    mistakes.iter().map(ToString::to_string).collect()
}

fn patched(name: &str, sets: &[&str]) -> Vec<(String, String, u64)> {
    let patches = fitting(&config(name, sets), &objects(name));
    let all = patches.into_iter().flat_map(|patch| {
        let name = format!("{}/{}", patch.kind, patch.name);
        let said = |(_, path, value): (_, String, Value)| (name.clone(), path, value.as_u64().unwrap());
        patch.operations.into_iter().map(said).collect::<Vec<_>>()
    });
    all.collect()
}

const ALL: [&str; 5] = ["local", "gpu", "elastic", "elastic-keda", "jobset"];

#[test]
fn what_the_manifests_have_fits_their_own_configurations() {
    for name in ALL {
        assert!(refused(name, &[]).is_empty(), "{name}: {:?}", refused(name, &[]));
        assert!(patched(name, &[]).is_empty(), "{name}: {:?}", patched(name, &[]));
    }
}

#[test]
fn a_role_ends_with_its_run_under_a_job_set_only() {
    let ends = ["actor.on_run_end=exit", "reward_server.on_run_end=exit"];
    for name in ALL {
        let told = refused(name, &ends).join("\n");
        let expected = if name == "jobset" { 0 } else { 2 };
        assert_eq!(told.lines().count(), expected, "{name}: {told}");
        for key in ["actor.on_run_end = exit", "reward_server.on_run_end = exit"] {
            assert_eq!(told.contains(key), expected > 0, "{name}: {told}");
        }
    }
}

#[test]
fn an_actor_of_a_job_set_ends_with_its_run() {
    for name in ALL {
        let told = refused(name, &["actor.on_run_end=idle"]).join("\n");
        let expected = "actor.on_run_end = idle: expected exit: JobSet adwright";
        assert_eq!(told.starts_with(expected), name == "jobset", "{name}: {told}");
    }
}

#[test]
fn roles_that_read_a_single_file_are_refused() {
    for name in ALL {
        check_read(&objects(name)).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::write(
        place.path().join("kustomization.yaml"),
        "resources: [actor.yaml]\n",
    )
    .unwrap();
    let role = "kind: Deployment\nmetadata: {name: adwright-actor}\nspec: {template: {spec: {containers: [{name: actor, args: [actor, --config, /etc/adwright/config.toml]}]}}}\n";
    std::fs::write(place.path().join("actor.yaml"), role).unwrap();
    let told = check_read(&Objects::of(place.path()).unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with(
            "Deployment adwright-actor: --config /etc/adwright/config.toml: expected the directory"
        ),
        "{told}"
    );
}

#[test]
fn a_deployment_keeps_no_model_of_a_complete_run() {
    for name in ALL {
        let told = refused(name, &["reward_server.on_run_end=serve"]).join("\n");
        let expected = "reward_server.on_run_end = serve: expected idle: Deployment adwright-reward-server";
        assert_eq!(told.starts_with(expected), name != "jobset", "{name}: {told}");
        assert_eq!(told.is_empty(), name == "jobset", "{name}: {told}");
    }
}

#[test]
fn a_port_that_the_manifests_name_does_not_move() {
    for (set, port) in [
        ("endpoints.learner_listen=0.0.0.0:7999", "0.0.0.0:7400"),
        ("endpoints.reward_listen=0.0.0.0:0", "0.0.0.0:7401"),
        ("endpoints.actor_listen=127.0.0.1:7402", "0.0.0.0:7402"),
        ("telemetry.metrics_listen=0.0.0.0:7999", "0.0.0.0:7409"),
        // The probes ask there.
        ("telemetry.metrics_listen=", "0.0.0.0:7409"),
    ] {
        let told = refused("jobset", &[set]);
        let key = set.split('=').next().unwrap();
        assert!(
            told.len() == 1 && told[0].starts_with(key) && told[0].contains(port),
            "{set}: {told:?}"
        );
    }
    let same = [
        "endpoints.learner_listen=[::]:7400",
        "telemetry.metrics_listen=[::]:7409",
    ];
    assert!(refused("gpu", &same).is_empty());
}

#[test]
fn what_has_to_survive_lies_in_no_pod() {
    let places = [
        "store.url=out/store",
        "paths.adapter=file:///var/lib/adwright/adapter",
    ];
    for name in ALL {
        let told = refused(name, &places);
        assert_eq!(told.len(), 2, "{name}: {told:?}");
        assert!(told[0].starts_with("store.url = out/store: expected a bucket's URL"));
        assert!(told[1].starts_with("paths.adapter = file:///"), "{told:?}");
        let buckets = ["store.url=gs://ads/runs/demo", "paths.adapter=az://ads/adapter"];
        assert!(refused(name, &buckets).is_empty(), "{name}");
    }
}

#[test]
fn pods_have_what_is_read_and_written_there_and_callers_find_a_service() {
    for name in ALL {
        for (set, expected) in [
            ("catalogue.source=products.json", "a bucket's URL"),
            // Where nothing is but what the process writes.
            (
                "catalogue.source=/var/lib/adwright/products.json",
                "a bucket's URL",
            ),
            ("catalogue.source=file:///srv/products.json", "a bucket's URL"),
            ("paths.cache=/srv/cache", "a directory in a volume"),
            ("paths.cache=/etc/adwright/cache", "a directory in a volume"),
            (
                "paths.cache=/var/lib/adwright-too/cache",
                "a directory in a volume",
            ),
            ("endpoints.learner=https://adwright-learner:7401", "a Service"),
            ("endpoints.reward=https://reward:7401", "a Service"),
        ] {
            let scheme = if name == "local" { "http://" } else { "https://" };
            let set = set.replace("https://", scheme);
            let told = refused(name, &[&set]);
            assert_eq!(told.len(), 1, "{name} {set}: {told:?}");
            let (key, value) = set.split_once('=').unwrap();
            let begin = format!("{key} = {value}: expected {expected}");
            assert!(told[0].starts_with(&begin), "{name}: {told:?}");
        }
        let there = [
            "catalogue.source=/etc/adwright/products.json",
            "paths.cache=/var/lib/adwright/models",
        ];
        assert!(
            refused(name, &there).is_empty(),
            "{name}: {:?}",
            refused(name, &there)
        );
        let pushed = ["catalogue.source=s3://ads/catalogue"];
        assert!(refused(name, &pushed).is_empty(), "{name}");
    }
}

#[test]
fn a_longer_drain_has_a_longer_grace_where_the_pods_are() {
    let drains = [
        "actor.drain_timeout_s=600.5",
        "reward_server.drain_timeout_s=100",
        "learner.drain_ms=110001",
    ];
    let path = "/spec/template/spec/terminationGracePeriodSeconds";
    let at = |name: &str, path: &str, seconds| (name.to_owned(), path.to_owned(), seconds);
    assert_eq!(
        patched("gpu", &drains),
        [
            at("Job/adwright-learner", path, 121),
            // With the pause in which its name still leads to it.
            at("Deployment/adwright-reward-server", path, 120),
            at("Deployment/adwright-actor", path, 611),
        ]
    );
    let copies = patched("jobset", &drains);
    let within = |job| format!("/spec/replicatedJobs/{job}/template{path}");
    assert_eq!(
        copies,
        [
            at("JobSet/adwright", &within(0), 121),
            at("JobSet/adwright", &within(1), 120),
            at("JobSet/adwright", &within(2), 611),
        ]
    );
    // As much as there is.
    assert!(patched("gpu", &["actor.drain_timeout_s=170", "learner.drain_ms=110000"]).is_empty());
}

#[test]
fn an_autoscaler_looks_back_a_cold_start_and_starts_as_many_as_may_be_wanted() {
    let sets = [
        "learner.scaling.cold_start_s=1200",
        "learner.scaling.max_actors=64",
    ];
    let values = |name: &str| -> Vec<u64> {
        let patched = patched(name, &sets);
        patched.into_iter().map(|(_, _, value)| value).collect()
    };
    assert_eq!(values("elastic"), [1200, 1200, 64]);
    assert_eq!(values("elastic-keda"), [1200, 1200, 1200, 64]);
    assert!(values("gpu").is_empty());
    let fewer = ["learner.scaling.cold_start_s=60", "learner.scaling.max_actors=4"];
    assert!(patched("elastic-keda", &fewer).is_empty());

    let longest = ["learner.scaling.cold_start_s=3601"];
    for (name, count) in [("gpu", 0), ("elastic", 1), ("elastic-keda", 1)] {
        let told = refused(name, &longest);
        assert_eq!(told.len(), count, "{told:?}");
        assert!(
            told.iter().all(|told| told.contains("cold_start_s = 3601")),
            "{told:?}"
        );
    }
}
