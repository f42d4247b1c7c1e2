//! `adwright learner`: serves and trains one run.

use crate::args::LearnerArgs;
use crate::checks::{Checks, LearnerFlags};
use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome, ended};
use crate::node_cache::Local;
use crate::ready::Role;
use crate::shop::Shop;
use crate::start::{Asked, Started, start};
use crate::{locations, node_cache, role};
use anyhow::Context as _;
use common::RunId;
use dashboard::{DashboardConfig, Door, DoorError};
use data::Catalogue;
use learner::{Instruments, LearnerInputs, Listeners, RunSummary};
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub(super) fn run(args: &LearnerArgs) -> Outcome<()> {
    let layers = super::role_layers(&args.role, "endpoints.learner_listen")
        .flag("--policy", "paths.policy", args.policy.clone())
        .flag("--adapter", "paths.adapter", args.adapter.clone())
        .flag("--dashboard", "dashboard.listen", args.dashboard.clone())
        .sets(&args.role.config.sets);
    let flags = LearnerFlags {
        steps: args.steps.clone(),
        pairs: args.pairs.clone(),
        summary: args.summary.clone(),
    };
    let instruments = Instruments::default();
    let asked = Asked {
        role: Role::Learner,
        with_parent: args.role.compute.with_parent,
        unfinished_status: args.end.unfinished_status,
        pulse: &instruments.pulse,
    };
    let register = |page: &mut _| instruments.register(page);
    let looked = start(&asked, Checks::of(layers)?, register, move |checks| {
        checks.learner(&flags)
    });
    let Some(Started {
        host,
        config,
        security,
        placement,
        found: shop,
        telemetry: _telemetry,
    }) = looked?
    else {
        return Ok(());
    };
    let run_id = RunId::new(config.run.id.as_str()).or_configuration()?;
    let given = config.clone();
    let Some(Brought { policy, catalogue }) = host.prepare(move || bring(&given, shop))? else {
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
            settings: config.deciding(),
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

/// What is on this machine before anything is served.
struct Brought {
    policy: Local,
    catalogue: Arc<dyn Catalogue>,
}

/// Brings here what is named by a URL, and asks of it what was asked at the start of what lies here.
fn bring(config: &Config, shop: Option<Shop>) -> Outcome<Brought> {
    let is_known = shop.is_some() && locations::local_model(&config.paths.policy).is_some();
    let mut checks = Checks::on(config.clone());
    let brought = checks.look("paths.policy", |config| {
        node_cache::model(config, "paths.policy", &config.paths.policy)
    });
    let shop = match shop {
        Some(known) => Some(known),
        None => checks.brought_products(),
    };
    if let (false, Some(shop)) = (is_known, &shop) {
        let policy = brought
            .as_ref()
            .and_then(|policy| checks.policy_in("paths.policy", &policy.directory));
        checks.training(&config.learner, shop, policy.as_ref());
    }
    checks.finish()?;
    let (policy, shop) = brought.zip(shop).context("neither brought nor refused")?;
    Ok(Brought {
        policy,
        catalogue: shop.catalogue,
    })
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
