//! Simulation: learner and actors as they are, on a network, a clock and a disk that a seed decides. Hosts crash, are cut off from
//! each other and come back; what is promised in docs/protocol.md holds at the end of every run. docs/simulation.md says what is
//! simulated and what is not.
//!
//! Among the tests it has a small form. `--seeds N --from S` is the full one, `--seed S` one run, with what was said in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what surrounds the tests may unwrap as the tests do"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the forms with arguments tell what came of them"
)]
#![allow(clippy::disallowed_methods, reason = "it waits for other processes")]

mod bad_relay;
mod ghost;
mod hosts;
mod journal;
mod laws;
mod machine;
mod meddler;
mod network;
mod scenario;
mod stage;
mod sweep;
mod trace;
mod verdict;

use anyhow::{Context as _, Result};
use clap::Parser;
use failpoint::Mutation;
use libtest_mimic::{Arguments, Failed, Trial};
use scenario::Scenario;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use sweep::Sweep;
use trace::Recorder;
use tracing_subscriber::layer::SubscriberExt as _;

/// Seeds of the small form.
const SMALL: u64 = 200;

/// How many of them are simulated twice.
const REPLAYED: u64 = 6;

/// Simulated runs
#[derive(Debug, Parser)]
struct Form {
    /// Simulate this seed and print what was said in it
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Simulate so many seeds
    #[arg(long, default_value_t = SMALL)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Write every event of the seed here
    #[arg(long, requires = "seed")]
    trace: Option<PathBuf>,
    /// Break this promise
    #[arg(long, value_parser = mutation)]
    mutation: Option<Mutation>,
}

fn mutation(name: &str) -> Result<Mutation, String> {
    let found = Mutation::SIMULATED
        .iter()
        .find(|mutation| mutation.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Mutation::SIMULATED
            .iter()
            .map(|mutation| mutation.name())
            .collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument.starts_with("--seed") || argument.starts_with("--mutation")) {
        let form = Form::parse();
        let done = match form.seed {
            Some(seed) => {
                machine::hold();
                // This thread has asked for random numbers before.
                thread::scope(|scope| scope.spawn(|| one(seed, &form)).join())
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the simulation panicked")))
            }
            None => many(&form),
        };
        return done.unwrap_or_else(|error| {
            eprintln!("{error:?}");
            ExitCode::from(2)
        });
    }
    let mut arguments = Arguments::from_args();
    // A sweep takes the whole machine.
    arguments.test_threads = Some(1);
    let mut trials = vec![
        Trial::test("no_seed_breaks_a_promise", || {
            let sweep = Sweep::over(1..=SMALL, None)?;
            if let Some(verdict) = sweep.broken.first() {
                return Err(Failed::from(verdict.to_string()));
            }
            // A fault that does nothing breaks nothing.
            match sweep.never_said() {
                None => Ok(()),
                Some(word) => Err(format!("{word:?} was not said in {SMALL} seeds").into()),
            }
        }),
        Trial::test("a_seed_replays_with_the_same_events", || {
            let digests = || -> Result<Vec<String>> { Ok(Sweep::over(1..=REPLAYED, None)?.digests) };
            match digests()? == digests()? {
                true => Ok(()),
                false => Err("other events".into()),
            }
        }),
    ];
    trials.extend(Mutation::SIMULATED.iter().map(|&mutation| {
        Trial::test(
            format!("{}_is_noticed", mutation.name()),
            move || match Sweep::until_broken(1..=SMALL, mutation)? {
                Some(_) => Ok(()),
                None => Err(format!("not in {SMALL} seeds").into()),
            },
        )
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Simulates a seed in this process. The verdict goes to standard output; when it is bad, what was said last to standard error.
fn one(seed: u64, form: &Form) -> Result<ExitCode> {
    if let Some(mutation) = form.mutation {
        mutation.commit();
    }
    let recorder = match &form.trace {
        Some(path) => Recorder::to_file(path).with_context(|| format!("cannot write {}", path.display()))?,
        None => Recorder::default(),
    };
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).context("somebody else listens")?;
    let verdict = stage::play(Scenario::drawn(seed), &recorder)?;
    if !verdict.broken.is_empty() {
        recorder.facts().tail().for_each(|line| eprintln!("{line}"));
    }
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(ExitCode::from(u8::from(!verdict.broken.is_empty())))
}

fn many(form: &Form) -> Result<ExitCode> {
    let sweep = Sweep::over(form.from..=form.from + form.seeds - 1, form.mutation)?;
    for verdict in &sweep.broken {
        println!("{verdict}");
    }
    println!("{}", serde_json::to_string(&sweep)?);
    Ok(ExitCode::from(u8::from(!sweep.broken.is_empty())))
}
