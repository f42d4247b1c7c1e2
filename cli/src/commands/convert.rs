//! `adwright convert`: a policy's directory in another layout.

use crate::args::{ConvertArgs, ConvertTo};
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{locations, node_cache, output, telemetry};
use models::checkpoint::{Target, convert};

/// Runs the command.
pub(super) fn run(args: &ConvertArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    locations::check_vacant(&args.out)?;
    let target = match args.to {
        ConvertTo::LlavaHf => Target::LlavaHf,
        ConvertTo::LlavaOriginal => Target::LlavaOriginal,
    };
    let local = node_cache::model(&Config::default(), "DIR", &args.directory)?;
    convert(&local.directory, target, &args.out).or_configuration()?;
    output::line(&args.out.display().to_string())?;
    Ok(())
}
