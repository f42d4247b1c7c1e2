//! A run taken two versions back, and on from there; its checkpoints brought elsewhere.

use crate::stage::{Stage, command, done};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let output = command(directory, arguments).output().unwrap();
    serde_json::from_str(&done(&output)).unwrap()
}

#[test]
fn a_run_that_was_rolled_back_goes_on_to_the_same_bytes_and_its_checkpoints_can_be_taken_elsewhere() {
    let stage = Stage::set();
    let (directory, adapter) = (stage.directory.path(), &stage.undisturbed);
    let of_run = ["--store", "store", "--run", "calm", "--json"];
    let ask = |command: &[&str]| json(directory, &[&["checkpoint"], command, &of_run[..]].concat());
    let told = ask(&["rollback", "--to", "1.10"]);
    assert_eq!(told["epoch"], 2);
    assert_eq!(told["left_behind"].as_array().unwrap().len(), 2);
    let list = ask(&["list"]);
    let left: Vec<bool> = list["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["left_behind"].as_bool().unwrap())
        .collect();
    assert_eq!(left, [false, true, true]);
    assert!(
        stage.run_by("calm", 1) == *adapter,
        "other weights after a rollback"
    );
    let list = ask(&["list"]);
    let newest = list["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(newest["version"], serde_json::json!({"epoch": 3, "number": 12}));
    assert_eq!(
        newest["content"]["parent"],
        serde_json::json!({"epoch": 1, "number": 10})
    );

    let pulled = ask(&["pull", "--out", "pulled"]);
    assert_eq!(pulled["version"], newest["version"]);
    let read = |path: &str| fs::read(directory.join(path)).unwrap();
    assert!(read("pulled/adapter_model.safetensors") == *adapter);
    let exported = ask(&[
        "export",
        "--version",
        "3.12",
        "--model",
        "policy",
        "--out",
        "exported",
    ]);
    assert_eq!(exported["merged"], false);
    for name in ["adapter_model.safetensors", "adapter_config.json", "lineage.json"] {
        let (here, there) = (
            read(&format!("exported/{name}")),
            read(&format!("adapter-calm/{name}")),
        );
        assert!(here == there, "{name}");
    }
    // Folded in, it is the model that `adwright export --merge` makes of the run's adapter.
    let url = format!("file://{}/merged", directory.display());
    ask(&["export", "--merge", "--model", "policy", "--out", &url]);
    let merge = [
        "export",
        "--adapter",
        "adapter-calm",
        "--model",
        "policy",
        "--merge",
        "--out",
        "theirs",
    ];
    done(&command(directory, &merge).output().unwrap());
    let names = |name: &str| -> BTreeSet<_> {
        let entries = fs::read_dir(directory.join(name)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("merged"), names("theirs"));
    assert!(read("merged/model.safetensors") == read("theirs/model.safetensors"));
}
