//! The dashboard of a real `adwright demo`, found as a person finds it: by what the demo prints.

use crate::alone;
use crate::browser::Browser;
use crate::page::Page;
use crate::program::{Guarded, adwright, line_in, members, signal, wait_until};
use crate::seen::{
    LIVE, changes_by_itself, counted, figure, history_is_open, row, says_nothing_and_asks_nobody_else,
};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A demo of seconds whose policy has learnt enough for some of its descriptions to be rendered.
const SMALL: [&str; 19] = [
    "shopworld.products=16",
    "pretrain.samples=2000",
    "reward.epochs=1",
    "learner.pairs_per_version=8",
    "learner.minibatch_pairs=4",
    "learner.passes=1",
    "learner.lora.rank=4",
    "learner.lease_ttl_ms=2000",
    "learner.lease_grace_ms=100",
    "actor.group_size=4",
    "actor.max_new_tokens=20",
    "actor.tasks_per_lease=2",
    "demo.samples=2",
    "demo.kl_samples=1",
    "demo.products=4",
    "demo.batch=8",
    "demo.sheet_products=2",
    "demo.sheet_size=48",
    "run.seed=5",
];

#[test]
#[ignore = "needs Chromium (docs/dashboard.md); .ci/run runs it"]
fn the_page_of_a_running_demo_shows_its_numbers_as_they_change_and_who_has_died() {
    let _machine = alone();
    let browser = Browser::start();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let sets = SMALL.iter().flat_map(|set| ["--set", set]);
    // It goes on until it is interrupted.
    let first = [
        "demo",
        "--quick",
        "--rounds",
        "10000",
        "--dashboard",
        "127.0.0.1:0",
    ];
    let first = first.into_iter().chain(["--out", out.to_str().unwrap()]);
    let arguments: Vec<&str> = first.chain(sets).collect();
    let mut demo = Guarded(adwright(directory.path(), &arguments));
    let log = directory.path().join("stderr.log");
    let mut url = None;
    wait_until("the demo says where to watch", || {
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(demo.0.try_wait().unwrap().is_none(), "{said}");
        url = said
            .lines()
            .find_map(|line| line.strip_prefix("watch it at "))
            .map(str::to_owned);
        url.is_some()
    });
    let url = url.unwrap();

    let mut page = Page::open(browser);
    page.screen(1280, 900, "light");
    page.go(&url);
    page.until(
        "both actors work",
        &format!(
            "{}.includes('Working') && {}.includes('Working')",
            row("actor-1"),
            row("actor-2")
        ),
    );
    page.until(
        "curves are drawn, what the demo measures among them",
        "document.querySelectorAll('#curves path.line').length >= 8 \
         && document.querySelector('#curves [data-key=\"Reward on held-out products\"] path.line') !== null",
    );
    let actor = members(directory.path())
        .into_iter()
        .find(|member| member.flag("--id") == Some("actor-2"))
        .unwrap();
    let status = || status(directory.path(), actor.flag("--learner").unwrap());
    changes_by_itself(&mut page, "Ledger", 5, || recorded(&status()));
    changes_by_itself(&mut page, "Pairs trained", 1, || trained(&status()));
    numbers_are_those_of_the_demo(&mut page, status);

    signal(actor.process, "KILL");
    let told = page.until("its row says so", &format!("{}.includes('Gone')", row("actor-2")));
    assert!(told < LIVE, "{told:?}");
    // What it held goes to the other one when its leases end.
    let held = page.value(&figure("Ledger"));
    page.until("the run goes on", &format!("{} !== {held}", figure("Ledger")));
    changes_by_itself(&mut page, "Ledger", 2, || recorded(&status()));
    let words = line_in(&log, "the run goes on without an actor");
    assert!(words.contains("actor-2"), "{words}");

    a_creative_opens_its_history(&mut page, &url);
    says_nothing_and_asks_nobody_else(&mut page, &url);
    page.go(&url);
    signal(demo.0.id(), "INT");
    page.until("the end is told", "!document.getElementById('gone').hidden");
    assert_eq!(demo.0.wait().unwrap().code(), Some(1), "it was interrupted");
    wait_until("no process is left", || members(directory.path()).is_empty());
}

/// What the program says of a run.
fn status(directory: &Path, learner: &str) -> Value {
    let asked = Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(["status", "--json", "--learner", learner])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    serde_json::from_slice(&asked.stdout).unwrap()
}

fn trained(status: &Value) -> u64 {
    status["pairs_trained"].as_u64().unwrap()
}

/// Outcomes in the ledger of a learner that was started once.
fn recorded(status: &Value) -> u64 {
    let without = ["no_pairs", "failures"].map(|of| status[of].as_object().unwrap());
    let without = without.into_iter().flat_map(|counts| counts.values());
    status["pairs"].as_u64().unwrap() + without.map(|count| count.as_u64().unwrap()).sum::<u64>()
}

/// What the page shows lies between what the program says before and after.
fn numbers_are_those_of_the_demo(page: &mut Page, status: impl Fn() -> Value) {
    let version = |status: &Value| -> u64 {
        let version = status["version"].as_str().unwrap();
        version.rsplit('.').next().unwrap().parse().unwrap()
    };
    let before = status();
    let shown = [
        ("Pairs trained", trained(&before)),
        ("Policy version", version(&before)),
    ]
    .map(|(name, least)| {
        let told = page.until(
            &format!("{name} is at least {least}"),
            &format!("{} >= {least}", counted(name)),
        );
        assert!(told < LIVE, "{name}: {told:?}");
        page.value(&counted(name)).as_u64().unwrap()
    });
    let after = status();
    assert!(
        shown[0] <= trained(&after) && shown[1] <= version(&after),
        "{shown:?} of {after}"
    );
}

/// With a picture of every candidate that has one, from the newest ones on the page.
fn a_creative_opens_its_history(page: &mut Page, url: &str) {
    page.go(url);
    let pictured = "document.querySelector('#creatives a.card:has(img)')";
    page.until(
        "a creative has a picture",
        &format!("(() => {{ const card = {pictured}; card?.focus(); return Boolean(card) }})()"),
    );
    page.press("Enter");
    history_is_open(page, &[]);
    page.until(
        "its pictures come",
        "document.images.length >= 2 && [...document.images].every(i => i.naturalWidth > 0)",
    );
}
