//! `adwright checkpoint rollback`: the next start goes on from an earlier checkpoint.

use crate::args::RollbackArgs;
use crate::failure::Outcome;
use crate::run_place::RunPlace;
use crate::{output, role};
use learner::roll_back;

/// Runs the command.
pub(super) fn run(args: &RollbackArgs) -> Outcome<()> {
    let RunPlace { store, run, .. } = RunPlace::find(&args.which.place)?;
    let rolling = roll_back(&store, &run, args.to);
    let done = role::small_runtime()?.block_on(rolling).map_err(super::blame)?;
    if args.which.json {
        return Ok(output::json(&done)?);
    }
    output::line(&format!("the next start of run {run} goes on from {}", done.to))?;
    if !done.left_behind.is_empty() {
        let left: Vec<String> = done.left_behind.iter().map(ToString::to_string).collect();
        output::line(&format!("left behind: {}", left.join(", ")))?;
    }
    Ok(())
}
