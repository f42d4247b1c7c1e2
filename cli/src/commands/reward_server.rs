//! `adwright reward-server`: serves one reward model, ours or a checkpoint of CAIG's, and another one that takes its place, until it is
//! stopped or its run is complete.

mod run_end;

use crate::args::{EndArgs, RewardServerArgs};
use crate::checks::Checks;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome, ended};
use crate::progress::Progress;
use crate::ready::Role;
use crate::reward::Reward;
use crate::role::Host;
use crate::security::Security;
use crate::start::{Asked, Started, start};
use crate::{locations, node_cache, role, shutdown};
use ::reward_server::{Instruments, ModelSource, OnRunEnd, RewardError, RewardServerInputs, ServedModel};
use anyhow::Context as _;
use models::checkpoint::in_log;
use models::device::Placement;
use proto::observe::Pulse;
use run_end::Announcements;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &RewardServerArgs) -> Outcome<()> {
    let layers = super::role_layers(&args.role, "endpoints.reward_listen")
        .flag("--model", "paths.reward_model", args.model.clone())
        .sets(&args.role.config.sets);
    let instruments = Instruments::default();
    let pulse = instruments.pulse.clone();
    let asked = Asked {
        role: Role::RewardServer,
        with_parent: args.role.compute.with_parent,
        unfinished_status: args.end.unfinished_status,
        pulse: &pulse,
    };
    let register = |page: &mut _| instruments.register(page);
    let looked = start(&asked, Checks::of(layers)?, register, Checks::reward_server);
    let Some(Started {
        host,
        mut config,
        security,
        placement,
        found: (),
        telemetry: _telemetry,
    }) = looked?
    else {
        return Ok(());
    };
    let follows = config.reward_server.on_run_end != OnRunEnd::Serve;
    let runtime = host.handle();
    let learner = follows
        .then(|| {
            let _inside = runtime.enter();
            Announcements::of(&config, &security.transport)
        })
        .transpose()?;
    let given = config.clone();
    let Some(directory) = host.prepare(move || bring(&given))? else {
        return host.stop_early(args.end.unfinished_status);
    };
    config.paths.reward_model = directory;
    // Before the model is read: whatever is written from here on is noticed.
    let trained = source(&config, Reward::into_trained);
    let caig = source(&config, Reward::into_caig);
    let given = config.clone();
    let Some(model) = host.prepare(move || load(&given, &pulse))? else {
        return host.stop_early(args.end.unfinished_status);
    };
    let role = Served {
        config: &config,
        end: &args.end,
        host,
        security: &security,
        placement,
        learner,
        instruments,
    };
    match model {
        Reward::Trained(model) => serve(role, *model, trained),
        Reward::Caig(model) => serve(role, *model, caig),
    }
}

/// The model's directory on this machine.
fn bring(config: &Config) -> Outcome<String> {
    let directory = node_cache::directory(config, "paths.reward_model", &config.paths.reward_model)?;
    locations::check_model(Path::new(&directory), "train-reward")?;
    Ok(directory)
}

fn load(config: &Config, pulse: &Pulse) -> Outcome<Reward> {
    let mut stage = Progress::detect().stage("weights");
    let mut progress = pulse.with_progress(|done, all| stage.update(done, all, ""));
    Reward::load(config, Path::new(&config.paths.reward_model), &mut progress).or_configuration()
}

/// The configured directory, as where models of one kind come from.
fn source<M>(
    config: &Config,
    kind: impl Fn(Reward) -> Result<M, RewardError> + Send + Sync + 'static,
) -> ModelSource<M> {
    let directory = config.paths.reward_model.clone();
    let config = config.clone();
    ModelSource::new(directory, move || {
        let directory = Path::new(&config.paths.reward_model);
        kind(Reward::load(&config, directory, &mut in_log("the reward model"))?)
    })
}

/// What is served with whichever kind of model.
struct Served<'a> {
    config: &'a Config,
    end: &'a EndArgs,
    host: Host,
    security: &'a Security,
    placement: Placement,
    learner: Option<Announcements>,
    instruments: Instruments,
}

fn serve<M: ServedModel>(role: Served<'_>, model: M, source: ModelSource<M>) -> Outcome<()> {
    let Served {
        config,
        end,
        host,
        security,
        placement,
        learner,
        instruments,
    } = role;
    let shutdown = host.shutdown();
    let asked = source.asked.clone();
    let run_complete = CancellationToken::new();
    let inputs = RewardServerInputs {
        model,
        source: Some(source),
        placement,
        run_complete: run_complete.clone(),
        deterministic: config.learner.deterministic,
        authorizer: security.authorizer.clone(),
        transport: security.transport.clone(),
        instruments,
    };
    host.run(async {
        shutdown::tell_of_hangups(asked).context("cannot receive signals")?;
        if let Some(learner) = learner {
            let run_complete = run_complete.clone();
            tokio::spawn(async move {
                learner.run_is_complete().await;
                run_complete.cancel();
            });
        }
        let (listener, address) = role::bind(&config.endpoints.reward_listen).await?;
        let service = ::reward_server::run(config.reward_server.clone(), inputs, listener, shutdown);
        role::serve(Role::RewardServer, address, security, service).await??;
        ended(run_complete.is_cancelled(), end.unfinished_status)
    })
}
