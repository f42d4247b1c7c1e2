//! `adwright completions`: what a shell needs to complete commands and flags, made from the command line itself.

use crate::args::{Cli, CompletionsArgs};
use crate::failure::Outcome;
use crate::output;
use clap::CommandFactory as _;

/// Runs the command.
pub(super) fn run(args: &CompletionsArgs) -> Outcome<()> {
    // Into memory first: the generator gives up when its writer fails, and a closed pipe is no reason to.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "adwright", &mut script);
    output::bytes(&script)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    #[test]
    fn every_shell_is_told_the_commands_and_their_flags() {
        let shells = Shell::value_variants();
        assert_eq!(shells.len(), 5);
        for shell in shells {
            let mut script = vec![];
            clap_complete::generate(*shell, &mut Cli::command(), "adwright", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["reward-server", "doctor", "overlay"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
