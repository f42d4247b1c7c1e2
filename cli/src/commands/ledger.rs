//! `adwright ledger`: what a run has recorded.

use crate::args::{LedgerCommand, RunPlaceArgs};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::run_place::RunPlace;
use crate::{output, role, telemetry};
use learner::{ImageCounts, LedgerSummary, LedgerView};

/// Runs the command.
pub(super) fn run(command: &LedgerCommand) -> Outcome<()> {
    telemetry::init(telemetry::QUIET)?;
    match command {
        LedgerCommand::Inspect { place, json } => {
            let summary = role::small_runtime()?.block_on(summary(place))?;
            if *json {
                return Ok(output::json(&summary)?);
            }
            describe(&summary)
        }
        LedgerCommand::Export { place } => role::small_runtime()?.block_on(export(place)),
    }
}

async fn export(place: &RunPlaceArgs) -> Outcome<()> {
    let view = open(place).await?;
    let mut lines = view.lines().await?;
    while let Some(line) = lines.next().await? {
        output::json(&line)?;
    }
    Ok(())
}

async fn summary(place: &RunPlaceArgs) -> Outcome<LedgerSummary> {
    Ok(open(place).await?.summary().await?)
}

async fn open(place: &RunPlaceArgs) -> Outcome<LedgerView> {
    let RunPlace { store, run, .. } = RunPlace::find(place)?;
    LedgerView::open(&store, &run).await.or_configuration()
}

fn describe(summary: &LedgerSummary) -> Outcome<()> {
    let version = summary.version.map(|version| version.to_string());
    let ImageCounts {
        present,
        expired,
        missing,
    } = summary.images;
    let images = format!("{present} present, {expired} expired, {missing} missing");
    let lines = [
        ("run", summary.run_id.to_string()),
        ("seed", summary.run_seed.to_string()),
        ("epoch", summary.epoch.to_string()),
        ("tasks", summary.tasks.to_string()),
        ("outcomes", summary.outcomes.to_string()),
        ("trained", format!("{} pairs", summary.pairs_trained)),
        ("refused", refused(summary)),
        ("images", images),
        ("version", version.unwrap_or_else(|| "none".into())),
    ];
    for (name, text) in lines {
        output::line(&format!("{name:<12}{text}"))?;
    }
    Ok(())
}

fn refused(summary: &LedgerSummary) -> String {
    let by_reason = &summary.pairs_refused;
    let total = format!("{} pairs", by_reason.values().sum::<u64>());
    let counts = by_reason
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"));
    let all: Vec<String> = [total].into_iter().chain(counts).collect();
    all.join(", ")
}
