//! `adwright bench`: measurements that need no model.

use crate::args::{BenchCommand, BroadcastArgs, ControlPlaneArgs, StalenessArgs};
use crate::failure::Outcome;
use crate::role::Host;
use crate::{bench, locations, output, telemetry};
use anyhow::Context as _;
use serde::Serialize;
use store::StoreSettings;
use tokio::runtime::Runtime;

/// Runs the command.
pub(super) fn run(command: &BenchCommand) -> Outcome<()> {
    match command {
        BenchCommand::ControlPlane(args) => control_plane(args),
        BenchCommand::Broadcast(args) => broadcast(args),
        BenchCommand::Staleness(args) => staleness(args),
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
    show(&figures, args.json)
}

fn broadcast(args: &BroadcastArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    let figures = runtime()?.block_on(bench::broadcast(args))?;
    show(&figures, args.json)
}

fn staleness(args: &StalenessArgs) -> Outcome<()> {
    let bounds = bench::Bounds::new(args)?;
    telemetry::init(telemetry::QUIET)?;
    // This process only measures; its children get their own thread counts.
    let mut own = bounds.first().config.clone();
    own.compute.threads = own.demo.threads.evaluation;
    let host = Host::start(&own, args.demo.compute.with_parent)?;
    let shutdown = host.shutdown();
    let figures = host.run(bounds.run(shutdown))?;
    show(&figures, args.json)
}

/// As many threads as there are cores: learner, actors and connections share them.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the async runtime")
}

/// One JSON object, or a line a figure.
fn show(figures: &impl Serialize, json: bool) -> Outcome<()> {
    if json {
        return Ok(output::json(figures)?);
    }
    let figures = serde_json::to_value(figures).context("figures")?;
    for (name, value) in figures.as_object().into_iter().flatten() {
        output::line(&format!("{name:<22}{value}"))?;
    }
    Ok(())
}
