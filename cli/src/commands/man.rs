//! `adwright man`: the command line as man pages.

use crate::args::{Cli, ManArgs};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::Context as _;
use clap::CommandFactory as _;

/// Runs the command.
pub(super) fn run(args: &ManArgs) -> Outcome<()> {
    let Some(directory) = &args.out else {
        let mut page = vec![];
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        output::bytes(&page)?;
        return Ok(());
    };
    let shown = directory.display();
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {shown}"))
        .or_configuration()?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write pages into {shown}"))?;
    output::line(&format!(
        "man pages are in {shown}; read one with `man {shown}/adwright.1`"
    ))?;
    Ok(())
}
