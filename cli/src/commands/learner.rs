//! `adwright learner`: serves and trains one run.

use crate::args::LearnerArgs;
use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome, ended};
use crate::monitoring::Watched;
use crate::node_cache::Local;
use crate::ready::Role;
use crate::role::Host;
use crate::security::Security;
use crate::shop::Shop;
use crate::{locations, node_cache, role, telemetry};
use anyhow::Context as _;
use common::RunId;
use dashboard::{DashboardConfig, Door, DoorError};
use data::Catalogue;
use learner::{Instruments, LearnerInputs, Listeners, RunSummary};
use proto::PeerRole;
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub(super) fn run(args: &LearnerArgs) -> Outcome<()> {
    let config = super::role_layers(&args.role, "endpoints.learner_listen")
        .flag("--policy", "paths.policy", args.policy.clone())
        .flag("--adapter", "paths.adapter", args.adapter.clone())
        .flag("--dashboard", "dashboard.listen", args.dashboard.clone())
        .sets(&args.role.config.sets)
        .resolve()
        .or_configuration()?;
    let telemetry = telemetry::start(&config, Role::Learner)?;
    let security = Security::open(&config, PeerRole::Learner)?;
    let host = Host::start(&config, args.role.compute.with_parent)?;
    // A device that is not there is told before a model is brought for it.
    let run_id = RunId::new(config.run.id.as_str()).or_configuration()?;
    let placement = config.compute.placement().or_configuration()?;
    let instruments = Instruments::default();
    let watched = Watched::of(Role::Learner, &instruments.pulse, &telemetry, &security, |page| {
        instruments.register(page)
    });
    host.watch(&config, watched)?;
    let given = config.clone();
    let Some(Prepared { policy, catalogue }) = host.prepare(move || prepare(&given))? else {
        return host.stop_early(args.end.unfinished_status);
    };
    let shutdown = host.shutdown();
    host.run(async {
        let (grpc, address) = role::bind(&config.endpoints.learner_listen).await?;
        let dashboard = open_dashboard(&config.dashboard).await?;
        let url = dashboard.as_ref().map(Door::url);
        let listeners = Listeners { grpc, dashboard };
        let inputs = LearnerInputs {
            run_id,
            run_seed: config.run.seed,
            completion_tokens: config.actor.max_new_tokens,
            catalogue,
            store: locations::open_store("store.url", &config.store.url, &config.store.settings())?,
            adapter: locations::open_store("paths.adapter", &config.paths.adapter, &config.store.settings())?,
            base_model: args.policy_name.clone().unwrap_or(policy.name),
            policy_dir: policy.directory,
            policy_reading: config.policy.reading(),
            steps_file: args.steps.clone(),
            pairs_dir: args.pairs.clone(),
            tensorboard_dir: config.telemetry.tensorboard_dir(),
            placement,
            threads: config.compute.threads,
            authorizer: security.authorizer.clone(),
            transport: security.transport.clone(),
            instruments,
        };
        let service = learner::run(config.learner.clone(), inputs, listeners, shutdown);
        let summary = role::serve_shown(Role::Learner, address, &security, url, service)
            .await?
            .map_err(super::blame_learner)?;
        tracing::info!(version = %summary.version, complete = summary.complete, "learner finished");
        args.summary
            .as_deref()
            .map_or(Ok(()), |path| write_summary(path, &summary))?;
        ended(summary.complete, args.end.unfinished_status)
    })
}

/// What is brought here and checked before anything is served.
struct Prepared {
    policy: Local,
    catalogue: Arc<dyn Catalogue>,
}

/// Everything that may be wrong comes before the first thing that is written.
fn prepare(config: &Config) -> Outcome<Prepared> {
    let policy = node_cache::model(config, "paths.policy", &config.paths.policy)?;
    locations::check_model(&policy.directory, "pretrain")?;
    let catalogue = Shop::open(config)?.catalogue;
    learner::check_catalogue(&config.learner, catalogue.as_ref()).map_err(super::blame_learner)?;
    Ok(Prepared { policy, catalogue })
}

/// Where the run is shown to people, if anywhere. What a token lacks is the configuration's fault, a taken address is not.
async fn open_dashboard(config: &DashboardConfig) -> Outcome<Option<Door>> {
    if !config.is_on() {
        return Ok(None);
    }
    match Door::open(config).await {
        Err(error @ DoorError::Listen { .. }) => Err(Failure::Run(error.into())),
        opened => opened.or_configuration().map(Some),
    }
}

fn write_summary(path: &Path, summary: &RunSummary) -> Outcome<()> {
    let json = serde_json::to_vec_pretty(summary)?;
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
