//! The learner's page, area by area. It reads and divides; what is counted is counted elsewhere.

use crate::actors::{ActorSummary, Sighting};
use crate::clock;
use crate::control::ControlPlane;
use crate::ledger::{OutcomeCounts, failure_name};
use common::{FailureReason, Presence};
use proto::observe::Page;
use std::fmt::Result;
use std::time::Duration;

/// Writes the page of a run: first how well work turns into training, then what a point of reward costs.
pub(super) fn write(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let outcomes = control.outcomes();
    goodput(page, control, &outcomes)?;
    rollouts(page, control, &outcomes)?;
    actors(page, control)?;
    ledger(page, control)?;
    training(page, control)?;
    held_out(page, control)?;
    weights(page, control)
}

/// Outcomes that were handed in, whatever became of them. Nobody sampled for a task that was given up because its leases ran out.
fn sampled(outcomes: &OutcomeCounts) -> u64 {
    let abandoned = failure_name(FailureReason::Abandoned);
    let failures = outcomes
        .failures
        .iter()
        .filter(|(reason, _)| *reason != abandoned);
    let failed: u64 = failures.map(|(_, count)| count).sum();
    let no_pairs: u64 = outcomes.no_pairs.values().sum();
    outcomes.pairs + no_pairs + failed + outcomes.duplicates + outcomes.refused
}

fn goodput(page: &mut Page<'_>, control: &ControlPlane, outcomes: &OutcomeCounts) -> Result {
    let trained = control.buffer.progress().trained as f64;
    let sampled = sampled(outcomes);
    let goodput = (sampled > 0).then(|| trained / sampled as f64);
    page.maybe_gauge(
        "rollout_goodput_ratio",
        "Pairs trained on, of all rollouts that were sampled.",
        goodput,
    )?;
    let measured = &control.measured;
    let gained = gained(control);
    let per_point = |cost: f64| gained.map(|gained| cost / gained);
    page.maybe_gauge(
        "rollout_images_per_reward",
        "Images rendered per point of mean reward gained since the first version of this start; absent until it has risen.",
        per_point(measured.images.get() as f64),
    )?;
    let seconds =
        measured.training_seconds.get() + measured.actor_seconds.get() + measured.scoring_seconds.get();
    page.maybe_gauge(
        "rollout_compute_seconds_per_reward",
        "Compute seconds of all roles per point of mean reward gained since the first version of this start.",
        per_point(seconds),
    )?;
    page.counters(
        "rollout_compute_seconds",
        "Seconds in which compute threads have worked for this start, by role.",
        [
            ([("role", "actor")], measured.actor_seconds.get()),
            ([("role", "learner")], measured.training_seconds.get()),
            ([("role", "reward-server")], measured.scoring_seconds.get()),
        ],
    )?;
    page.counter(
        "rollout_images",
        "Images of the outcomes that were taken in by this start.",
        measured.images.get(),
    )
}

/// How far the mean reward has risen since the first version of this start; `None` unless it has.
fn gained(control: &ControlPlane) -> Option<f64> {
    let [first, newest] = control.first_and_newest_metrics()?;
    let gained = newest.values.get("reward")? - first.values.get("reward")?;
    (gained > 0.0).then_some(gained)
}

/// What an observer has told of the newest version that it measured.
fn held_out(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let newest = control.held_out();
    page.maybe_gauge(
        "held_out_version_number",
        "The newest version that an evaluator measured; absent before one was reported.",
        newest.as_ref().map(|newest| newest.version.number as f64),
    )?;
    let figures = newest.iter().flat_map(|newest| &newest.values);
    page.gauges(
        "held_out",
        "What it does on held-out products, or on those of its run where none are held out, by the name of the figure.",
        figures.map(|(name, value)| ([("figure", name.as_str())], *value)),
    )
}

