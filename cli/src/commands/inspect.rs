//! `adwright inspect`: what the directory of a model or an adapter holds and whether it is whole.

use crate::args::InspectArgs;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{node_cache, output, telemetry};
use anyhow::anyhow;
use models::checkpoint::{Inspection, inspect};

/// Runs the command.
pub(super) fn run(args: &InspectArgs) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    let local = node_cache::model(&Config::default(), "DIR", &args.directory)?;
    let found = inspect(&local.directory).or_configuration()?;
    if args.json {
        output::json(&found)?;
    } else {
        describe(&found)?;
    }
    let lacking = found.missing.len() + found.misshaped.len();
    if lacking == 0 {
        return Ok(());
    }
    Err(anyhow!(
        "{}: {lacking} weights are missing or of another shape",
        args.directory.display()
    )
    .into())
}

fn describe(found: &Inspection) -> std::io::Result<()> {
    let dtypes = found
        .dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} {dtype}"));
    let lines = [
        (
            "layout",
            format!("{}", serde_json::to_value(found.layout).unwrap_or_default()),
        ),
        ("parameters", found.parameters.to_string()),
        ("formats", dtypes.collect::<Vec<_>>().join(", ")),
        (
            "vocabulary",
            found.vocab_size.map(|size| size.to_string()).unwrap_or_default(),
        ),
        ("tokenizer", found.tokenizer.unwrap_or_default().into()),
        ("template", found.template.unwrap_or_default().into()),
        ("missing", found.missing.join(", ")),
        ("unused", found.unused.join(", ")),
        ("other shape", found.misshaped.join(", ")),
        ("digest", found.digest.clone()),
    ];
    lines
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .try_for_each(|(name, text)| output::line(&format!("{name:<12}{text}")))
}
