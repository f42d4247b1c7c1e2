//! `adwright learner`: serves and trains one run.

use crate::args::LearnerArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::role::Host;
use crate::shop::Shop;
use crate::{locations, role, telemetry};
use anyhow::Context as _;
use common::{LearnerEpoch, RunId};
use learner::{LearnerInputs, RunSummary};
use proto::AllowLoopback;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs the command.
pub(super) fn run(args: &LearnerArgs) -> Outcome<()> {
    let config = super::role_layers(&args.role, "endpoints.learner_listen")
        .flag("--policy", "paths.policy", args.policy.clone())
        .flag("--adapter", "paths.adapter", args.adapter.clone())
        .sets(&args.role.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE)?;
    let host = Host::start(&config, args.role.compute.with_parent)?;
    let shutdown = host.shutdown();
    // Everything that may be wrong comes before the first thing that is written.
    locations::check_model(Path::new(&config.paths.policy), "pretrain")?;
    let run_id = RunId::new(config.run.id.as_str()).or_configuration()?;
    let epoch = epoch(config.learner.deterministic)?;
    let placement = config.compute.placement().or_configuration()?;
    let catalogue = Shop::open(&config)?.catalogue;
    learner::check_catalogue(&config.learner, catalogue.as_ref()).map_err(super::blame_learner)?;
    host.run(async {
        let (listener, address) = role::bind(&config.endpoints.learner_listen).await?;
        let inputs = LearnerInputs {
            run_id,
            run_seed: config.run.seed,
            epoch,
            completion_tokens: config.actor.max_new_tokens,
            catalogue,
            store: locations::open_store("store.url", &config.store.url)?,
            adapter: locations::open_store("paths.adapter", &config.paths.adapter)?,
            base_model: args
                .policy_name
                .clone()
                .unwrap_or_else(|| config.paths.policy.clone()),
            policy_dir: config.paths.policy.clone().into(),
            policy_reading: config.policy.reading(),
            steps_file: args.steps.clone(),
            pairs_dir: args.pairs.clone(),
            placement,
            threads: config.compute.threads,
            authorizer: Arc::new(AllowLoopback),
        };
        let service = learner::run(config.learner.clone(), inputs, listener, shutdown);
        let summary = role::serve(Role::Learner, address, service)
            .await?
            .map_err(super::blame_learner)?;
        tracing::info!(version = %summary.version, complete = summary.complete, "learner finished");
        args.summary
            .as_deref()
            .map_or(Ok(()), |path| write_summary(path, &summary))
    })
}

/// Seconds since the Unix epoch: a later start of a learner has a higher epoch, without any state to remember the earlier
/// ones by. It stands in for the count that a durable ledger will fence. Two starts of a deterministic run publish the same
/// bytes, and so the same versions.
#[expect(
    clippy::disallowed_methods,
    reason = "a later start needs a higher number, and nothing else is kept"
)]
fn epoch(deterministic: bool) -> anyhow::Result<LearnerEpoch> {
    if deterministic {
        return Ok(LearnerEpoch(1));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.context("the system's clock stands before 1970")?;
    Ok(LearnerEpoch(since.as_secs()))
}

fn write_summary(path: &Path, summary: &RunSummary) -> Outcome<()> {
    let json = serde_json::to_vec_pretty(summary)?;
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_a_later_start_publishes_other_versions_unless_its_bytes_are_the_same() {
        // A billion seconds are the year 2001.
        assert!(epoch(false).unwrap() > LearnerEpoch(1_000_000_000));
        assert_eq!(epoch(true).unwrap(), LearnerEpoch(1));
    }
}
