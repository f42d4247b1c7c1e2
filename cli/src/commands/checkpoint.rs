//! `adwright checkpoint`: what a run can go on from.

use crate::args::{CheckpointCommand, CheckpointsArgs};
use crate::failure::Outcome;
use crate::{locations, output, role, telemetry};
use anyhow::anyhow;
use learner::{CheckpointLine, list_checkpoints};
use serde::Serialize;

/// What `--json` prints.
#[derive(Serialize)]
struct Listed<'a> {
    checkpoints: &'a [CheckpointLine],
}

/// Runs the command.
pub(super) fn run(command: &CheckpointCommand) -> Outcome<()> {
    let (args, verify) = match command {
        CheckpointCommand::List(args) => (args, false),
        CheckpointCommand::Verify(args) => (args, true),
    };
    telemetry::init(telemetry::QUIET)?;
    let CheckpointsArgs { place, json } = args;
    let (store, run) = (locations::existing_store("--store", &place.store)?, place.run()?);
    let lines = role::small_runtime()?.block_on(list_checkpoints(&store, &run, verify))?;
    if *json {
        output::json(&Listed { checkpoints: &lines })?;
    } else {
        for line in &lines {
            output::line(&told(line))?;
        }
    }
    let broken = lines.iter().filter(|line| line.problem.is_some()).count();
    if broken > 0 {
        return Err(anyhow!(
            "{broken} of {} checkpoints of run {run} are not whole",
            lines.len()
        )
        .into());
    }
    if lines.is_empty() {
        return Err(anyhow!("run {run} has no checkpoint in {}", place.store).into());
    }
    Ok(())
}

fn told(line: &CheckpointLine) -> String {
    let content = line.content.as_ref().map_or_else(String::new, |content| {
        let parent = content
            .parent
            .map_or_else(String::new, |parent| format!(", went on from {parent}"));
        format!(
            "step {}, {} pairs trained, ledger read to {}{parent}",
            content.steps, content.pairs_trained, content.cursor
        )
    });
    let problem = line.problem.as_deref().unwrap_or_default();
    format!("{:<10}{content}{problem}", line.version.to_string())
}
