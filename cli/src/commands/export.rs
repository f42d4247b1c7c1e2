//! `adwright export`: an adapter for other programs, alone in PEFT's layout or folded into its base.

use crate::args::ExportArgs;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{locations, node_cache, output, telemetry};
use anyhow::Context as _;
use models::checkpoint::{check_adapter, merge};
use models::peft::Adapter;

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    locations::check_vacant(&args.out)?;
    let config = Config::default();
    let model = node_cache::model(&config, "--model", &args.model)?;
    let adapter = node_cache::model(&config, "--adapter", &args.adapter)?;
    let adapter = Adapter::load_for(&adapter.directory, &model.directory).or_configuration()?;
    if args.merge {
        merge(&model.directory, adapter, &args.out).or_configuration()?;
    } else {
        check_adapter(&model.directory, &adapter).or_configuration()?;
        let write = || adapter.save(&args.out, &model.name);
        write().with_context(|| format!("cannot export to {}", args.out.display()))?;
    }
    output::line(&args.out.display().to_string())?;
    Ok(())
}
