//! `adwright bench`: measurements that need no model.

use crate::args::BenchCommand;
use crate::failure::Outcome;
use crate::{bench, locations, output, telemetry};
use anyhow::Context as _;
use serde::Serialize;
use tokio::runtime::Runtime;

/// Runs the command.
pub(super) fn run(command: &BenchCommand) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    let runtime = runtime()?;
    match command {
        BenchCommand::ControlPlane(args) => {
            let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
            let place = args
                .store
                .clone()
                .unwrap_or_else(|| directory.path().display().to_string());
            let store = locations::open_store("--store", &place)?;
            let figures = runtime.block_on(bench::control_plane(args, store))?;
            show(&figures, args.json)
        }
        BenchCommand::Broadcast(args) => {
            let figures = runtime.block_on(bench::broadcast(args))?;
            show(&figures, args.json)
        }
    }
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