fn rollouts(page: &mut Page<'_>, control: &ControlPlane, outcomes: &OutcomeCounts) -> Result {
    let pairs = std::iter::once(([("kind", "pair"), ("reason", "")], outcomes.pairs));
    let no_pairs = outcomes.no_pairs.iter();
    let no_pairs =
        no_pairs.map(|(reason, count)| ([("kind", "no_pair"), ("reason", reason.as_str())], *count));
    let failures = outcomes.failures.iter();
    let failures =
        failures.map(|(reason, count)| ([("kind", "failed"), ("reason", reason.as_str())], *count));
    page.counters(
        "rollout_outcomes",
        "How tasks ended, over the run; a failure that is tried again counts each time.",
        pairs.chain(no_pairs).chain(failures),
    )?;
    let duplicates = "Outcomes of tasks that already had one.";
    page.counter("rollout_outcomes_duplicate", duplicates, outcomes.duplicates)?;
    let refused = "Outcomes that were not accepted.";
    page.counter("rollout_outcomes_refused", refused, outcomes.refused)?;
    let expired = "Leases that ran out or were left behind.";
    page.counter("rollout_leases_expired", expired, outcomes.expired)?;
    page.gauge(
        "rollout_leases_open",
        "Tasks that actors hold.",
        control.open_leases() as f64,
    )?;
    let barred = outcomes.barred.iter();
    page.counters(
        "rollout_candidates_barred",
        "Candidates found unusable, by guardrail, over the run.",
        barred.map(|(guardrail, count)| ([("guardrail", guardrail.as_str())], *count)),
    )?;
    let scored = outcomes.reward_models.iter();
    page.counters(
        "reward_groups_scored",
        "Scored groups by the digest of the reward model, over the run.",
        scored.map(|(model, count)| ([("reward_model", model.as_str())], *count)),
    )
}

/// Whether an actor is counted. One in quarantine ends, and its connection with it: it is told of for as long as one that falls silent.
fn counts(actor: &Sighting, patience: Duration) -> bool {
    match actor.summary.quarantine {
        Some(_) => actor.silent <= patience,
        None => actor.presence == Presence::Here,
    }
}

fn actors(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let patience = control.lease_ttl();
    let sightings = control.actors.sightings(clock::now(), patience).into_iter();
    let here: Vec<_> = sightings
        .filter(|actor| counts(actor, patience))
        .map(|actor| actor.summary)
        .collect();
    let state = |actor: &ActorSummary| match (&actor.quarantine, &actor.waiting_for) {
        (Some(_), _) => "quarantined",
        (None, Some(_)) => "waiting",
        (None, None) => "working",
    };
    let counted = ["working", "waiting", "quarantined"].map(|name| {
        let count = here.iter().filter(|actor| state(actor) == name).count();
        ([("state", name)], count as f64)
    });
    let help = "Actors that take part, by what they do.";
    page.gauges("rollout_actors", help, counted)?;
    let wanted = "Actors that the run could use (docs/scaling.md); none when it is complete.";
    page.gauge("rollout_actors_wanted", wanted, control.scale().wanted as f64)?;
    let joined = "Actors that took part in this start of the learner.";
    page.gauge("rollout_actors_joined", joined, control.actors.known() as f64)?;
    page.counter(
        "weights_adoptions",
        "Versions that actors have adopted.",
        control.actors.adoptions(),
    )
}

fn ledger(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let depth = control.ledger.depth();
    page.counter(
        "ledger_records",
        "Terminal outcomes recorded, over the run.",
        depth.recorded,
    )?;
    let waiting = "Records that are not durable yet.";
    page.gauge("ledger_waiting_records", waiting, depth.waiting as f64)?;
    page.histogram(
        "ledger_flush_seconds",
        "Time from when records were given to the store until they were durable.",
        &control.measured.flush_seconds,
    )
}

