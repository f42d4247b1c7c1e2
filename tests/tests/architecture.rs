//! Who may import whom. The table is the one in ARCHITECTURE.md; a breach fails here with the two crates' names.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// For each crate, the crates of ours that it may import outside its tests.
const MAY_IMPORT: [(&str, &[&str]); 14] = [
    ("common", &[]),
    ("failpoint", &[]),
    ("models", &[]),
    ("imaging", &[]),
    ("proto", &["common"]),
    ("store", &["common"]),
    ("data", &["common", "imaging"]),
    ("shopworld", &["common", "data"]),
    ("reward-server", ROLE),
    (
        "actor",
        &[
            "common",
            "proto",
            "models",
            "store",
            "data",
            "failpoint",
            "imaging",
        ],
    ),
    ("dashboard", &["common"]),
    (
        "learner",
        &[
            "common",
            "proto",
            "models",
            "store",
            "data",
            "failpoint",
            "dashboard",
        ],
    ),
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
            "dashboard",
            "failpoint",
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
            "imaging",
            "shopworld",
            "reward-server",
            "actor",
            "learner",
            "cli",
        ],
    ),
];

/// What a role may import: never another role, and the simulated shop only through `data`'s traits.
const ROLE: &[&str] = &["common", "proto", "models", "store", "data", "failpoint"];

/// Outside crates that a crate must never know.
const MUST_NOT_KNOW: [(&str, &[&str]); 12] = [
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
    // Prost reads a file here, SentencePiece's, and no message.
    ("models", &["tonic", "object_store"]),
    (
        "imaging",
        &["burn", "tokio", "tonic", "prost", "object_store", "rand"],
    ),
    ("data", &["burn", "tokio", "tonic"]),
    ("shopworld", &["burn", "tokio", "tonic"]),
    ("dashboard", &["tonic", "prost", "burn", "object_store", "clap"]),
    ("reward-server", &["object_store", "prost", "clap"]),
    ("actor", &["object_store", "clap"]),
    ("learner", &["object_store", "clap"]),
    ("cli", &["burn", "prost", "safetensors", "object_store"]),
];

/// What a crate may import and must yet not name: the modules and types that belong to another role.
const MUST_NOT_NAME: [(&str, &[&str]); 4] = [
    (
        "reward-server",
        &[
            "models::policy",
            "models::llava",
            "PreferencePair",
            "RolloutOutcome",
            "ActorId",
            "PolicyVersion",
        ],
    ),
    (
        "actor",
        &[
            "models::gradients",
            "models::optimizer",
            "models::ctr",
            "autodiff",
        ],
    ),
    (
        "learner",
        &["models::ctr", "ImageGenerator", "ClickOracle", "ClickLog"],
    ),
    ("cli", &["models::llava", "models::gradients", "Tensor"]),
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
fn no_role_names_what_belongs_to_another_one() {
    let workspace = workspace();
    for (name, unknown) in MUST_NOT_NAME {
        let package = workspace
            .packages
            .iter()
            .find(|package| package.name.as_str() == name);
        let sources = Sources::of(package.unwrap_or_else(|| panic!("crate {name} is gone")));
        for word in unknown {
            assert!(
                !sources.product.contains(word),
                "crate {name} must not name {word}"
            );
        }
    }
}

#[test]
fn every_declared_dependency_is_named_where_it_is_declared_for() {
    let mut idle = Vec::new();
    for package in &workspace().packages {
        let sources = Sources::of(package);
        for dependency in &package.dependencies {
            let path = match dependency.name.as_str() {
                "rustls-webpki" => "webpki".to_owned(),
                name => name.replace('-', "_"),
            };
            // Generated code names the first two, the check beside `proto/build.rs` the third; the last is there for its features.
            let elsewhere = [
                ("proto", "prost"),
                ("proto", "tonic_prost"),
                ("proto", "prost_types"),
                ("store", "reqwest"),
            ];
            let elsewhere = elsewhere.contains(&(package.name.as_str(), path.as_str()));
            let text = match dependency.kind {
                DependencyKind::Development => &sources.all,
                _ => &sources.product,
            };
            if !elsewhere && !text.contains(&format!("{path}::")) {
                idle.push(format!(
                    "{}: {} ({:?})",
                    package.name, dependency.name, dependency.kind
                ));
            }
        }
    }
    assert!(idle.is_empty(), "declared and never used: {idle:?}");
}

#[test]
fn every_dependency_of_the_workspace_is_taken_by_a_member() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the workspace has a manifest");
    let table = manifest
        .split("\n[")
        .find(|table| table.starts_with("workspace.dependencies]"));
    let declared = table.into_iter().flat_map(str::lines).filter_map(|line| {
        let (name, _) = line.split_once(" = ")?;
        (!name.starts_with('#')).then_some(name)
    });
    let workspace = workspace();
    let taken: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let declared: Vec<&str> = declared.collect();
    assert!(declared.contains(&"common"), "{declared:?}");
    let idle: Vec<&&str> = declared.iter().filter(|name| !taken.contains(**name)).collect();
    assert!(idle.is_empty(), "declared and taken by nobody: {idle:?}");
}

