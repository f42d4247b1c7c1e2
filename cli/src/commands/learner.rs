//! `adwright learner`: serves and trains one run.

use crate::args::LearnerArgs;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::shop::Shop;
use crate::{locations, role, telemetry};
use anyhow::Context as _;
use common::RunId;
use learner::{LearnerError, LearnerInputs, RunSummary};
use models::device::parse_device;
use proto::AllowLoopback;
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub(super) fn run(args: &LearnerArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .flag("--listen", "endpoints.learner_listen", args.listen.clone())
        .flag("--store", "store.url", args.store.clone())
        .flag("--policy", "paths.policy", args.policy.clone())
        .flag("--adapter", "paths.adapter", args.adapter.clone())
        .flag(
            "--deterministic",
            "learner.deterministic",
            args.deterministic.then_some(true),
        )
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE);
    let (runtime, shutdown) = role::start(&config, args.compute.with_parent)?;
    locations::check_model(Path::new(&config.paths.policy), "pretrain")?;
    let base_model = args.policy_name.clone();
    let inputs = LearnerInputs {
        run_id: RunId::new(config.run.id.as_str()).or_configuration()?,
        run_seed: config.run.seed,
        catalogue: Shop::open(&config)?.catalogue,
        adapter: locations::open_store("paths.adapter", &config.paths.adapter)?,
        store: locations::open_store("store.url", &config.store.url)?,
        policy_dir: config.paths.policy.clone().into(),
        base_model: base_model.unwrap_or_else(|| config.paths.policy.clone()),
        device: parse_device(&config.compute.device).or_configuration()?,
        threads: config.compute.threads,
        authorizer: Arc::new(AllowLoopback),
    };
    runtime.block_on(async {
        let (listener, address) = role::bind(&config.endpoints.learner_listen).await?;
        let service = learner::run(config.learner.clone(), inputs, listener, shutdown);
        let summary = role::serve(Role::Learner, address, service)
            .await?
            .map_err(blame)?;
        tracing::info!(version = %summary.version, complete = summary.complete, "learner finished");
        args.summary
            .as_deref()
            .map_or(Ok(()), |path| write_summary(path, &summary))
    })
}

/// What the run was given is the user's to put right, everything else is a failed run.
fn blame(error: LearnerError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

fn write_summary(path: &Path, summary: &RunSummary) -> Outcome<()> {
    let json = serde_json::to_vec_pretty(summary)?;
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
