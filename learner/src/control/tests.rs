//! Runs without a network or a model: actors that lease, submit, fall silent and lie.

mod evaluations;
mod indexed;
mod left_over;
mod price;
mod started_anew;

use super::*;
use crate::actors::Following;
use crate::admission::Pause;
use crate::assortment::test_catalogue::catalogue;
use crate::test_outcomes::{failed, no_pair, pair, pair_of, undone, version, weights};
use crate::training_pair::PairSource as _;
use common::{CanaryReport, CanaryVerdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

struct Run {
    control: ControlPlane,
    start: Instant,
}

async fn run(change: impl FnOnce(&mut LearnerConfig)) -> Run {
    let mut config = LearnerConfig {
        pairs_per_version: 4,
        versions: 2,
        max_staleness: 0,
        max_attempts: 2,
        ..Default::default()
    };
    change(&mut config);
    let store = Store::open("memory:///").unwrap();
    let products = Arc::new(catalogue(&[None; 5]));
    let assortment = Assortment::open(products, &store, 1).await.unwrap();
    let broadcast = Broadcast::new(vec![], "{}".into(), version(0), weights("v0"), false, 2, 2);
    let begun = Beginning::of_earlier_version(Identity {
        run: common::RunId::new("test").unwrap(),
        run_seed: 1,
    });
    let completions = CompletionLimits {
        vocab_size: 50,
        tokens: 3,
    };
    let ledger = Ledger::new(LearnerEpoch(1));
    let control = ControlPlane::new(
        &config,
        begun,
        Arc::new(assortment),
        broadcast,
        completions,
        ledger,
    );
    Run {
        control,
        start: Instant::now(),
    }
}

fn actor(name: &str) -> ActorId {
    ActorId::new(name).unwrap()
}

impl Run {
    /// Reports a version and what the canary says of it.
    fn report(&self, name: &str, number: u64, verdict: CanaryVerdict) {
        let canary = CanaryReport {
            verdict,
            deviation: 0.5,
            tolerance: 1e-4,
            separation: 0.5,
        };
        let adoption = Adoption {
            version: version(number),
            canary: Some(canary),
            adapter_bytes: 1,
            base_bytes: 1,
            relay_bytes: 0,
        };
        self.control.adopted(&actor(name), &adoption, self.start).unwrap();
    }

    fn lease(&self, name: &str, policy: u64, wanted: usize) -> LeaseAnswer {
        self.control
            .lease(&actor(name), version(policy), wanted, self.start)
            .unwrap()
    }

    fn leased(&self, name: &str, policy: u64, wanted: usize) -> Vec<u64> {
        match self.lease(name, policy, wanted) {
            LeaseAnswer::Tasks(tasks) => tasks.iter().map(|task| task.id.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn submit(&self, name: &str, outcome: RolloutOutcome) -> Receipt {
        let receipt = self.control.submit(&actor(name), outcome, self.start);
        self.control.deliver(self.control.ledger.waiting());
        receipt
    }

    fn publish(&self, number: u64) {
        let metrics = VersionMetrics {
            version: version(number),
            values: BTreeMap::new(),
        };
        self.control
            .publish(version(number), weights(&format!("v{number}")), metrics);
    }
}

#[tokio::test]
async fn i2_a_task_has_at_most_one_terminal_outcome() {
    let run = run(|_| {}).await;
    assert_eq!(run.leased("a", 0, 2), [0, 1]);
    assert_eq!(run.submit("a", pair(0, 0)), Receipt::Recorded);
    assert!(matches!(
        run.submit("a", no_pair(0, 0)),
        Receipt::AlreadyRecorded(_)
    ));
    assert!(matches!(run.submit("b", pair(0, 0)), Receipt::AlreadyRecorded(_)));
    assert_eq!(run.control.buffer.progress().fresh, 1);
    assert_eq!(run.control.outcomes().duplicates, 2);
}

#[tokio::test]
async fn an_outcome_of_a_task_that_somebody_else_holds_is_refused() {
    let run = run(|_| {}).await;
    run.leased("a", 0, 1);
    let refusal = Refusal::NotLeased {
        task: TaskId(0),
        actor: actor("b"),
    };
    assert_eq!(run.submit("b", pair(0, 0)), Receipt::Refused(refusal));
    assert!(matches!(
        run.submit("a", pair(9, 0)),
        Receipt::Refused(Refusal::NotLeased { .. })
    ));
    assert_eq!(run.submit("a", pair(0, 0)), Receipt::Recorded);
    assert_eq!(run.control.outcomes().refused, 2);
}

#[tokio::test]
async fn an_outcome_of_an_unpublished_version_is_refused_and_its_task_leased_again() {
    let run = run(|_| {}).await;
    run.leased("a", 0, 1);
    let refusal = Refusal::Version {
        task: TaskId(0),
        leased: version(0),
        found: version(1),
    };
    assert_eq!(run.submit("a", pair(0, 1)), Receipt::Refused(refusal));
    assert_eq!(run.leased("a", 0, 1), [0]);
    assert_eq!(
        run.control.lease(&actor("a"), version(3), 1, run.start),
        Err(UnknownVersion(version(3)).into())
    );
}

#[tokio::test]
async fn retryable_failures_are_reissued_until_the_last_attempt_and_then_given_up() {
    let run = run(|_| {}).await;
    for receipt in [Receipt::Reissued, Receipt::Recorded] {
        assert_eq!(run.leased("a", 0, 1), [0]);
        assert_eq!(run.submit("a", failed(0, true)), receipt);
    }
    assert_eq!(run.leased("a", 0, 1), [1]);
    assert!(matches!(run.submit("a", pair(0, 0)), Receipt::AlreadyRecorded(_)));
    // Each attempt once.
    assert_eq!(run.control.outcomes().failures["reward_unavailable"], 2);
}

#[tokio::test]
async fn an_actor_whose_answer_was_lost_gets_the_same_tasks_again_and_no_others() {
    let run = run(|config| (config.lease_ttl_ms, config.lease_grace_ms) = (1000, 0)).await;
    assert_eq!(run.leased("a", 0, 3), [0, 1, 2]);
    assert_eq!(run.submit("a", pair(1, 0)), Receipt::Recorded);
    let later = run.start + Duration::from_millis(900);
    let again = run.control.lease(&actor("a"), version(0), 3, later).unwrap();
    assert!(matches!(again, LeaseAnswer::Tasks(tasks) if tasks.iter().map(|t| t.id.0).eq([0, 2])));
    // They last from now on.
    run.control.expire(run.start + Duration::from_millis(1800));
    for task in [0, 2] {
        assert_eq!(run.submit("a", pair(task, 0)), Receipt::Recorded);
    }
    assert_eq!(run.leased("a", 0, 3), [3]);
    assert_eq!(run.control.outcomes().expired, 0);
}

#[tokio::test]
async fn a_late_duplicate_ends_the_lease_it_was_worked_under() {
    let run = run(|_| {}).await;
    let tasks = run.leased("slow", 0, 4);
    // Between the look at its lease and its record, the slow actor's lease ran out and went to another one.
    let late = run.start + run.control.terms.ttl + run.control.terms.grace;
    run.control.expire(late);
    assert_eq!(run.leased("quick", 0, 4), tasks);
    run.control
        .record(pair(0, 0), Some(&ActorId::new("slow").unwrap()));
    assert!(matches!(
        run.submit("quick", pair(0, 0)),
        Receipt::AlreadyRecorded(_)
    ));
    assert_eq!(run.control.leases.open(), 3);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_trained_on_is_refused_by_its_field_and_its_task_leased_again() {
    let run = run(|_| {}).await;
    for (tokens, word) in [
        (&[7, 50, 2][..], "token 50, expected one below 50"),
        (&[7, 7, 7, 2], "4 tokens"),
    ] {
        assert_eq!(run.leased("a", 0, 1), [0]);
        let outcome = RolloutOutcome::Pair(pair_of(0, 0, [&[5, 2], tokens]));
        let Receipt::Refused(refusal) = run.submit("a", outcome) else {
            panic!("it was taken")
        };
        let text = refusal.to_string();
        assert!(
            text.contains("candidates[1].trajectory.token_ids") && text.contains(word),
            "{text}"
        );
    }
    assert_eq!(run.control.buffer.progress().fresh, 0);
}

#[tokio::test]
async fn scores_of_another_reward_model_than_the_runs_are_refused_by_both_digests() {
    let [own, other] = [9, 8].map(|byte| common::Digest::from_bytes([byte; 32]).to_string());
    let pinned = run(|config| config.reward_model = other.clone()).await;
    for outcome in [pair(0, 0), no_pair(0, 0)] {
        assert_eq!(pinned.leased("a", 0, 1), [0]);
        let Receipt::Refused(refusal) = pinned.submit("a", outcome) else {
            panic!("it was taken")
        };
        let text = refusal.to_string();
        assert!(text.contains(&own) && text.contains(&other), "{text}");
    }
    assert_eq!(pinned.control.buffer.progress().fresh, 0);
    assert!(pinned.control.outcomes().reward_models.is_empty());
    let pinned = run(|config| config.reward_model = own.clone()).await;
    assert_eq!(pinned.leased("a", 0, 1), [0]);
    assert_eq!(pinned.submit("a", pair(0, 0)), Receipt::Recorded);
    assert_eq!(pinned.control.outcomes().reward_models[&own], 1);
    let config = LearnerConfig {
        reward_model: "latest".into(),
        ..Default::default()
    };
    let error = config.validate().unwrap_err().to_string();
    assert!(
        error.contains("reward_model") && error.contains("blake3:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_task_that_nobody_finishes_is_given_up_as_abandoned() {
    let run = run(|_| {}).await;
    for _ in 0..2 {
        assert_eq!(run.leased("a", 0, 1), [0]);
        assert_eq!(run.control.hand_back(&actor("a"), &[TaskId(0)], run.start), 1);
    }
    assert_eq!(run.leased("a", 0, 1), [1]);
    assert_eq!(run.control.outcomes().failures["abandoned"], 1);
}

#[tokio::test]
async fn i9_no_lease_outlives_its_deadline_plus_grace() {
    let run = run(|config| (config.lease_ttl_ms, config.lease_grace_ms) = (1000, 500)).await;
    assert_eq!(run.leased("a", 0, 2), [0, 1]);
    run.control.expire(run.start + Duration::from_millis(1499));
    assert_eq!(run.submit("a", pair(0, 0)), Receipt::Recorded);
    run.control.expire(run.start + Duration::from_millis(1500));
    assert_eq!(run.leased("b", 0, 1), [1]);
    assert!(matches!(run.submit("a", pair(1, 0)), Receipt::Refused(_)));
    assert_eq!(run.control.outcomes().expired, 1);
}

#[tokio::test]
async fn what_a_service_left_undone_is_leased_again_and_its_attempts_are_its_own() {
    let run = run(|_| {}).await;
    for blame in [
        Blame::FullService,
        Blame::Service,
        Blame::FullService,
        Blame::Service,
    ] {
        assert_eq!(run.leased("a", 0, 1), [0]);
        assert_eq!(run.submit("a", undone(0, blame)), Receipt::Reissued);
    }
    for receipt in [Receipt::Reissued, Receipt::Recorded] {
        assert_eq!(run.leased("a", 0, 1), [0]);
        assert_eq!(run.submit("a", failed(0, true)), receipt);
    }
    assert_eq!(run.control.outcomes().failures["reward_unavailable"], 6);
}

#[tokio::test]
async fn handed_back_tasks_go_to_the_next_who_asks() {
    let run = run(|_| {}).await;
    assert_eq!(run.leased("a", 0, 3), [0, 1, 2]);
    assert_eq!(
        run.control
            .hand_back(&actor("a"), &[TaskId(1), TaskId(2), TaskId(7)], run.start),
        2
    );
    assert_eq!(run.control.hand_back(&actor("b"), &[TaskId(0)], run.start), 0);
    assert_eq!(run.leased("b", 0, 3), [1, 2, 3]);
}

#[tokio::test]
async fn no_lease_is_given_beyond_what_staleness_allows_and_a_published_version_reopens_them() {
    let run = run(|_| {}).await;
    assert_eq!(run.leased("a", 0, 16).len(), 4);
    assert_eq!(run.lease("b", 0, 16), LeaseAnswer::Wait(Pause::Staleness));
    (0..4).for_each(|task| assert_eq!(run.submit("a", pair(task, 0)), Receipt::Recorded));
    (&run.control.buffer).next_batch(version(0)).unwrap();
    assert_eq!(run.lease("a", 0, 16), LeaseAnswer::Wait(Pause::Staleness));
    run.publish(1);
    assert_eq!(run.lease("a", 0, 16), LeaseAnswer::Wait(Pause::PolicyBehind));
    assert_eq!(run.leased("a", 1, 16), [4, 5, 6, 7]);
    assert!(!run.control.broadcast.newest().last);
}

#[tokio::test]
async fn the_last_version_ends_the_run_for_everybody_who_asks() {
    let run = run(|_| {}).await;
    run.publish(1);
    run.publish(2);
    assert!(run.control.broadcast.newest().last);
    let silence = Duration::from_secs(1);
    assert_eq!(run.lease("a", 1, 1), LeaseAnswer::Complete);
    assert!(!run.control.actors.all_done(version(2), run.start, silence));
    run.report("a", 2, CanaryVerdict::Inconclusive);
    assert!(run.control.actors.all_done(version(2), run.start, silence));
    assert_eq!(run.control.metrics(1).len(), 1);
}

#[tokio::test]
async fn a_deterministic_block_refuses_what_another_version_sampled() {
    let run = run(|config| config.deterministic = true).await;
    assert_eq!(run.leased("a", 0, 3), [0, 1, 2]);
    assert_eq!(run.leased("b", 0, 3), [3]);
    assert_eq!(run.lease("c", 0, 3), LeaseAnswer::Wait(Pause::AllLeased));
    run.publish(1);
    assert!(matches!(
        run.submit("b", pair(3, 1)),
        Receipt::Refused(Refusal::Version { .. })
    ));
}

#[tokio::test]
async fn i5_an_actor_whose_weights_do_nothing_is_neither_leased_to_nor_listened_to() {
    let run = run(|_| {}).await;
    run.report("a", 0, CanaryVerdict::Inconclusive);
    assert_eq!(run.leased("a", 0, 2), [0, 1]);
    run.report("a", 0, CanaryVerdict::Mismatch);
    let denied = run.control.lease(&actor("a"), version(0), 1, run.start);
    assert!(matches!(denied, Err(LeaseDenied::Quarantined(reason)) if reason.contains("v1.0")));
    // What it held is somebody else's now, and what it says of it counts for nothing.
    assert_eq!(run.leased("b", 0, 2), [0, 1]);
    let refused = run.submit("a", pair(0, 0));
    assert!(
        matches!(refused, Receipt::Refused(Refusal::Quarantined { .. })),
        "{refused:?}"
    );
    assert_eq!(run.submit("b", pair(0, 0)), Receipt::Recorded);
    run.report("a", 0, CanaryVerdict::Ok);
    assert_eq!(run.leased("a", 0, 1).len(), 1);
}

#[tokio::test]
async fn docs_metrics_md_has_every_name_of_the_learners_page_and_its_first_line_is_the_goodput() {
    let mut run = run(|_| {}).await;
    assert_eq!(run.leased("a", 0, 3), [0, 1, 2]);
    run.submit("a", pair(0, 0));
    run.submit("a", no_pair(1, 0));
    let figures = BTreeMap::from([("match_rate".to_owned(), 0.5)]);
    run.control.evaluated(version(0), figures).unwrap();
    let control = Arc::new(std::mem::replace(&mut run, self::run(|_| {}).await).control);
    let instruments = crate::Instruments::default();
    instruments.watch(&control);
    let mut registry = proto::observe::Registry::default();
    instruments.register(&mut registry);
    let page = proto::observe::documented_page(&registry, "Learner");
    assert!(page.starts_with("# HELP rollout_goodput_ratio "), "{page}");
    assert!(page.contains("\nrollout_goodput_ratio 0.0\n"), "{page}");
    assert!(
        page.contains("rollout_outcomes_total{kind=\"no_pair\",reason=\"tie\"} 1"),
        "{page}"
    );
    assert!(
        page.contains("\nrollout_leases_open 1.0\n") && page.contains("\nrollout_images_total 4\n"),
        "{page}"
    );
    assert!(page.contains("held_out{figure=\"match_rate\"} 0.5\n"), "{page}");
}
