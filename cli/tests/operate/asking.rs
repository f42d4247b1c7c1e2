//! `status` and `man`: what is asked, and answered at once.

use crate::program::{adwright, text};
use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_learner_that_is_not_there_is_one_clear_error() {
    let place = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for more in [&[][..], &["--json"], &["--watch"]] {
        let url = format!("http://{closed}");
        let line = [&["status", "--learner", &url], more].concat();
        let asked = adwright(place.path(), &line);
        assert_eq!(asked.status.code(), Some(1));
        assert!(asked.stdout.is_empty());
        let said = text(&asked.stderr);
        assert!(
            said.lines().count() == 1 && said.contains(&closed.to_string()) && said.contains("refused"),
            "{said}"
        );
    }
}

#[test]
fn whose_reader_has_seen_enough_ends_without_a_word_and_as_other_programs_do() {
    for line in [
        &["config", "print"][..],
        &["config", "schema"],
        &["completions", "bash"],
        &["man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(env!("CARGO_BIN_EXE_adwright"))
            .args(line)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(141), "{line:?}");
        assert!(ended.stderr.is_empty(), "{line:?}: {}", text(&ended.stderr));
    }
}

#[test]
fn man_has_a_page_for_each_command() {
    let place = tempfile::tempdir().unwrap();
    assert!(text(&adwright(place.path(), &["man"]).stdout).contains(".TH"));
    assert_eq!(
        adwright(place.path(), &["man", "--out", "pages"]).status.code(),
        Some(0)
    );
    let help = text(&adwright(place.path(), &["--help"]).stdout);
    let (_, listed) = help.split_once("Commands:").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let commands: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|command| !["", "help"].contains(command))
        .collect();
    assert!(commands.len() > 20, "{help}");
    for command in commands.iter().chain(&["config-check", "checkpoint-rollback"]) {
        let page = format!("adwright-{command}.1");
        let written = std::fs::read_to_string(place.path().join("pages").join(&page)).unwrap();
        let head = format!(
            ".TH adwright-{command} 1  \"adwright {}\"",
            env!("CARGO_PKG_VERSION")
        );
        assert!(written.contains(&head), "{page}: {written}");
    }
}
