//! Where log lines go: standard error, filtered by `RUST_LOG`; and where the stages of samples go, if somebody collects them.
//!
//! It reads the only environment variable that this program knows besides credentials.

mod lines;
mod otlp;
mod spans;

pub(crate) use lines::{are_json as lines_are_json, end};

use crate::config::{Config, LogFormat};
use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::Context as _;
use otlp::Exporter;
use proto::observe::Registry;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is logged when `RUST_LOG` does not say: everything a role does, from information on.
pub(crate) const ROLE: &str = "info,slatedb=warn";

/// What a command with its own progress display logs: only what needs attention, and what it waited for.
pub(crate) const QUIET: &str = "warn,cold_start=info";

/// The target of the lines that say how a model or a catalogue came to this machine.
pub(crate) const COLD_START: &str = "cold_start";

const VARIABLE: &str = "RUST_LOG";

/// What a role tells outside of its protocol. Dropping it sends what is still held.
#[derive(Debug)]
pub(crate) struct Telemetry {
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// That of an actor whose spans nobody takes.
    #[cfg(test)]
    pub(crate) fn in_vain() -> Self {
        let exporter = Exporter::start("http://127.0.0.1:1", "actor", "run");
        Self {
            exporter: Some(exporter.expect("an address and a thread")),
        }
    }

    /// Puts what becomes of spans onto the process's page of numbers.
    pub(crate) fn register(&self, registry: &mut Registry) {
        if let Some(exporter) = &self.exporter {
            exporter.register(registry);
        }
    }
}

/// Installs the subscriber for a process that is no role.
///
/// # Errors
/// A mistake of configuration when `RUST_LOG` is no filter.
pub(crate) fn init(default: &str) -> Outcome<()> {
    let lines = lines::layer(LogFormat::Text).with_filter(filter(default)?);
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}

/// Looks whether what is to be logged can be told.
///
/// # Errors
/// A mistake of configuration when `RUST_LOG` is no filter.
pub(crate) fn check() -> Outcome<()> {
    filter(ROLE).map(drop)
}

/// Installs the subscriber for a process of this role: log lines as they are configured, and spans where they are collected.
///
/// # Errors
/// A mistake of configuration when `RUST_LOG` is no filter; a failed command when the system gives no thread.
pub(crate) fn start(config: &Config, role: impl Into<&'static str>) -> Outcome<Telemetry> {
    let lines = lines::layer(config.telemetry.log_format).with_filter(filter(ROLE)?);
    let exporter = match config.telemetry.otlp.as_str() {
        "" => None,
        collector => Some(Exporter::start(collector, role.into(), &config.run.id)?),
    };
    let spans = exporter.as_ref().map(Exporter::layer);
    tracing_subscriber::registry().with(lines).with(spans).init();
    Ok(Telemetry { exporter })
}

#[expect(clippy::disallowed_methods, reason = "what is logged changes no result")]
fn filter(default: &str) -> Outcome<EnvFilter> {
    match std::env::var_os(VARIABLE) {
        Some(filter) => parse(&filter.to_string_lossy()).or_configuration(),
        None => Ok(EnvFilter::new(default)),
    }
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
