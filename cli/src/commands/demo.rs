//! `adwright demo`: checks everything that can be checked, then runs it.

use crate::args::DemoArgs;
use crate::demo::{self, Plan};
use crate::failure::Outcome;
use crate::{role, telemetry};

/// Runs the command.
pub(super) fn run(args: &DemoArgs) -> Outcome<()> {
    let plan = Plan::new(args)?;
    telemetry::init(telemetry::QUIET);
    // This process only measures; its children get their own thread counts.
    let mut own = plan.config.clone();
    own.compute.threads = plan.config.demo.threads.evaluation;
    let (runtime, shutdown) = role::start(&own, args.compute.with_parent)?;
    plan.check_earlier()?;
    runtime.block_on(demo::run(plan, shutdown))
}
