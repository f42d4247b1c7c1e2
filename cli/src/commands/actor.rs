//! `adwright actor`: turns leased tasks into preference pairs until the run is complete.

mod work_dir;

use crate::args::ActorArgs;
use crate::checks::{ActorFlags, Checks};
use crate::failure::{Failure, OrConfiguration as _, Outcome, ended};
use crate::ready::Role;
use crate::start::{Asked, Started, start};
use crate::{locations, role, shop};
use ::actor::{ActorError, ActorInputs, ExpectedRun, Instruments};
use anyhow::Context as _;
use common::{ActorId, RunId};
use std::hash::{BuildHasher as _, RandomState};
use work_dir::WorkDir;

/// Runs the command.
pub(super) fn run(args: &ActorArgs) -> Outcome<()> {
    let layers = super::role_layers(&args.role, "endpoints.actor_listen").sets(&args.role.config.sets);
    let flags = ActorFlags {
        id: args.id.clone(),
        work_dir: args.work_dir.clone(),
    };
    let instruments = Instruments::default();
    let asked = Asked {
        role: Role::Actor,
        with_parent: args.role.compute.with_parent,
        unfinished_status: args.end.unfinished_status,
        pulse: &instruments.pulse,
    };
    let register = |page: &mut _| instruments.register(page);
    let looked = start(&asked, Checks::of(layers)?, register, move |checks| {
        checks.actor(&flags)
    });
    let Some(Started {
        host,
        config,
        security,
        placement,
        found: guardrails,
        telemetry: _telemetry,
    }) = looked?
    else {
        return Ok(());
    };
    let guardrails = guardrails.context("guardrails were neither opened nor refused")?;
    let actor_id = ActorId::new(args.id.clone().unwrap_or_else(own_name)).or_configuration()?;
    let expected = ExpectedRun {
        id: RunId::new(config.run.id.as_str()).or_configuration()?,
        versions: config.learner.versions,
    };
    let network = security.transport.network();
    let (given, name, runtime) = (config.clone(), actor_id.clone(), host.handle());
    let pulse = instruments.pulse.clone();
    let prepare = move || shop::actors_generator(&given, &name, network, runtime, &pulse);
    let Some((image_generator, contents)) = host.prepare(prepare)? else {
        return host.stop_early(args.end.unfinished_status);
    };
    let shutdown = host.shutdown();
    // What dead actors have left may take a while to remove: before anything is asynchronous.
    let work = WorkDir::new(args.work_dir.clone())?;
    host.run(async {
        let (listener, address) = role::bind(&config.endpoints.actor_listen).await?;
        let inputs = ActorInputs {
            actor_id,
            expected,
            learner_url: config.endpoints.learner.clone(),
            reward_url: config.endpoints.reward.clone(),
            store: locations::open_store("store.url", &config.store.url, &config.store.settings())?,
            image_generator,
            rendering: config.deciding_what_is_rendered().and(contents),
            guardrails,
            work_dir: work.path(),
            placement,
            authorizer: security.authorizer.clone(),
            transport: security.transport.clone(),
            instruments,
        };
        let service = ::actor::run(config.actor.clone(), inputs, listener, shutdown);
        let summary = role::serve(Role::Actor, address, &security, service)
            .await?
            .map_err(blame)?;
        let version = summary.version.map(|version| version.to_string());
        tracing::info!(
            version,
            pairs = summary.pairs,
            complete = summary.complete,
            "actor finished"
        );
        ended(summary.complete, args.end.unfinished_status)
    })
}

fn blame(error: ActorError) -> Failure {
    match error {
        ActorError::Config(_)
        | ActorError::GroupTooLarge { .. }
        | ActorError::Address { .. }
        | ActorError::OtherSettings { .. } => Failure::Configuration(error.into()),
        other => Failure::Run(other.into()),
    }
}

/// A name that no other actor of the run has: containers often share host name and process id, so a part is random.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect();
    let process = std::process::id();
    // The hasher's keys come from the system's random numbers.
    let random = RandomState::new().hash_one(process) as u32;
    format!("actor-{host}-{process}-{random:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_actors_of_one_process_id_have_different_names_which_the_run_accepts() {
        let names = [own_name(), own_name()];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.contains(&std::process::id().to_string()), "{name}");
            ActorId::new(name).unwrap();
        }
    }
}
