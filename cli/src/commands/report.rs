//! `adwright report`: the results of earlier demos as one table in Markdown, a row each, and whether they reach a goal.

use crate::args::ReportArgs;
use crate::demo::{Report, Verdict, results_table};
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::output;
use anyhow::{Context as _, anyhow};
use std::path::{Path, PathBuf};

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Outcome<()> {
    let reports = all(&args.directories)?;
    let verdict = match args.goal {
        Some(goal) => Some(goal.judge(&reports, &all(&args.against)?).or_configuration()?),
        None => None,
    };
    for line in results_table(&reports) {
        output::line(&line)?;
    }
    let Some(Verdict { reached, told }) = verdict else {
        return Ok(());
    };
    output::line("")?;
    output::line(&format!("Goal: {told}."))?;
    match reached {
        true => Ok(()),
        false => Err(Failure::Run(anyhow!("the goal is not reached"))),
    }
}

fn all(directories: &[PathBuf]) -> Outcome<Vec<Report>> {
    let reports: anyhow::Result<_> = directories.iter().map(|path| read(path)).collect();
    reports.or_configuration()
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
