//! `adwright demo`: checks everything that can be checked, then runs it.

use crate::args::DemoArgs;
use crate::demo::{self, Plan};
use crate::failure::Outcome;
use crate::role::Host;
use crate::telemetry;

/// Runs the command.
pub(super) fn run(args: &DemoArgs) -> Outcome<()> {
    let plan = Plan::new(args)?;
    telemetry::init(telemetry::QUIET)?;
    // This process only measures; its children get their own thread counts.
    let mut own = plan.config.clone();
    own.compute.threads = plan.config.demo.threads.evaluation;
    let host = Host::start(&own, args.compute.with_parent)?;
    let shutdown = host.shutdown();
    plan.check_earlier()?;
    host.run(demo::run(plan, shutdown))
}
