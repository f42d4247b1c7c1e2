//! Where log lines go: standard error, filtered by `RUST_LOG`.
//!
//! It reads the only environment variable that this program knows besides credentials.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::Context as _;
use std::io::{self, IsTerminal as _};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged when `RUST_LOG` does not say: everything a role does, from information on.
pub(crate) const ROLE: &str = "info,slatedb=warn";

/// What a command with its own progress display logs: only what needs attention, and what it waited for.
pub(crate) const QUIET: &str = "warn,cold_start=info";

/// The target of the lines that say how a model or a catalogue came to this machine.
pub(crate) const COLD_START: &str = "cold_start";

const VARIABLE: &str = "RUST_LOG";

/// Installs the subscriber for this process.
///
/// # Errors
/// A mistake of configuration when `RUST_LOG` is no filter.
#[expect(clippy::disallowed_methods, reason = "what is logged changes no result")]
pub(crate) fn init(default: &str) -> Outcome<()> {
    let filter = match std::env::var_os(VARIABLE) {
        Some(filter) => parse(&filter.to_string_lossy()).or_configuration()?,
        None => EnvFilter::new(default),
    };
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| {
        format!("{VARIABLE}={filter:?} is no log filter; name levels such as info or learner=debug,info")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_its_variable() {
        assert!(parse("learner=debug,info").is_ok());
        let message = parse("learner=loud").unwrap_err().to_string();
        assert!(message.contains("RUST_LOG=\"learner=loud\""), "{message}");
    }
}