fn training(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let progress = control.buffer.progress();
    let buffered = "Pairs that wait to be trained on.";
    page.gauge("train_pairs_buffered", buffered, progress.fresh as f64)?;
    let trained = "Pairs that published versions were trained from, over the run.";
    page.counter("train_pairs", trained, progress.trained)?;
    let refused = progress.refused.by_reason();
    page.counters(
        "train_pairs_refused",
        "Pairs that no version will be trained from, by reason, over the run.",
        refused
            .iter()
            .map(|(reason, count)| ([("reason", reason.as_str())], *count)),
    )?;
    let newest = control.first_and_newest_metrics();
    let newest = newest.map(|[_, newest]| newest.values).unwrap_or_default();
    page.maybe_gauge(
        "train_staleness_versions",
        "How many versions the stalest pair of the newest version's batch lay behind.",
        newest.get("staleness_max").copied(),
    )?;
    let measured = &control.measured;
    let step = measured.last_step();
    page.counter("train_steps", "Optimizer steps of the run.", step.number)?;
    let seconds = "Time of an optimizer step.";
    page.histogram("train_step_seconds", seconds, &measured.step_seconds)?;
    for (name, value) in &step.metrics {
        page.gauge(
            &format!("train_metric_{name}"),
            "Of the last optimizer step: see docs/metrics.md.",
            *value,
        )?;
    }
    for (name, value) in &newest {
        page.gauge(
            &format!("train_version_{name}"),
            "Of the newest version: see docs/metrics.md.",
            *value,
        )?;
    }
    Ok(())
}

fn weights(page: &mut Page<'_>, control: &ControlPlane) -> Result {
    let newest = control.broadcast.newest();
    let epoch = "Which start of the run's learner this is.";
    page.gauge("learner_epoch", epoch, control.epoch().0 as f64)?;
    let complete = "1 when all versions are published.";
    page.gauge(
        "learner_run_complete",
        complete,
        f64::from(u8::from(control.is_complete())),
    )?;
    let failed = "1 when the run, or what keeps it, has failed.";
    page.gauge(
        "learner_run_failed",
        failed,
        f64::from(u8::from(control.failure().is_some())),
    )?;
    let version = "Number of the newest published version.";
    page.gauge("weights_policy_version", version, newest.version.number as f64)?;
    let publishes = "Versions announced by this start, the first included.";
    page.counter("weights_publishes", publishes, control.broadcast.publishes())?;
    let bytes = "Adapter bytes of one publish.";
    page.gauge("weights_publish_bytes", bytes, newest.adapter.bytes() as f64)?;
    let sent = "Artifact payload sent by this learner, in bytes.";
    page.counter("weights_sent_bytes", sent, control.broadcast.sent())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::{ActorRegistry, Adoption};
    use common::{ActorId, CanaryReport, CanaryVerdict};

    #[test]
    fn what_was_given_up_without_an_outcome_was_not_sampled() {
        let counts = OutcomeCounts {
            pairs: 8,
            no_pairs: [("tie".to_owned(), 4)].into(),
            failures: [("abandoned".to_owned(), 100), ("rendering".to_owned(), 2)].into(),
            expired: 200,
            duplicates: 1,
            refused: 1,
            ..OutcomeCounts::default()
        };
        assert_eq!(sampled(&counts), 16);
    }

    #[test]
    fn whoever_has_left_does_not_work_and_one_in_quarantine_is_told_of_for_a_while() {
        let (registry, patience) = (ActorRegistry::default(), Duration::from_secs(60));
        let [here, left, barred] = ["here", "left", "barred"].map(|name| ActorId::new(name).unwrap());
        let now = clock::now();
        for actor in [&here, &left, &barred] {
            registry.seen(actor, now);
        }
        registry.left(&left);
        let report = CanaryReport {
            verdict: CanaryVerdict::Mismatch,
            deviation: 0.5,
            tolerance: 1e-4,
            separation: 0.5,
        };
        let adoption = Adoption {
            version: "v1.2".parse().unwrap(),
            canary: Some(report),
            adapter_bytes: 0,
            base_bytes: 0,
            relay_bytes: 0,
        };
        registry.adopted(&barred, now, &adoption);
        registry.left(&barred);
        let counted = |later| {
            let sightings = registry.sightings(now + later, patience).into_iter();
            let counted = sightings.filter(|actor| counts(actor, patience));
            counted
                .map(|actor| actor.summary.actor_id.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(counted(Duration::ZERO), ["barred", "here"]);
        assert!(counted(2 * patience).is_empty());
    }
}
