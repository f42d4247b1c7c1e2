//! `adwright doctor`: what would keep a job from running, before it is launched.

use crate::args::DoctorArgs;
use crate::config::{Layers, Mistake};
use crate::doctor::{self, Fault, Finding, Job, Level};
use crate::failure::{Failure, Outcome};
use crate::{output, telemetry};
use anyhow::{Context as _, anyhow};
use console::Style;
use serde_json::json;
use std::time::Duration;

/// Runs the command.
pub(super) fn run(args: &DoctorArgs) -> Outcome<()> {
    // What a check found is its result, not a log line.
    telemetry::init("error")?;
    let layers = Layers::default()
        .files(&args.config.config)
        .sets(&args.config.sets);
    let (config, mistakes) = layers.examine();
    let findings = if mistakes.is_empty() {
        let (job, patience) = (
            Job {
                config,
                role: args.role,
            },
            Duration::from_secs(args.timeout),
        );
        examine(job, patience)?
    } else {
        // Checks of a wrong configuration would mislead.
        mistakes.iter().map(of_configuration).collect()
    };
    let counts = Counts::of(&findings);
    match args.json {
        true => output::json(&json!({"findings": findings, "summary": counts.json()}))?,
        false => show(&findings, &counts)?,
    }
    verdict(&findings, &counts)
}

fn examine(job: Job, patience: Duration) -> Outcome<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let findings = runtime.block_on(doctor::examine(job, patience));
    // A check that hangs is not waited for.
    runtime.shutdown_background();
    Ok(findings)
}

fn of_configuration(mistake: &Mistake) -> Finding {
    Finding::mistake("configuration", "", mistake.to_string())
}

/// How many findings of each level.
struct Counts {
    ok: usize,
    warnings: usize,
    errors: usize,
}

impl Counts {
    fn of(findings: &[Finding]) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self {
            ok: count(Level::Ok),
            warnings: count(Level::Warning),
            errors: count(Level::Error),
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({"ok": self.ok, "warnings": self.warnings, "errors": self.errors})
    }

    fn words(&self) -> String {
        let of = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        format!(
            "{} ok, {}, {}",
            self.ok,
            of(self.warnings, "warning"),
            of(self.errors, "error")
        )
    }
}

fn show(findings: &[Finding], counts: &Counts) -> std::io::Result<()> {
    for finding in findings {
        // Colours only where a terminal shows them.
        let style = match finding.level {
            Level::Ok => Style::new().green(),
            Level::Warning => Style::new().yellow(),
            Level::Error => Style::new().red(),
        };
        let level = style.apply_to(format!("{:<8}", finding.level.name()));
        let subject = match finding.subject.is_empty() {
            true => String::new(),
            false => format!("{}: ", finding.subject),
        };
        let found = output::plain(&finding.found);
        output::line(&format!("{level}{:<14}{subject}{found}", finding.check))?;
        if let Some(right) = finding.right.as_ref().filter(|_| finding.level != Level::Ok) {
            output::line(&format!("{:<22}expected {}", "", output::plain(right)))?;
        }
    }
    output::line(&counts.words())
}

fn verdict(findings: &[Finding], counts: &Counts) -> Outcome<()> {
    if counts.errors == 0 {
        return Ok(());
    }
    let told = anyhow!(
        "{}: a job with this configuration would fail here",
        counts.words()
    );
    let mistaken = findings
        .iter()
        .any(|finding| finding.fault == Some(Fault::Configuration));
    Err(match mistaken {
        true => Failure::Configuration(told),
        false => Failure::Run(told),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_errors_are_told_from_the_environments() {
        let verdict_of = |findings: Vec<Finding>| verdict(&findings, &Counts::of(&findings));
        let (ok, warning) = (Finding::ok("a", "", ""), Finding::warning("a", "", ""));
        assert!(verdict_of(vec![ok, warning]).is_ok());
        let outage = verdict_of(vec![Finding::error("a", "", "")]);
        assert!(matches!(outage, Err(Failure::Run(_))));
        let mistake = verdict_of(vec![Finding::error("a", "", ""), Finding::mistake("a", "", "")]);
        assert!(matches!(mistake, Err(Failure::Configuration(_))));
    }
}
