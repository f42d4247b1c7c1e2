//! `adwright checkpoint pull`: a whole checkpoint in a directory.

use crate::args::PullArgs;
use crate::failure::Outcome;
use crate::run_place::RunPlace;
use crate::{locations, output, role};
use learner::pull_checkpoint;

/// Runs the command.
pub(super) fn run(args: &PullArgs) -> Outcome<()> {
    let RunPlace { store, run, .. } = RunPlace::find(&args.which.place)?;
    locations::check_vacant(&args.out)?;
    let pulling = pull_checkpoint(&store, &run, args.version, &args.out);
    let pulled = role::small_runtime()?.block_on(pulling).map_err(super::blame)?;
    if args.which.json {
        return Ok(output::json(&pulled)?);
    }
    let (version, directory) = (pulled.version, pulled.directory.display());
    Ok(output::line(&format!(
        "{version}: {} bytes in {directory}",
        pulled.bytes
    ))?)
}