/// The text of a crate's Rust files, without comments.
struct Sources {
    /// What is built for use: `src` and `build.rs` without their tests. All of it in the crate of integration tests.
    product: String,
    /// With tests and examples.
    all: String,
}

impl Sources {
    fn of(package: &Package) -> Self {
        let root = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a directory");
        let mut files = Vec::new();
        for part in ["src", "tests", "examples", "build.rs"] {
            find_sources(root.join(part).as_std_path(), &mut files);
        }
        let texts: Vec<(PathBuf, String)> = files
            .into_iter()
            .map(|path| {
                let text = fs::read_to_string(&path).expect("a source file can be read");
                (path, without_comments(&text))
            })
            .collect();
        let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
        if package.name.as_str() == "integration-tests" {
            return Self {
                product: all.clone(),
                all,
            };
        }
        let parts: Vec<(&PathBuf, (String, Vec<String>))> = texts
            .iter()
            .map(|(path, text)| (path, without_tests(text)))
            .collect();
        let test_files: BTreeSet<PathBuf> = parts
            .iter()
            .flat_map(|(path, (_, modules))| modules.iter().map(|module| file_of_module(path, module)))
            .collect();
        let is_product = |path: &Path| {
            let below = path.strip_prefix(root.as_std_path()).expect("it was found there");
            // A file for tests has its own modules in the folder of its name.
            let tests = |file: &PathBuf| path == file || path.starts_with(file.with_extension(""));
            !test_files.iter().any(tests) && !below.starts_with("tests") && !below.starts_with("examples")
        };
        let product = parts
            .iter()
            .filter(|(path, _)| is_product(path))
            .map(|(_, (text, _))| text.as_str());
        Self {
            product: product.collect(),
            all,
        }
    }
}

fn find_sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a source folder can be read");
        entries.for_each(|entry| find_sources(&entry.expect("an entry can be read").path(), found));
    } else if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| [line, "\n"]).collect()
}

/// The text without what stands behind `#[cfg(test)]`, and the names of the modules in files among that. An item of
/// formatted code ends with its own line, or with the brace in its own column.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut product, mut modules) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            product.extend([line, "\n"]);
            continue;
        }
        let end = line.replace("#[cfg(test)]", "}");
        let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#["));
        let item = item.unwrap_or_default().trim();
        if let Some(declared) = item.strip_suffix(';') {
            modules.extend(declared.split_once("mod ").map(|(_, name)| name.to_owned()));
        } else {
            lines.by_ref().find(|line| *line == end);
        }
    }
    (product, modules)
}

/// Where the file of a module declared in `path` lies.
fn file_of_module(path: &Path, module: &str) -> PathBuf {
    let is_root = path
        .file_stem()
        .is_some_and(|stem| stem == "lib" || stem == "main");
    let folder = if is_root {
        path.with_file_name("")
    } else {
        path.with_extension("")
    };
    folder.join(format!("{module}.rs"))
}

#[test]
fn code_for_tests_is_told_from_the_rest() {
    let text = "use a::b;\n// c::d\n#[cfg(test)]\nmod toy;\n    #[cfg(test)]\n    fn f() {\n        e::g();\n    }\nfn h() {}\n";
    let (product, modules) = without_tests(&without_comments(text));
    assert_eq!(product, "use a::b;\nfn h() {}\n");
    assert_eq!(modules, ["toy"]);
    assert_eq!(
        file_of_module(Path::new("x/src/lib.rs"), "toy"),
        Path::new("x/src/toy.rs")
    );
    assert_eq!(
        file_of_module(Path::new("x/src/a.rs"), "toy"),
        Path::new("x/src/a/toy.rs")
    );
}
