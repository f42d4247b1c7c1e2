//! The actor's page, area by area.

use super::Counts;
use crate::learner_client::LearnerClient;
use proto::observe::Page;
use std::fmt::Result;

/// Writes the page of an actor, which may not have joined yet.
pub(super) fn write(page: &mut Page<'_>, counts: &Counts, learner: Option<&LearnerClient>) -> Result {
    rollouts(page, counts)?;
    let (own, scoring) = learner.map_or((0.0, 0.0), |learner| {
        (learner.computed.own.get(), learner.computed.scoring.get())
    });
    page.counter(
        "rollout_compute_seconds",
        "Seconds in which this actor has sampled and rendered; not those of an image service.",
        own,
    )?;
    let scored = "Seconds of reward models' time that this actor's questions have taken.";
    page.counter("reward_compute_seconds", scored, scoring)?;
    weights(page, counts, learner)
}

fn rollouts(page: &mut Page<'_>, counts: &Counts) -> Result {
    page.histograms(
        "rollout_stage_seconds",
        "Time of a stage of the loop, for all tasks of a lease together.",
        counts
            .stages
            .0
            .iter()
            .map(|(name, seconds)| ([("stage", *name)], seconds.clone())),
    )?;
    page.counter("rollout_tasks_leased", "Tasks leased.", counts.leased.get())?;
    let outcomes = [
        ("pair", &counts.pairs),
        ("no_pair", &counts.no_pairs),
        ("failed", &counts.failures),
    ];
    page.counters(
        "rollout_outcomes",
        "Outcomes submitted, by kind.",
        outcomes.map(|(kind, count)| ([("kind", kind)], count.get())),
    )?;
    let refused = "Outcomes that the learner refused.";
    page.counter("rollout_outcomes_refused", refused, counts.refused.get())?;
    page.counter(
        "rollout_tokens",
        "Tokens sampled, end tokens included.",
        counts.tokens.get(),
    )?;
    page.counter("rollout_images", "Images rendered.", counts.images.get())?;
    let waiting = "1 while something keeps the actor from leasing: a service that is away.";
    page.gauge(
        "rollout_waiting",
        waiting,
        f64::from(u8::from(counts.said().waiting)),
    )?;
    let waited = "Seconds in which the learner had no task for this actor.";
    page.counter("rollout_wait_seconds", waited, counts.waited.get())?;
    let retries = counts.said().retries.clone();
    page.counters(
        "rollout_retries",
        "Attempts at a peer that were repeated after an outage, by the peer's role.",
        retries
            .iter()
            .map(|(role, count)| ([("peer", *role)], count.get())),
    )
}

fn weights(page: &mut Page<'_>, counts: &Counts, learner: Option<&LearnerClient>) -> Result {
    let complete = "1 once the learner has said that the run is complete.";
    let is_complete = counts.said().complete;
    page.gauge("learner_run_complete", complete, f64::from(u8::from(is_complete)))?;
    let version = counts.said().version;
    let epoch = "Epoch of the learner that published the version sampled from.";
    page.maybe_gauge(
        "learner_epoch",
        epoch,
        version.map(|version| version.epoch.0 as f64),
    )?;
    let number = "Number of the version sampled from.";
    page.maybe_gauge(
        "weights_policy_version",
        number,
        version.map(|version| version.number as f64),
    )?;
    let adoptions = "Versions adopted, the first included.";
    page.counter("weights_adoptions", adoptions, counts.adoptions.get())?;
    let received = learner.map(LearnerClient::received).unwrap_or_default();
    let bytes = [("adapter", received.adapter), ("base", received.base)];
    page.counters(
        "weights_received_bytes",
        "Payload received, whoever sent it, in bytes.",
        bytes.map(|(artifact, bytes)| ([("artifact", artifact)], bytes)),
    )?;
    let relayed = "Of both, what came from other actors, in bytes.";
    page.counter("weights_relayed_bytes", relayed, received.from_relays)?;
    let given_up = "Actors given up as relays: too slow, busy, without the version, stopped, gone, or with other bytes than promised.";
    let relays = learner.map(LearnerClient::relays_given_up).unwrap_or_default();
    page.counter("weights_relays_given_up", given_up, relays)
}

#[cfg(test)]
mod tests {
    use crate::instruments::Instruments;
    use prometheus_client::encoding::prometheus_text::encode;
    use proto::observe::Registry;

    #[test]
    fn a_run_is_complete_once_the_learner_has_said_so() {
        let (instruments, mut registry) = (Instruments::default(), Registry::default());
        instruments.register(&mut registry);
        let said = || {
            let mut page = String::new();
            encode(&mut page, &registry).unwrap();
            page.contains("\nlearner_run_complete 1.0\n")
        };
        assert!(!said());
        instruments.run_is_complete();
        assert!(said());
    }
}
