//! `adwright bench`: measurements of what roles do together.

use crate::args::{BenchCommand, BroadcastArgs, ControlPlaneArgs, SoakArgs, StalenessArgs};
use crate::config::Config;
use crate::demo::{self, Plan, SoakFigures};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::role::Host;
use crate::{allocator, bench, locations, output, telemetry};
use anyhow::{Context as _, anyhow};
use serde::Serialize;
use std::time::Duration;
use store::StoreSettings;
use tokio::runtime::Runtime;

/// A tenth of it still has readings enough for a median.
const SHORTEST_SOAK: Duration = Duration::from_secs(60);

/// Runs the command.
pub(super) fn run(command: &BenchCommand) -> Outcome<()> {
    match command {
        BenchCommand::ControlPlane(args) => control_plane(args),
        BenchCommand::Broadcast(args) => broadcast(args),
        BenchCommand::Staleness(args) => staleness(args),
        BenchCommand::Soak(args) => soak(args),
    }
}

fn control_plane(args: &ControlPlaneArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let own = || directory.path().display().to_string();
    let store = locations::open_store(
        "--store",
        &args.store.clone().unwrap_or_else(own),
        &StoreSettings::default(),
    )?;
    let figures = runtime()?.block_on(bench::control_plane(args, store))?;
    Ok(show(&figures, args.json)?)
}

fn broadcast(args: &BroadcastArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    // As the actors' own processes do.
    allocator::gives_back()?;
    let figures = runtime()?.block_on(bench::broadcast(args))?;
    Ok(show(&figures, args.json)?)
}

fn staleness(args: &StalenessArgs) -> Outcome<()> {
    let bounds = bench::Bounds::new(args)?;
    telemetry::init(telemetry::QUIET)?;
    let host = measuring(&bounds.first().config, args.demo.compute.with_parent)?;
    let shutdown = host.shutdown();
    let figures = host.run(bounds.run(shutdown))?;
    Ok(show(&figures, args.json)?)
}

/// What a soak learns by: a policy that learns as in a demo comes to say the same of a product in every candidate, and after some fifty
/// versions there are no pairs left to go on with.
const SMALL_STEPS: &str = "learner.optimizer.learning_rate=0.00001";

fn soak(args: &SoakArgs) -> Outcome<()> {
    let time = Duration::try_from_secs_f64(args.minutes * 60.0).ok();
    let time = time.filter(|time| *time >= SHORTEST_SOAK);
    let time = time.context(format!("--minutes {}: expected 1 or more", args.minutes));
    let time = time.or_configuration()?;
    if args.demo.rounds.is_some() || !args.demo.compare.is_empty() {
        let given = anyhow!("a soak lasts --minutes and has one loss: leave out --rounds and --compare");
        return Err(given).or_configuration();
    }
    let mut demo = args.demo.clone();
    // Whatever the command line sets counts after it.
    demo.config.sets.insert(0, SMALL_STEPS.to_owned());
    let plan = Plan::new(&demo)?;
    plan.check_earlier()?;
    telemetry::init(telemetry::QUIET)?;
    let host = measuring(&plan.config, args.demo.compute.with_parent)?;
    let shutdown = host.shutdown();
    let tell = |figures: &SoakFigures| show(figures, args.json);
    host.run(demo::soak(plan, time, shutdown, tell))
}

/// A process that only measures: its children get their own thread counts.
fn measuring(config: &Config, with_parent: bool) -> anyhow::Result<Host> {
    let mut own = config.clone();
    own.compute.threads = own.demo.threads.evaluation;
    Host::start(&own, with_parent)
}

/// As many threads as there are cores: learner, actors and connections share them.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the async runtime")
}

/// One JSON object, or a line a figure.
fn show(figures: &impl Serialize, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(output::json(figures)?);
    }
    let figures = serde_json::to_value(figures).context("figures")?;
    for (name, value) in figures.as_object().into_iter().flatten() {
        output::line(&format!("{name:<22}{value}"))?;
    }
    Ok(())
}
