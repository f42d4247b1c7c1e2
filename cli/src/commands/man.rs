//! `adwright man`: the command line as man pages.

use crate::args::{Cli, ManArgs};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &ManArgs) -> Outcome<()> {
    let Some(directory) = &args.out else {
        let mut page = vec![];
        man(Cli::command()).render(&mut page)?;
        output::bytes(&page)?;
        return Ok(());
    };
    let shown = directory.display();
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {shown}"))
        .or_configuration()?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write(&command, directory).with_context(|| format!("cannot write pages into {shown}"))?;
    output::line(&format!(
        "man pages are in {shown}; read one with `man {shown}/adwright.1`"
    ))?;
    Ok(())
}

/// The page of a command. Each says which program it belongs to: the library would say the command's name there.
fn man(command: Command) -> Man {
    Man::new(command).source(concat!("adwright ", env!("CARGO_PKG_VERSION")))
}

/// Writes the pages of a command and of those below it.
fn write(command: &Command, directory: &Path) -> std::io::Result<()> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    for below in below {
        write(below, directory)?;
    }
    man(command.clone()).generate_to(directory).map(drop)
}
