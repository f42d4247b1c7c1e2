//! What a run has done so far, as a message.

use crate::actors::{self, Sighting};
use crate::clock;
use crate::control::ControlPlane;
use crate::ledger::OutcomeCounts;
use crate::run::VersionMetrics;
use crate::scaling::Scale;
use common::Presence;
use proto::pb;

/// Whoever looks on takes in as many actors as are remembered, and those too that come while others make room for them.
const _: () = assert!(2 * actors::MOST <= proto::MAX_ACTORS);

/// The status of a run, with metrics from position `metrics_from` on.
pub(super) fn run_status(control: &ControlPlane, metrics_from: usize) -> pb::RunStatus {
    let progress = control.buffer.progress();
    let seen = control.actors.sightings(clock::now(), control.lease_ttl());
    pb::RunStatus {
        run_id: control.identity.run.to_string(),
        version: Some(progress.version.into()),
        versions: control.versions(),
        complete: control.is_complete(),
        failure: control.failure().map(ToString::to_string).unwrap_or_default(),
        outcomes: Some(outcomes(control.outcomes())),
        pairs_trained: progress.trained,
        pairs_refused: progress.refused.total(),
        pairs_refused_by_reason: progress.refused.by_reason(),
        publishes: control.broadcast.publishes(),
        artifact_bytes_sent: control.broadcast.sent(),
        bytes_per_publish: control.broadcast.newest().adapter.bytes(),
        actors: seen.into_iter().map(actor).collect(),
        metrics: control.metrics(metrics_from).into_iter().map(metrics).collect(),
        held_out: control.held_out().map(metrics),
        scaling: Some(scaling(&control.scale())),
    }
}

fn scaling(scale: &Scale) -> pb::Scaling {
    pb::Scaling {
        rollout_actors_wanted: scale.wanted as u32,
        rollout_actors: scale.present as u32,
        active: scale.active,
        consumed_pairs_per_s: scale.consumed_pairs_per_s,
        pairs_per_s_per_actor: scale.pairs_per_s_per_actor,
        deficit_pairs: scale.deficit_pairs,
        cold_start_s: scale.cold_start.as_secs_f64(),
    }
}

fn outcomes(counts: OutcomeCounts) -> pb::OutcomeCounts {
    pb::OutcomeCounts {
        pairs: counts.pairs,
        no_pairs: counts.no_pairs,
        failures: counts.failures,
        expired: counts.expired,
        duplicates: counts.duplicates,
        refused: counts.refused,
        reward_models: counts.reward_models,
        barred: counts.barred,
    }
}

fn actor(sighting: Sighting) -> pb::ActorStatus {
    let Sighting {
        summary,
        silent,
        presence,
    } = sighting;
    let presence = match presence {
        Presence::Here => pb::ActorPresence::Here,
        Presence::Silent => pb::ActorPresence::Silent,
        Presence::Gone => pb::ActorPresence::Gone,
        Presence::Left => pb::ActorPresence::Left,
    };
    pb::ActorStatus {
        actor_id: summary.actor_id.to_string(),
        version: summary.version.map(Into::into),
        adoptions: summary.adoptions,
        adapter_bytes_received: summary.adapter_bytes_received,
        base_bytes_received: summary.base_bytes_received,
        outcomes: summary.outcomes,
        canary: summary.canary.map(Into::into),
        quarantine: summary.quarantine.unwrap_or_default(),
        relay_bytes_received: summary.relay_bytes_received,
        waiting_for: summary.waiting_for.unwrap_or_default(),
        presence: presence.into(),
        silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
    }
}

fn metrics(metrics: VersionMetrics) -> pb::VersionMetrics {
    pb::VersionMetrics {
        version: Some(metrics.version.into()),
        values: metrics.values,
    }
}
