//! `adwright checkpoint`: what a run can go on from.

mod export;
mod pull;
mod rollback;

use crate::args::{CheckpointCommand, CheckpointsArgs};
use crate::failure::{Failure, Outcome};
use crate::run_place::RunPlace;
use crate::{output, role, telemetry};
use anyhow::anyhow;
use learner::{CheckpointLine, LearnerError, list_checkpoints};
use serde::Serialize;
use store::StoreError;

/// What `--json` prints.
#[derive(Serialize)]
struct Listed<'a> {
    checkpoints: &'a [CheckpointLine],
}

/// Runs the command.
pub(super) fn run(command: &CheckpointCommand) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    match command {
        CheckpointCommand::List(args) => list(args, false),
        CheckpointCommand::Verify(args) => list(args, true),
        CheckpointCommand::Pull(args) => pull::run(args),
        CheckpointCommand::Export(args) => export::run(args),
        CheckpointCommand::Rollback(args) => rollback::run(args),
    }
}

/// A checkpoint that is not there was mistyped, everything else is a failed command.
fn blame(error: LearnerError) -> Failure {
    match error {
        LearnerError::Store(StoreError::NotFound { .. }) => Failure::Configuration(error.into()),
        other => Failure::Run(other.into()),
    }
}

fn list(args: &CheckpointsArgs, verify: bool) -> Outcome<()> {
    let RunPlace { store, run, .. } = RunPlace::find(&args.place)?;
    let lines = role::small_runtime()?.block_on(list_checkpoints(&store, &run, verify))?;
    if args.json {
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
        return Err(anyhow!("run {run} has no checkpoint in {}", store.url()).into());
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
    let left = if line.left_behind {
        ", left behind by a rollback"
    } else {
        ""
    };
    let problem = line.problem.as_deref().unwrap_or_default();
    format!("{:<10}{content}{problem}{left}", line.version.to_string())
}
