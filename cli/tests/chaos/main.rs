//! Chaos: the roles of a run as processes that die without warning, by SIGKILL at drawn times and by themselves at every
//! failpoint, and are started again as they were. Nothing that was acknowledged is lost, nothing is trained twice, and a
//! deterministic run ends with the bytes of one that nobody disturbed.
//!
//! Among the tests it has a small form. `--kills N --seed S` is the full one: it writes `chaos.json` into the build's target
//! directory and ends with 1 when a promise is broken. docs/chaos.md says what is killed where, and what each point proves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what surrounds the tests may unwrap as the tests do"
)]
#![allow(clippy::disallowed_methods, reason = "it waits for other processes")]
#![allow(clippy::print_stdout, reason = "the full form tells what came of it")]

mod books;
mod lineage;
mod place;
mod plan;
mod report;
mod stage;
mod storm;
mod tail;

use anyhow::{Context as _, Result};
use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};
use plan::Plan;
use report::Report;
use stage::{Mode, Stage};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How a run among the tests is disturbed: kills of each role, hits of each point, and the longest time that a role at work is
/// left alone, in milliseconds. Few kills are far between, so that the last ones find checkpoints.
const SMALL: [(Mode, (u32, u32, u64)); 2] = [
    (Mode::Deterministic, (10, 1, 600)),
    (Mode::Asynchronous, (5, 0, 1_500)),
];

/// The longest time that a role at work is left alone in the full form: a kill falls anywhere into its work.
const LONGEST_PEACE: Duration = Duration::from_millis(600);

/// The seed of the small form.
const SMALL_SEED: u64 = 11;

/// Chaos in full
#[derive(Debug, Parser)]
struct FullForm {
    /// Kills of each role in deterministic runs, and a quarter as many in asynchronous ones
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Seed of what is killed when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the report goes
    #[arg(long, default_value_os_t = target().join("chaos.json"))]
    out: PathBuf,
}

fn main() -> ExitCode {
    let is_full = |argument: &String| argument.starts_with("--kills") || argument.starts_with("--seed");
    if std::env::args().any(|argument| is_full(&argument)) {
        return full(&FullForm::parse());
    }
    let mut arguments = Arguments::from_args();
    // Two storms at a time would fight for the machine.
    arguments.test_threads = Some(1);
    // Gone with the last of those who hold it.
    let stage: Arc<OnceLock<Stage>> = Arc::default();
    let small = |(mode, (kills, hits, peace_ms)): (Mode, (u32, u32, u64))| {
        let stage = stage.clone();
        move || -> Result<(), Failed> {
            let plan = Plan::new(kills, hits, Duration::from_millis(peace_ms), SMALL_SEED);
            let mut report = Report::new(SMALL_SEED);
            let stage = stage.get_or_init(|| Stage::set().expect("the stage"));
            stage.weather(mode, plan, &mut report)?;
            match report.broken() {
                promises if promises.is_empty() => Ok(()),
                promises => Err(promises.join("\n").into()),
            }
        }
    };
    let trials = vec![
        Trial::test("books_in_which_everything_is_wrong_once_are_found_out", || {
            Ok(books::faults_are_found()?)
        }),
        Trial::test(
            "a_deterministic_run_whose_roles_die_ends_with_the_bytes_of_an_undisturbed_one",
            small(SMALL[0]),
        ),
        Trial::test(
            "an_asynchronous_run_whose_roles_die_loses_nothing_and_trains_nothing_twice",
            small(SMALL[1]),
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every role is killed so many times, and every point hit in both modes.
fn full(form: &FullForm) -> ExitCode {
    let mut report = Report::new(form.seed);
    let ended = (|| -> Result<()> {
        let stage = Stage::set()?;
        let often = form.kills.div_ceil(25);
        stage.weather(
            Mode::Deterministic,
            Plan::new(form.kills, often, LONGEST_PEACE, form.seed),
            &mut report,
        )?;
        let fewer = Plan::new(
            form.kills.div_ceil(4),
            often.div_ceil(4),
            LONGEST_PEACE,
            form.seed.wrapping_add(1),
        );
        stage.weather(Mode::Asynchronous, fewer, &mut report)
    })();
    let mut broken = report.broken();
    broken.extend(ended.err().map(|error| format!("{error:#}")));
    if let Err(error) = report.write(&form.out, &broken) {
        broken.push(format!("{error:#}"));
    }
    println!("{}", report.summary());
    println!("written to {}", form.out.display());
    for promise in &broken {
        eprintln!("broken: {promise}");
    }
    ExitCode::from(u8::from(!broken.is_empty()))
}

/// The build's target directory.
fn target() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().context("a parent").unwrap().to_owned()
}
