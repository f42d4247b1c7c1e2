//! `adwright`, the one program: a subcommand per role, and `demo`, which runs all of them on one machine.
//!
//! This crate wires: it reads arguments and configuration, opens what the services need, runs them and shows what comes
//! out. It says nothing of how they work.

mod allocator;
mod args;
mod authority;
mod bench;
mod checks;
mod commands;
mod config;
mod demo;
mod diffusion;
mod doctor;
mod evaluation;
mod events;
mod failure;
mod launch;
mod locations;
mod monitoring;
mod node_cache;
mod observer;
mod output;
mod peer;
mod progress;
mod ready;
mod reward;
mod role;
mod run_place;
mod security;
mod shop;
mod shutdown;
mod start;
mod status;
mod telemetry;

use clap::Parser as _;
use failure::CONFIGURATION;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before there are threads.
    allocator::share_one_heap();
    if let Err(mistake) = failpoint::arm() {
        writeln!(std::io::stderr(), "{mistake}").ok();
        return ExitCode::from(CONFIGURATION);
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, mistakes to standard error; neither can be told if that is closed.
            error.print().ok();
            return if error.use_stderr() {
                ExitCode::from(CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_unread() {
                telemetry::end(&failure);
            }
            failure.exit_code()
        }
    }
}
