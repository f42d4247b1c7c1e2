//! `adwright export`: an adapter for other programs, alone in PEFT's layout or folded into its base.

use crate::args::ExportArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{locations, output, telemetry};
use anyhow::Context as _;
use models::checkpoint::{check_adapter, merge};
use models::peft::Adapter;

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    locations::check_vacant(&args.out)?;
    let adapter = Adapter::load_for(&args.adapter, &args.model).or_configuration()?;
    if args.merge {
        merge(&args.model, adapter, &args.out).or_configuration()?;
    } else {
        check_adapter(&args.model, &adapter).or_configuration()?;
        let base = args.model.display().to_string();
        let write = || adapter.save(&args.out, &base);
        write().with_context(|| format!("cannot export to {}", args.out.display()))?;
    }
    output::line(&args.out.display().to_string())?;
    Ok(())
}
