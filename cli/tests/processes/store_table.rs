//! Commands that read a run find its store as the roles do: by a configuration's `[store]` table.

use crate::stage::command;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The heads of requests.
type Heads = Arc<Mutex<Vec<String>>>;

/// A server that speaks HTTP and has nothing: every request is answered 503, and its head is kept.
pub(crate) fn overloaded() -> (String, Heads) {
    answering("503 Slow Down")
}

/// The same with another answer.
fn answering(status: &'static str) -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, requests) = (
        format!("http://{}", listener.local_addr().unwrap()),
        Heads::default(),
    );
    let kept = requests.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| answer(&stream, status, &kept))
    });
    (url, requests)
}

fn answer(stream: &TcpStream, status: &str, requests: &Mutex<Vec<String>>) {
    let read = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = read.take_while(|line| !line.is_empty()).collect();
    if head.is_empty() {
        return;
    }
    requests.lock().unwrap().push(head.join("\n"));
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = (&mut &*stream).write_all(answer.as_bytes());
}

/// The requests that a command makes of a bucket at an endpoint of ours before it gives up.
fn requests(arguments: &[&str]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let table = "[store]\nurl = \"s3://bucket/prefix\"\nmax_retries = 2\n[run]\nid = \"spring\"\n";
    fs::write(directory.path().join("run.toml"), table).unwrap();
    let (url, requests) = overloaded();
    let mut asked: Command = command(directory.path(), arguments);
    let output = asked
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "someone")
        .env("AWS_SECRET_ACCESS_KEY", "something")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("s3://bucket/prefix"),
        "{said}"
    );
    requests.lock().unwrap().len()
}

#[test]
fn a_store_of_the_configuration_is_asked_at_its_endpoint_as_often_as_it_says() {
    for words in [
        ["ledger", "inspect"],
        ["ledger", "export"],
        ["checkpoint", "list"],
        ["checkpoint", "verify"],
    ] {
        let configured = [&words[..], &["--config", "run.toml"]].concat();
        assert_eq!(requests(&configured), 3, "{words:?}");
        let set = [&configured[..], &["--set", "store.max_retries=0"]].concat();
        assert_eq!(requests(&set), 1, "{words:?}");
    }
}

#[test]
fn a_bucket_is_shown_keys_of_the_environment_or_else_of_a_profile_and_nobody_else_is() {
    const SECRET: &str = "correct-horse-battery";
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let keys = |profile, id| {
        format!(
            "[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {SECRET}\naws_session_token = {SECRET}\n"
        )
    };
    let both = keys("default", "OFDEFAULT") + &keys("work", "OFWORK");
    fs::write(home.path().join(".aws/credentials"), both).unwrap();
    fs::write(
        home.path().join(".aws/config"),
        "[default]\nregion = eu-north-1\n",
    )
    .unwrap();
    let (url, heads) = answering("403 Forbidden");
    let own = [("AWS_ACCESS_KEY_ID", "OWN"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let work = [("AWS_PROFILE", "work")];
    for (given, shown, region, source) in [
        (&[][..], "OFDEFAULT", "eu-north-1", "the profile \"default\""),
        (&work[..], "OFWORK", "us-east-1", "the profile \"work\""),
        (
            &[own[0], own[1], work[0]],
            "OWN",
            "us-east-1",
            "AWS_ACCESS_KEY_ID and",
        ),
    ] {
        heads.lock().unwrap().clear();
        let list = ["ledger", "inspect", "--store=s3://bucket/prefix", "--run=spring"];
        let mut asked = command(home.path(), &list);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            asked.env_remove(name);
        }
        let output = asked
            .env("HOME", home.path())
            .env("RUST_LOG", "trace")
            .env("AWS_ENDPOINT_URL", &url)
            .env("AWS_ALLOW_HTTP", "true")
            .envs(given.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("credentials: {source}")), "{said}");
        for word in [SECRET, "AWS4-HMAC"] {
            assert!(!said.contains(word), "{said}");
        }
        let heads = heads.lock().unwrap().join("\n");
        assert!(heads.contains(&format!("Credential={shown}/")), "{heads}");
        assert!(heads.contains(&format!("/{region}/s3/")), "{heads}");
    }
}

#[test]
fn a_run_is_named_by_the_configuration_or_on_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("here")).unwrap();
    let table = "[store]\nurl = \"here\"\n[run]\nid = \"spring\"\n";
    fs::write(directory.path().join("run.toml"), table).unwrap();
    let told = |arguments: &[&str]| {
        let output = command(directory.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let of_file = told(&["ledger", "inspect", "--config", "run.toml"]);
    assert!(of_file.contains("runs/spring/ledger"), "{of_file}");
    let of_flag = told(&["ledger", "inspect", "--config", "run.toml", "--run", "autumn"]);
    assert!(of_flag.contains("runs/autumn/ledger"), "{of_flag}");
    let elsewhere = told(&[
        "checkpoint",
        "pull",
        "--config",
        "run.toml",
        "--store",
        "there",
        "--out",
        "x",
    ]);
    assert!(
        elsewhere.contains("store.url") && elsewhere.contains("there"),
        "{elsewhere}"
    );
    // Neither is guessed.
    let nothing = told(&["checkpoint", "rollback", "--to", "1.1"]);
    assert!(
        nothing.contains("--store") && nothing.contains("--run"),
        "{nothing}"
    );
}
