//! What a learner that is broken, or none, may answer to whoever looks on.

use super::*;
use prost::Message as _;

fn version() -> Option<pb::PolicyVersion> {
    Some(pb::PolicyVersion { epoch: 1, number: 7 })
}

fn metrics(value: f64) -> pb::VersionMetrics {
    pb::VersionMetrics {
        version: version(),
        values: [("loss".to_owned(), value)].into(),
    }
}

fn actor(id: &str) -> pb::ActorStatus {
    pb::ActorStatus {
        actor_id: id.into(),
        version: version(),
        ..Default::default()
    }
}

fn message() -> pb::RunStatus {
    pb::RunStatus {
        run_id: "night".into(),
        version: version(),
        outcomes: Some(pb::OutcomeCounts {
            pairs: 20,
            no_pairs: [("tie".to_owned(), 3)].into(),
            ..Default::default()
        }),
        actors: vec![
            actor("a"),
            pb::ActorStatus {
                version: None,
                ..actor("b")
            },
        ],
        metrics: vec![metrics(0.5)],
        held_out: Some(metrics(0.25)),
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut pb::RunStatus)) -> InvalidMessage {
    let mut changed = message();
    change(&mut changed);
    RunStatus::try_from(changed).unwrap_err()
}

fn taken(change: impl FnOnce(&mut pb::RunStatus)) -> RunStatus {
    let mut changed = message();
    change(&mut changed);
    RunStatus::try_from(changed).unwrap()
}

#[test]
fn what_a_learner_says_is_taken_in() {
    let status = taken(|_| {});
    assert_eq!((status.run.as_str(), status.version.number), ("night", 7));
    assert_eq!((status.versions, status.actors[0].presence), (None, None));
    let told = taken(|m| (m.versions, m.actors[0].presence) = (9, pb::ActorPresence::Gone.into()));
    assert_eq!(
        (told.versions, told.actors[0].presence),
        (Some(9), Some(Presence::Gone))
    );
    assert_eq!((status.outcomes.pairs, status.outcomes.no_pairs["tie"]), (20, 3));
    assert_eq!(
        (status.actors[0].version, status.actors[1].version),
        (Some(status.version), None)
    );
    assert_eq!(status.metrics[0].values["loss"], 0.5);
    assert_eq!(status.held_out.unwrap().values["loss"], 0.25);
    // Before anything has happened there may be nothing to tell.
    let bare = taken(|m| (m.outcomes, m.held_out) = (None, None));
    assert_eq!((bare.outcomes, bare.held_out), (Outcomes::default(), None));
}

#[test]
fn each_field_that_nobody_could_show_or_compute_with_is_named() {
    type Change = fn(&mut pb::RunStatus);
    let cases: [(Change, &str); 14] = [
        (|m| m.run_id.clear(), "run_status.run_id"),
        (|m| m.run_id = "\u{1b}]0;mine\u{7}".into(), "run_status.run_id"),
        (|m| m.version = None, "run_status.version"),
        (
            |m| m.version = Some(pb::PolicyVersion { epoch: 0, number: 1 }),
            "policy_version.epoch",
        ),
        (
            |m| m.actors[0].actor_id = "a\u{1b}[2J".into(),
            "actor_status.actor_id",
        ),
        (
            |m| m.actors[0].actor_id = "x".repeat(1 << 20),
            "actor_status.actor_id",
        ),
        (
            |m| m.actors[0].version = Some(pb::PolicyVersion { epoch: 0, number: 1 }),
            "policy_version.epoch",
        ),
        (|m| m.metrics[0] = metrics(f64::NAN), "version_metrics.values"),
        (
            |m| m.held_out = Some(metrics(f64::INFINITY)),
            "version_metrics.values",
        ),
        (|m| m.metrics[0].version = None, "version_metrics.version"),
        (
            |m| m.metrics[0].values = [("\u{9b}31m".to_owned(), 1.0)].into(),
            "version_metrics.values",
        ),
        (
            |m| m.pairs_refused_by_reason = [("stale\n".to_owned(), 1)].into(),
            "run_status.pairs_refused_by_reason",
        ),
        (
            |m| m.outcomes.get_or_insert_default().barred = [("\u{1b}c".to_owned(), 1)].into(),
            "outcome_counts.barred",
        ),
        (
            |m| {
                let most = ["a", "b"].map(|name| (name.to_owned(), u64::MAX));
                m.outcomes.get_or_insert_default().failures = most.into();
            },
            "outcome_counts.failures",
        ),
    ];
    for (change, field) in cases {
        assert_eq!(refused(change).field, field);
    }
}

