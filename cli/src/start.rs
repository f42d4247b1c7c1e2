//! How a role begins: everything that can be checked is checked, while the process can already be watched and asked to stop; then it goes
//! on, or tells all that is wrong. It has taken, written and computed nothing by then.

use crate::checks::{Checks, Process};
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::monitoring::Watched;
use crate::ready::Role;
use crate::role::Host;
use crate::security::Security;
use crate::telemetry::{self, Telemetry};
use anyhow::anyhow;
use models::device::Placement;
use proto::observe::{Pulse, Registry};

/// What a role is asked to do, whichever it is.
pub(crate) struct Asked<'a> {
    /// Which role.
    pub(crate) role: Role,
    /// Whether it ends with its standard input.
    pub(crate) with_parent: bool,
    /// Its status when it is stopped before its run is complete.
    pub(crate) unfinished_status: u8,
    /// Whether it takes part and comes along.
    pub(crate) pulse: &'a Pulse,
}

/// A role that nothing is in the way of, as far as can be known.
pub(crate) struct Started<T> {
    /// Its process.
    pub(crate) host: Host,
    /// What it is configured with.
    pub(crate) config: Config,
    /// Who it is, and whom it believes.
    pub(crate) security: Security,
    /// Where it computes.
    pub(crate) placement: Placement,
    /// What was opened while it was looked at.
    pub(crate) found: T,
    /// What sends its spans, for as long as it lasts.
    pub(crate) telemetry: Telemetry,
}

/// Starts the process of a role, whose numbers `register` puts onto its page, and looks at everything that the role asks for. `None` when
/// it was asked to stop meanwhile.
///
/// # Errors
/// All that is wrong; when the system gives no threads; [`Failure::Unfinished`].
pub(crate) fn start<T: Send + 'static>(
    asked: &Asked<'_>,
    mut checks: Checks,
    register: impl FnOnce(&mut Registry),
    look: impl FnOnce(&mut Checks) -> T + Send + 'static,
) -> Outcome<Option<Started<T>>> {
    let role = asked.role;
    checks.argument(telemetry::check());
    if !checks.are_passed() {
        // Nothing is started with these; what else is wrong is told with them.
        checks.process(role);
        look(&mut checks);
        return Err(checks.finish().err().unwrap_or_else(|| lost(role)));
    }
    let telemetry = telemetry::start(checks.config(), role)?;
    // From here on a signal is obeyed.
    let host = Host::start(checks.config(), asked.with_parent)?;
    let Process { security, placement } = checks.process(role);
    if let Some(security) = &security
        && !checks.has_mistake("telemetry.metrics_listen")
    {
        let watched = Watched::of(role, asked.pulse, &telemetry, security, register);
        host.watch(checks.config(), watched)?;
    }
    let looked = host.prepare(move || {
        let found = look(&mut checks);
        Ok((checks.finish()?, found))
    })?;
    let Some((config, found)) = looked else {
        return host.stop_early(asked.unfinished_status).map(|()| None);
    };
    Ok(Some(Started {
        security: security.ok_or_else(|| lost(role))?,
        placement: placement.ok_or_else(|| lost(role))?,
        host,
        config,
        found,
        telemetry,
    }))
}

/// What was looked at neither opened nor was wrong.
fn lost(role: Role) -> Failure {
    anyhow!("what the {} stands on was not opened", role.name()).into()
}
