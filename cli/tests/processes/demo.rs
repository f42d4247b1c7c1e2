//! The smallest demo, from outside: what it writes, and that it leaves no process behind however it ends.

use crate::http::ask;
use crate::program::{Member, adwright, members, signal, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// As little as still makes pairs: descriptions differ at least in how much of them cannot be rendered.
const SMALLEST: [&str; 23] = [
    "shopworld.products=24",
    "shopworld.product_size=32",
    "pretrain.samples=900",
    "pretrain.batch=30",
    "pretrain.optimizer.warmup_steps=10",
    "reward.epochs=1",
    "reward.warmup_steps=1",
    "reward.layers=1",
    "learner.pairs_per_version=8",
    "learner.minibatch_pairs=8",
    "learner.passes=1",
    "learner.max_tasks_per_pair=100",
    "learner.lora.rank=2",
    "actor.group_size=4",
    "actor.tasks_per_lease=2",
    "actor.max_new_tokens=20",
    "demo.samples=2",
    "demo.kl_samples=1",
    "demo.products=4",
    "demo.batch=8",
    "demo.sheet_products=2",
    "demo.sheet_size=48",
    "run.seed=5",
];

/// A directory for one test's demos.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the smallest demo that writes to `out`.
    fn demo(&self, out: &str, arguments: &[&str]) -> Child {
        let out = self.path(out);
        let sets = SMALLEST.iter().flat_map(|set| ["--set", set]);
        let first = ["demo", "--out", out.to_str().unwrap()];
        let arguments: Vec<&str> = first
            .into_iter()
            .chain(sets)
            .chain(arguments.iter().copied())
            .collect();
        adwright(self.directory.path(), &arguments)
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap()
    }

    /// A catalogue of two products, as a user would bring it.
    fn catalogue(&self) -> String {
        let mut rows = Vec::new();
        for (id, caption, colour) in [
            ("1", "red desk lamp", [200, 20, 20]),
            ("2", "blue tea cup", [20, 20, 200]),
        ] {
            let [r, g, b] = colour;
            image::RgbaImage::from_pixel(40, 30, image::Rgba([r, g, b, 255]))
                .save(self.path(&format!("{id}.png")))
                .unwrap();
            rows.push(serde_json::json!({ "id": id, "image": format!("{id}.png"), "new_caption": caption }));
        }
        std::fs::write(self.path("mine.json"), Value::from(rows).to_string()).unwrap();
        self.path("mine.json").display().to_string()
    }

    /// The processes of its demos.
    fn processes(&self) -> Vec<Member> {
        members(self.directory.path())
    }

    /// Waits until the demo says where it is watched, and looks there with and without the token.
    fn is_watched(&self, token: &str) {
        let mut address = String::new();
        wait_until("nobody says where to watch", || {
            let said = self.errors();
            let told = said
                .lines()
                .find_map(|line| line.strip_prefix("watch it at http://"));
            address = told.unwrap_or_default().trim_end_matches('/').to_owned();
            !address.is_empty()
        });
        let stranger = ask(&address, "GET /", &[], "");
        assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
        let page = ask(
            &address,
            "GET /",
            &[&format!("authorization: Bearer {token}")],
            "",
        );
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("<dt>Policy version</dt>"),
            "{page}"
        );
    }

    #[track_caller]
    fn no_process_is_left(&self) {
        wait_until("no process is left", || self.processes().is_empty());
    }

    /// Waits until stage C's actors have joined the learner; their processes.
    fn actors_at_work(&self, out: &str) -> Vec<u32> {
        let logs = self.path(&format!("{out}.unfinished")).join("logs");
        let joined = |name: &str| {
            let log = std::fs::read_to_string(logs.join(name)).unwrap_or_default();
            log.contains("joined")
        };
        wait_until("actors join", || joined("actor-1.log") && joined("actor-2.log"));
        let processes = self.processes().into_iter();
        let actors = processes.filter(|member| member.flag("--id").is_some());
        actors.map(|member| member.process).collect()
    }

    #[track_caller]
    fn left_only_logs_of(&self, out: &str) {
        assert!(!self.path(out).exists());
        let left = names(&self.path(&format!("{out}.unfinished")));
        assert_eq!(left, [".adwright-lock", "logs"]);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What is seen where a mode's run writes, until that is put in its place.
struct Clearing {
    run: PathBuf,
    had_a_ledger: bool,
    /// Whether the ledger was ever gone without a report of the run.
    unreported: bool,
}

impl Clearing {
    fn of(run: PathBuf) -> Self {
        Self {
            run,
            had_a_ledger: false,
            unreported: false,
        }
    }

    fn look(&mut self) {
        let (ledger, report) = (
            self.run.join("store/runs/demo/ledger"),
            self.run.join("report.json"),
        );
        if ledger.exists() {
            self.had_a_ledger = true;
        } else if self.had_a_ledger && !report.exists() {
            // Otherwise all of it has been put in its place meanwhile.
            self.unreported |= self.run.exists();
        }
    }
}

#[test]
fn a_comparison_on_a_users_catalogue_writes_what_is_documented_and_ends_all_its_processes() {
    let bench = Bench::new();
    let catalogue = bench.catalogue();
    let token = "correct-horse-battery";
    std::fs::write(bench.path("token"), token).unwrap();
    let token_file = format!("dashboard.token_file={}", bench.path("token").display());
    let mut demo = bench.demo(
        "first",
        &[
            "--catalog",
            &catalogue,
            "--compare",
            "dpo,joint_swap",
            "--rounds",
            "2",
            "--set",
            "telemetry.tensorboard=board",
            "--dashboard",
            "127.0.0.1:0",
            "--set",
            &token_file,
        ],
    );
    bench.is_watched(token);
    let mut modes = ["dpo", "joint_swap"].map(|mode| Clearing::of(bench.path("first.unfinished").join(mode)));
    let ended = loop {
        modes.iter_mut().for_each(Clearing::look);
        if let Some(ended) = demo.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{}", bench.errors());
    bench.no_process_is_left();
    for Clearing {
        run,
        had_a_ledger,
        unreported,
    } in modes
    {
        assert!(had_a_ledger, "{}: no ledger", run.display());
        assert!(
            !unreported,
            "{}: what the run wrote went before its report was there",
            run.display()
        );
    }
    let out = bench.path("first");
    let files = [
        "compare.json",
        "config.toml",
        "contact_sheet.png",
        "curves.png",
        "dpo",
        "joint_swap",
        "logs",
        "policy",
        "report.json",
        "reward-model",
    ];
    assert_eq!(names(&out), files);
    let files = [
        "adapter",
        "config.toml",
        "contact_sheet.png",
        "curves.png",
        "report.json",
        "run.json",
        "steps.jsonl",
    ];
    assert_eq!(names(&out.join("joint_swap")), files);
    let report = json(&out.join("report.json"));
    assert_eq!(
        (&report["mode"], &report["catalogue"]),
        (&"dpo".into(), &"mine".into())
    );
    assert_eq!(report["rounds"].as_array().unwrap().len(), 3);
    assert_eq!(report["processes"].as_array().unwrap().len(), 4);
    assert_eq!(report["final"]["true_ctr"], Value::Null);
    // Two products are too few to hold any out, and nothing is told as if some were.
    assert_eq!(report["held_out"], false);
    assert!(
        bench
            .errors()
            .contains("mine: trained on 2 products, measured on the same (2)"),
        "{}",
        bench.errors()
    );
    assert!(out.join(report["adapter"].as_str().unwrap()).is_dir());
    assert_eq!(
        json(&out.join("compare.json"))["modes"].as_array().unwrap().len(),
        2
    );
    let written = ["config.toml", "report.json", "compare.json"].map(|name| out.join(name));
    let of_modes = ["config.toml", "report.json", "run.json"].map(|name| out.join("dpo").join(name));
    for file in written.iter().chain(&of_modes) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains(token), "{} has the token", file.display());
    }
    image::open(out.join("contact_sheet.png")).unwrap();
    assert_eq!(names(&bench.path("board")), ["dpo", "joint_swap"]);
    for mode in ["dpo", "joint_swap"] {
        let board = bench.path("board").join(mode);
        let events = std::fs::read(board.join(&names(&board)[0])).unwrap();
        let results = events
            .windows(22)
            .filter(|bytes| bytes == b"on_its_products/reward")
            .count();
        assert_eq!(
            results, 3,
            "the learner of {mode} did not wait for the last version's"
        );
    }
    let seconds = |mode: &str, part: &str| {
        let report = json(&out.join(mode).join("report.json"));
        report["wall_seconds"][part].as_f64().unwrap()
    };
    let before = |mode: &str| seconds(mode, "total") - seconds(mode, "rl");
    assert!(
        before("joint_swap") < before("dpo") + seconds("dpo", "rl"),
        "a mode's time does not hold that of the mode before it"
    );

    // What it has made serves, but not on a port that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let model = out.join("reward-model");
    let mut server = adwright(
        bench.directory.path(),
        &[
            "reward-server",
            "--model",
            model.to_str().unwrap(),
            "--listen",
            &address,
        ],
    );
    assert_eq!(server.wait().unwrap().code(), Some(1));
    assert!(
        bench.errors().contains(&format!("cannot listen on {address}")),
        "{}",
        bench.errors()
    );
}

