//! Models by URL: roles on machines that share no directory find the same ones, and nobody takes a damaged one.

use crate::fixtures::{fixture, text};
use crate::role::Role;
use crate::stage::{command, configured, done};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with its working directory and its cache in a directory of its own, as on another machine.
fn on(machine: &Path, arguments: &[&str]) -> Command {
    fs::create_dir_all(machine).unwrap();
    let mut command = configured(machine, arguments);
    command
        .env("XDG_CACHE_HOME", machine.join("cache"))
        .args(["--set", "learner.versions=2"]);
    command
}

/// This command takes no settings.
fn inspect(machine: &Path, model: &str) -> Command {
    fs::create_dir_all(machine).unwrap();
    let mut inspect = command(machine, &["inspect", model]);
    inspect.env("XDG_CACHE_HOME", machine.join("cache"));
    inspect
}

fn role(machine: &Path, arguments: &[&str]) -> (Role, Option<String>) {
    let mut command = on(machine, arguments);
    command.args(["--listen", "127.0.0.1:0", "--deterministic"]);
    Role::start(&mut command, &machine.join("log"))
}

fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// Runs the three roles with models that are named so, and returns the adapter.
fn run(place: &Path, name: &str, policy: &str, reward_model: &str) -> Vec<u8> {
    let machine = |role: &str| place.join(format!("{name}-{role}"));
    let store = format!("file://{}", place.join(format!("{name}-store")).display());
    let model = ["reward-server", "--model", reward_model];
    let (_reward, reward) = role(&machine("reward"), &model);
    let arguments = [
        "learner",
        "--policy",
        policy,
        "--adapter",
        "adapter",
        "--store",
        &store,
    ];
    let (learner, address) = role(&machine("learner"), &arguments);
    let (address, reward) = (address.unwrap(), reward.unwrap());
    let arguments = [
        "actor",
        "--learner",
        &address,
        "--reward",
        &reward,
        "--store",
        &store,
    ];
    let (_actor, _) = role(&machine("actor"), &arguments);
    assert!(learner.wait());
    let adapter = machine("learner").join("adapter");
    let config = fs::read(adapter.join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], policy);
    fs::read(adapter.join("adapter_model.safetensors")).unwrap()
}

