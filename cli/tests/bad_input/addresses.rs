//! Where a role listens, and whom it calls.

use crate::bench::{Bench, taken};
use crate::models::with_policy;
use std::net::TcpListener;

#[test]
fn an_address_that_is_none_is_named() {
    let bench = Bench::new();
    bench
        .run(&["learner", "--listen", "localhost"])
        .refused(64, &["endpoints.learner_listen", "localhost", "HOST:PORT"]);
    bench
        .run(&["actor", "--learner", "127.0.0.1:7400"])
        .refused(64, &["endpoints.learner", "http://"]);
    bench
        .run(&["actor", "--store", "ftp://host/x"])
        .refused(64, &["ftp://host/x", "file"]);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_behind() {
    let bench = with_policy();
    let (_taken, address) = taken();
    let roles = [&["actor"][..], &["learner", "--policy", "policy"]];
    for role in roles {
        let said = bench.run(&[role, &["--listen", &address]].concat());
        said.refused(1, &["cannot listen on", &address, "--listen", "in use"]);
        said.left_nothing_but(&["policy"]);
    }
}

#[test]
fn a_dashboard_that_others_reach_needs_a_token_and_what_is_none_is_said() {
    let bench = with_policy();
    bench.write("short", "fifteen-bytes-x\n");
    let learner = [
        "learner",
        "--policy",
        "policy",
        "--listen",
        "127.0.0.1:0",
        "--dashboard",
    ];
    let with = |more: &[&str]| bench.run(&[&learner[..], more].concat());
    with(&["0.0.0.0:0"]).refused(64, &["dashboard.token_file", "16 characters"]);
    with(&["0.0.0.0:0", "--set", "dashboard.token_file=nowhere"])
        .refused(64, &["dashboard.token_file", "nowhere"]);
    let short = with(&["127.0.0.1:0", "--set", "dashboard.token_file=short"]);
    short.refused(64, &["dashboard.token_file", "15 bytes"]);
    with(&["7403"]).refused(64, &["dashboard.listen", "HOST:PORT"]);
    let (_taken, address) = taken();
    let said = with(&[&address]);
    said.refused(1, &[&address, "--dashboard", "in use"]);
    said.left_nothing_but(&["policy", "short"]);
}

#[test]
fn an_actor_without_a_learner_gives_up_names_the_address_and_needs_no_catalogue() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let said = bench.run(&[
        "actor",
        "--learner",
        &url,
        "--listen",
        "localhost:0",
        "--set",
        "actor.learner_timeout_s=0.3",
        "--set",
        "catalogue.source=on-the-learners-machine.json",
    ]);
    said.refused(1, &["learner", &url, "did not answer"]);
}