#[test]
fn a_demo_interrupted_in_stage_c_drains_its_roles_and_leaves_only_logs() {
    let bench = Bench::new();
    let mut demo = bench.demo("result", &["--rounds", "10000"]);
    bench.actors_at_work("result");
    signal(demo.id(), "INT");
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{}", bench.errors());
    bench.no_process_is_left();
    bench.left_only_logs_of("result");
    assert!(!bench.errors().contains("was killed"), "{}", bench.errors());
}

#[test]
fn a_second_interrupt_does_not_wait_for_what_hangs() {
    let bench = Bench::new();
    let mut demo = bench.demo("result", &["--rounds", "10000"]);
    let actors = bench.actors_at_work("result");
    actors.iter().for_each(|&actor| signal(actor, "STOP"));
    signal(demo.id(), "INT");
    wait_until("the demo stops", || bench.errors().contains("a second interrupt"));
    let asked = Instant::now();
    signal(demo.id(), "INT");
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{}", bench.errors());
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "no drain is waited for"
    );
    bench.no_process_is_left();
    bench.left_only_logs_of("result");
}

#[test]
fn a_demo_interrupted_in_its_first_stages_leaves_only_logs() {
    let bench = Bench::new();
    let mut demo = bench.demo("result", &[]);
    wait_until("a stage runs", || bench.processes().len() >= 2);
    signal(demo.id(), "INT");
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    bench.no_process_is_left();
    bench.left_only_logs_of("result");
}

#[test]
fn the_processes_of_a_killed_demo_end_by_themselves() {
    let bench = Bench::new();
    let mut demo = bench.demo("result", &[]);
    wait_until("a stage runs", || bench.processes().len() >= 2);
    demo.kill().unwrap();
    demo.wait().unwrap();
    bench.no_process_is_left();
    assert!(!bench.path("result").exists());
}

#[test]
fn what_a_process_blames_on_the_configuration_a_demo_does_too() {
    let bench = Bench::new();
    let base = "policy.base=file:///nowhere/at-all";
    let mut demo = bench.demo("result", &["--set", base]);
    assert_eq!(demo.wait().unwrap().code(), Some(64), "{}", bench.errors());
    for part in ["pretrain failed", "policy.base", "no such directory"] {
        assert!(bench.errors().contains(part), "{}", bench.errors());
    }
    bench.no_process_is_left();
    bench.left_only_logs_of("result");
}
