//! Who may import whom. The table is the one in ARCHITECTURE.md; a breach fails here with the two crates' names.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::{collections::BTreeMap, fs, path::Path};

/// For each crate, the crates of ours that it may import outside its tests.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("common", &[]),
    ("models", &[]),
    ("proto", &["common"]),
    ("store", &["common"]),
    ("data", &["common"]),
    ("shopworld", &["common", "data"]),
    ("reward-server", ROLE),
    ("actor", ROLE),
    ("learner", ROLE),
    (
        "cli",
        &[
            "common",
            "models",
            "proto",
            "store",
            "data",
            "shopworld",
            "reward-server",
            "actor",
            "learner",
        ],
    ),
    (
        "integration-tests",
        &[
            "common",
            "models",
            "proto",
            "store",
            "data",
            "shopworld",
            "reward-server",
            "actor",
            "learner",
            "cli",
        ],
    ),
];

/// What a role may import: never another role, and the simulated shop only through `data`'s traits.
const ROLE: &[&str] = &["common", "proto", "models", "store", "data"];

/// Outside crates that a crate must never know.
const MUST_NOT_KNOW: [(&str, &[&str]); 6] = [
    (
        "common",
        &[
            "tokio",
            "tonic",
            "burn",
            "tracing",
            "object_store",
            "dashmap",
            "futures",
        ],
    ),
    ("proto", &["burn", "object_store"]),
    ("store", &["tonic", "prost", "burn"]),
    ("models", &["tonic", "prost", "object_store"]),
    ("data", &["burn", "tokio", "tonic"]),
    ("shopworld", &["burn", "tokio", "tonic"]),
];

fn workspace() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata answers")
}

/// Names of what a package needs outside its tests.
fn imports(package: &Package) -> Vec<String> {
    let product = |kind: DependencyKind| kind != DependencyKind::Development;
    package
        .dependencies
        .iter()
        .filter(|d| product(d.kind))
        .map(|d| d.name.clone())
        .collect()
}

#[test]
fn every_crate_imports_only_what_the_architecture_allows() {
    let workspace = workspace();
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let names: Vec<String> = workspace
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    for package in &workspace.packages {
        let name = package.name.as_str();
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("crate {name} is not in the table: say what it may import"));
        for import in imports(package).iter().filter(|import| names.contains(import)) {
            assert!(
                allowed.contains(&import.as_str()),
                "crate {name} must not import {import}"
            );
        }
    }
    assert_eq!(names.len(), allowed.len(), "the table names crates that are gone");
}

#[test]
fn every_crate_is_ignorant_of_what_is_not_its_business() {
    let workspace = workspace();
    for (name, unknown) in MUST_NOT_KNOW {
        let package = workspace
            .packages
            .iter()
            .find(|package| package.name.as_str() == name);
        let imports = imports(package.unwrap_or_else(|| panic!("crate {name} is gone")));
        for import in unknown {
            assert!(
                !imports.iter().any(|i| i == import),
                "crate {name} must not know {import}"
            );
        }
    }
}

#[test]
fn every_declared_dependency_is_named_in_the_crates_own_sources() {
    let mut idle = Vec::new();
    for package in &workspace().packages {
        let root = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a directory");
        let mut sources = String::new();
        for folder in ["src", "tests", "build.rs"] {
            read_sources(root.join(folder).as_std_path(), &mut sources);
        }
        for import in imports(package) {
            let path = import.replace('-', "_");
            // Generated code names these two, see proto/build.rs.
            let generated =
                package.name.as_str() == "proto" && ["prost", "tonic_prost"].contains(&path.as_str());
            if !generated && !sources.contains(&format!("{path}::")) {
                idle.push(format!("{}: {import}", package.name));
            }
        }
    }
    assert!(idle.is_empty(), "declared and never used: {idle:?}");
}

fn read_sources(path: &Path, into: &mut String) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a source folder can be read");
        entries.for_each(|entry| read_sources(&entry.expect("an entry can be read").path(), into));
    } else if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
        into.push_str(&fs::read_to_string(path).expect("a source file can be read"));
    }
}