/// Two processes of one machine want the same model at the same time.
fn both_bring_it_once(machine: &Path, model: &str) {
    let inspects = [(), ()].map(|()| {
        let mut inspect = inspect(machine, model);
        inspect
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let figures = inspects.map(|inspect| {
        let output = inspect.wait_with_output().unwrap();
        done(&output);
        let said = String::from_utf8(output.stderr).unwrap();
        ["came", "bytes"].map(|name| {
            let (_, rest) = said.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().parse::<u64>().unwrap()
        })
    });
    let [[one, bytes], [other, _]] = figures;
    assert_eq!(one + other, bytes);
}

/// Pushes a catalogue with pictures, and measures the policy on it from another machine.
fn an_evaluation_by_url_is_that_of_the_directories(place: &Path, home: &Path, models: [&str; 2]) {
    let rows = [("red", [200, 20, 20, 255]), ("blue", [20, 20, 200, 255])].map(|(colour, pixel)| {
        let image = format!("pictures/{colour}.png");
        let path = home.join(&image);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbaImage::from_pixel(40, 30, image::Rgba(pixel))
            .save(path)
            .unwrap();
        json!({ "id": colour, "image": image, "new_caption": format!("{colour} tea cup") })
    });
    fs::write(home.join("mine.json"), json!(rows).to_string()).unwrap();
    let catalogue = format!("file://{}", place.join("pushed/shop").display());
    done(
        &on(home, &["catalog", "push", "mine.json", &catalogue])
            .output()
            .unwrap(),
    );
    let evaluate = |machine: &Path, [model, reward_model, catalogue]: [&str; 3]| {
        let places = [
            "--model",
            model,
            "--reward-model",
            reward_model,
            "--catalog",
            catalogue,
        ];
        let arguments = [&["evaluate", "--json"], &places[..]].concat();
        serde_json::from_str::<Value>(&done(&on(machine, &arguments).output().unwrap())).unwrap()
    };
    let there = evaluate(home, ["policy", "reward-model", "mine.json"]);
    let urls = [models[0], models[1], &catalogue];
    let by_url = evaluate(&place.join("evaluating"), urls);
    assert_eq!(by_url["policies"], there["policies"]);
    assert_eq!(by_url["products"], 2);
    assert_eq!(
        ["model", "reward_model", "catalogue"].map(|name| by_url[name].as_str()),
        urls.map(Some)
    );
}

/// The line that says how a model came to a machine, with `words` in it.
fn cold_start(log: &str, words: &[&str]) {
    let line = log.lines().find(|line| line.contains("cold_start"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for word in words {
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[test]
fn roles_that_share_no_directory_train_the_same_by_url_and_a_damaged_model_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let home = place.join("home");
    for stage in [
        ["pretrain", "--out", "policy"],
        ["train-reward", "--out", "reward-model"],
    ] {
        done(&on(&home, &stage).output().unwrap());
    }
    let [policy, reward_model] = ["policy", "reward-model"].map(|name| {
        let url = format!("file://{}", place.join("pushed").join(name).display());
        let pushed = done(
            &on(&home, &["model", "push", name, &url, "--json"])
                .output()
                .unwrap(),
        );
        let pushed: Value = serde_json::from_str(&pushed).unwrap();
        assert_eq!(pushed["sent"], pushed["bytes"]);
        url
    });
    // Nothing else may be pushed to where something was, and nothing to where nobody finds it.
    let refusals = [
        (policy.as_str(), ["adwright-files.json", "name another one"]),
        ("hf:org/name", ["hf:org/name", "a hub is read only"]),
        ("memory:///", ["memory:///", "nobody else reads"]),
    ];
    for (to, words) in refusals {
        let push = ["model", "push", "reward-model", to];
        refused(&on(&home, &push).output().unwrap(), &words);
    }

    let [local_policy, local_model] = ["policy", "reward-model"].map(|name| text(&home.join(name)));
    let by_path = run(place, "path", &local_policy, &local_model);
    assert!(
        run(place, "url", &policy, &reward_model) == by_path,
        "other weights"
    );
    for (role, url) in [("learner", &policy), ("reward", &reward_model)] {
        let log = fs::read_to_string(place.join(format!("url-{role}/log"))).unwrap();
        cold_start(&log, &[url, " from_cache=0 ", "seconds="]);
    }

    an_evaluation_by_url_is_that_of_the_directories(place, &home, [&policy, &reward_model]);

    both_bring_it_once(&place.join("two"), &policy);
    // What is in the cache is not brought again, and what was pushed and is damaged is not taken.
    let machine = place.join("url-learner");
    let inspect = |machine: &Path| inspect(machine, &policy).output().unwrap();
    let again = inspect(&machine);
    done(&again);
    cold_start(&String::from_utf8_lossy(&again.stderr), &[" came=0 "]);
    let weights = place.join("pushed/policy/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    done(&inspect(&machine));
    refused(
        &inspect(&home),
        &["model.safetensors", "is damaged", "expected blake3:"],
    );
}

const COMMIT: &str = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9";

/// A hub with one model, whose files are those of a directory.
fn hub(directory: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let files: BTreeMap<String, Vec<u8>> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    let entries = files.iter().map(|(name, bytes)| {
        let summed = Command::new("sha256sum")
            .arg(directory.join(name))
            .output()
            .unwrap();
        let sha = String::from_utf8(summed.stdout).unwrap()[..64].to_owned();
        let size = bytes.len();
        format!(r#"{{"type":"file","path":"{name}","size":{size},"lfs":{{"oid":"{sha}","size":{size}}}}}"#)
    });
    let tree = format!("[{}]", entries.collect::<Vec<_>>().join(","));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &files, &tree);
        }
    });
    url
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, tree: &str) {
    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let revision = format!(r#"{{"sha":"{COMMIT}"}}"#);
    let body = match path.rsplit_once('/') {
        Some(("/api/models/org/model/revision", "v1")) => Some(revision.as_bytes()),
        Some(("/api/models/org/model/tree", _)) => Some(tree.as_bytes()),
        Some((_, name)) => files.get(name).map(Vec::as_slice),
        None => None,
    };
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

#[test]
fn a_hubs_model_is_read_by_its_commit_and_a_deterministic_run_must_name_it() {
    let place = tempfile::tempdir().unwrap();
    let directory = fixture("llava-hf-1.5/1");
    let url = hub(&directory);
    let ask = |arguments: &[&str]| {
        let mut asking = command(place.path(), arguments);
        asking
            .env("XDG_CACHE_HOME", place.path())
            .env("HF_ENDPOINT", &url)
            .env("HF_ALLOW_HTTP", "true")
            .env_remove("HF_TOKEN");
        asking.output().unwrap()
    };
    let digest = |output: &Output| {
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        found["digest"].as_str().unwrap().to_owned()
    };
    let there = digest(&ask(&["inspect", "--json", &text(&directory)]));
    let by_tag = ask(&["inspect", "--json", "hf:org/model@v1"]);
    assert_eq!(digest(&by_tag), there);
    let named = format!("hf:org/model@{COMMIT}");
    cold_start(
        &String::from_utf8_lossy(&by_tag.stderr),
        &[&named, " from_cache=0 "],
    );
    let by_commit = ask(&["inspect", "--json", &named]);
    assert_eq!(digest(&by_commit), there);
    cold_start(&String::from_utf8_lossy(&by_commit.stderr), &[" came=0 "]);
    let open = ["learner", "--deterministic", "--policy", "hf:org/model@v1"];
    refused(&ask(&open), &["paths.policy", "hf:org/model@v1", &named]);
    refused(
        &ask(&["inspect", "hf:org/model@v2"]),
        &["revision v2 is not in hf:org/model@v2"],
    );
}