#[test]
fn a_table_of_a_million_rows_is_refused_before_any_of_it_is_read() {
    // What is in the rows would be refused too, by another name.
    let actors = refused(|m| m.actors = vec![pb::ActorStatus::default(); 1_000_000]);
    assert_eq!(actors.field, "run_status.actors");
    assert!(actors.reason.contains("1000000 entries"), "{actors}");
    let versions = refused(|m| m.metrics = vec![pb::VersionMetrics::default(); 1_000_000]);
    assert_eq!(versions.field, "run_status.metrics");
    let all = (0..MAX_ACTORS).map(|number| actor(&format!("actor-{number}")));
    assert_eq!(taken(|m| m.actors = all.collect()).actors.len(), MAX_ACTORS);
}

#[test]
fn a_status_of_as_many_actors_as_there_may_be_is_taken_in_whatever_they_say() {
    let most = pb::ActorStatus {
        actor_id: "x".repeat(128),
        version: Some(pb::PolicyVersion {
            epoch: u64::MAX,
            number: u64::MAX,
        }),
        adoptions: u64::MAX,
        adapter_bytes_received: u64::MAX,
        base_bytes_received: u64::MAX,
        outcomes: u64::MAX,
        canary: Some(pb::CanaryReport {
            verdict: i32::MIN,
            deviation: f64::MAX,
            tolerance: f64::MAX,
            separation: f64::MAX,
        }),
        // The learner's own sentence, of a version and two figures.
        quarantine: "x".repeat(256),
        relay_bytes_received: u64::MAX,
        // The longest that a learner takes.
        waiting_for: "x".repeat(1 << 10),
        presence: i32::MIN,
        silent_ms: u64::MAX,
    };
    let mut status = message();
    status.actors = vec![most; MAX_ACTORS];
    let bytes = status.encoded_len();
    assert!(bytes <= MAX_STATUS_BYTES, "{bytes}");
    assert_eq!(RunStatus::try_from(status).unwrap().actors.len(), MAX_ACTORS);
}

#[test]
fn texts_are_shown_as_they_can_be_and_a_word_that_nobody_knows_yet_is_none() {
    let status = taken(|m| {
        m.failure = "\u{1b}[2J\nno pairs".into();
        m.actors[0].quarantine = "mismatch\r\u{202e}".into();
        m.actors[0].waiting_for = "\u{9b}".repeat(1 << 20);
        m.actors[0].canary = Some(pb::CanaryReport {
            verdict: 99,
            deviation: f64::NAN,
            ..Default::default()
        });
    });
    assert_eq!(status.failure.as_deref(), Some(" [2J no pairs"));
    let actor = &status.actors[0];
    assert_eq!(actor.quarantine.as_deref(), Some("mismatch  "));
    assert!(actor.waiting_for.as_ref().unwrap().len() < 5000);
    assert_eq!(actor.canary, None);
    assert_eq!(
        (
            status.actors[1].quarantine.clone(),
            status.actors[1].waiting_for.clone()
        ),
        (None, None)
    );
}

#[test]
fn numbers_may_be_as_large_as_they_can_be_written() {
    let status = taken(|m| {
        m.version = Some(pb::PolicyVersion {
            epoch: u64::MAX,
            number: u64::MAX,
        });
        (m.pairs_trained, m.publishes, m.artifact_bytes_sent) = (u64::MAX, u64::MAX, u64::MAX);
        m.outcomes.get_or_insert_default().pairs = u64::MAX;
        m.metrics[0] = metrics(f64::MAX);
    });
    assert_eq!((status.version.number, status.publishes), (u64::MAX, u64::MAX));
}
