//! `adwright report`: the results of earlier demos as one table in Markdown, a row each.

use crate::args::ReportArgs;
use crate::demo::{Report, results_table};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::Context as _;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Outcome<()> {
    let reports: anyhow::Result<Vec<Report>> = args.directories.iter().map(|path| read(path)).collect();
    for line in results_table(&reports.or_configuration()?) {
        output::line(&line)?;
    }
    Ok(())
}

fn read(directory: &Path) -> anyhow::Result<Report> {
    let path = directory.join("report.json");
    let bytes = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}; name the output of a finished demo",
            path.display()
        )
    })?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not a demo's report", path.display()))
}
