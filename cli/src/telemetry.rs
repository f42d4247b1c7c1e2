//! Where log lines go: standard error, filtered by `RUST_LOG`.
//!
//! It reads the only environment variable that this program knows besides credentials.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged when `RUST_LOG` does not say: everything a role does, from information on.
pub(crate) const ROLE: &str = "info";

/// What a command with its own progress display logs: only what needs attention.
pub(crate) const QUIET: &str = "warn";

/// Installs the subscriber for this process.
pub(crate) fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines).init();
}
