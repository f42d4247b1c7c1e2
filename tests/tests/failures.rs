//! What goes wrong and what comes of it: lost actors, absent servers, and messages that nobody should accept.

use actor::ActorError;
use common::{Blame, Digest, FailureReason, LearnerEpoch, PolicyVersion, RolloutOutcome, RunId, TaskId};
use integration_tests::{Gate, TestCluster, TextPainter};
use proto::{header, pb};
use std::{sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpSocket};
use tonic::Code;

/// The header of a caller that has joined.
fn joined(run: &str, epoch: u64) -> Option<pb::RequestHeader> {
    Some(header(
        Some(&RunId::new(run).expect("a run id")),
        Some(LearnerEpoch(epoch)),
        "stranger",
    ))
}

fn first_version() -> Option<pb::PolicyVersion> {
    Some(PolicyVersion::initial(LearnerEpoch(1)).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_is_asked_to_stop_hands_its_leases_back_and_another_finishes_the_run() {
    let mut cluster = TestCluster::new(11).unwrap();
    cluster.actor.drain_timeout_s = 0.05;
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    let gate = Gate::default();
    let painter = Arc::new(TextPainter::behind(&gate));
    let leaving = cluster
        .start_actor_with("leaving", learner.address, reward.address, painter)
        .await
        .unwrap();
    gate.arrival().await;
    let left = leaving.stopped().await.unwrap().unwrap();
    assert_eq!((left.complete, left.pairs, left.handed_back), (false, 0, 4));

    let staying = cluster
        .start_actor("staying", learner.address, reward.address)
        .await
        .unwrap();
    let run = learner.joined().await.unwrap().unwrap();
    assert!(run.complete);
    assert_eq!(run.outcomes.expired, 0);
    assert!(staying.joined().await.unwrap().unwrap().complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leases_of_a_killed_actor_expire_and_another_finishes_the_run() {
    let mut cluster = TestCluster::new(12).unwrap();
    // Long enough for whoever is at work, however slow the machine is.
    (cluster.learner.lease_ttl_ms, cluster.learner.lease_grace_ms) = (4_000, 100);
    // A complete run takes the dead for gone once they are silent for as long.
    cluster.learner.linger_ms = 2_000;
    // Only a block whose every task has ended can be trained: the run must wait for the expiry.
    cluster.learner.deterministic = true;
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    let gate = Gate::default();
    let painter = Arc::new(TextPainter::behind(&gate));
    let doomed = cluster
        .start_actor_with("doomed", learner.address, reward.address, painter)
        .await
        .unwrap();
    gate.arrival().await;
    doomed.killed().await;

    let heir = cluster
        .start_actor("heir", learner.address, reward.address)
        .await
        .unwrap();
    let run = learner.joined().await.unwrap().unwrap();
    assert!(run.complete);
    assert_eq!(run.outcomes.expired, 4);
    assert!(heir.joined().await.unwrap().unwrap().complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_that_comes_up_late_costs_time_and_no_task() {
    let cluster = TestCluster::new(13).unwrap();
    let learner = cluster.start_learner().await.unwrap();
    // Bound but not listened on: nobody is let in, and nobody else gets the port.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    let actor = cluster
        .start_actor("patient", learner.address, address)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reward = cluster.start_reward_at(held.listen(1024).unwrap()).unwrap();
    assert!(learner.joined().await.unwrap().unwrap().complete);
    let summary = actor.joined().await.unwrap().unwrap();
    assert_eq!(summary.failures, 0);
    assert!(summary.pairs >= 16);
    reward.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_that_is_not_there_or_does_not_answer_is_named_before_any_task_is_leased() {
    let mut cluster = TestCluster::new(14).unwrap();
    (cluster.actor.reward_timeout_s, cluster.actor.request_timeout_s) = (0.3, 0.5);
    let learner = cluster.start_learner().await.unwrap();
    // The system takes connections for a listener that nobody serves.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = "127.0.0.1:1".parse().unwrap();
    for address in [silent.local_addr().unwrap(), nobody] {
        let actor = cluster.start_actor("hopeful", learner.address, address).await;
        let error = actor.unwrap().joined().await.unwrap().unwrap_err();
        assert!(matches!(error, ActorError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    let run = learner.stopped().await.unwrap().unwrap();
    assert_eq!(run.outcomes, learner::OutcomeCounts::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_whose_reward_server_has_another_model_than_the_run_takes_ends_and_names_both() {
    let mut cluster = TestCluster::new(14).unwrap();
    let wanted = Digest::from_bytes([7; 32]).to_string();
    cluster.learner.reward_model = wanted.clone();
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    let actor = cluster.start_actor("odd", learner.address, reward.address).await;
    let error = actor.unwrap().joined().await.unwrap().unwrap_err();
    let ActorError::RewardModel { found, .. } = &error else {
        panic!("{error}")
    };
    let text = error.to_string();
    assert!(
        text.contains(&wanted) && text.contains(&found.to_string()),
        "{text}"
    );
    let run = learner.stopped().await.unwrap().unwrap();
    assert_eq!((run.outcomes.pairs, run.outcomes.reward_models.len()), (0, 0));
    assert!(run.outcomes.failures["reward_unavailable"] > 0);
    reward.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_that_falls_silent_ends_the_actor_in_time_and_another_one_goes_on() {
    let mut cluster = TestCluster::new(14).unwrap();
    (cluster.actor.reward_timeout_s, cluster.actor.request_timeout_s) = (0.3, 3.0);
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    reward.answers().await.unwrap();
    let (gate, address) = (Gate::default(), reward.address);
    let painter = Arc::new(TextPainter::behind(&gate));
    let deserted = cluster
        .start_actor_with("deserted", learner.address, address, painter)
        .await
        .unwrap();
    gate.arrival().await;
    reward.stopped().await.unwrap().unwrap();
    let silent = TcpListener::bind(address).await.unwrap();
    drop(gate);
    let error = deserted.joined().await.unwrap().unwrap_err();
    assert!(matches!(error, ActorError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    drop(silent);
    let reward = cluster.start_reward().await.unwrap();
    reward.answers().await.unwrap();
    let heir = cluster
        .start_actor("heir", learner.address, reward.address)
        .await
        .unwrap();
    let run = learner.joined().await.unwrap().unwrap();
    assert!(run.complete);
    assert_eq!((run.outcomes.expired, run.outcomes.refused), (0, 0));
    // The tasks at hand failed in time, without a number, and were leased again.
    assert_eq!(run.outcomes.failures["reward_unavailable"], 4);
    assert!(heir.joined().await.unwrap().unwrap().complete);
    reward.stopped().await.unwrap().unwrap();
}

#[tokio::test]
async fn an_absent_learner_is_named_by_its_address() {
    let mut cluster = TestCluster::new(15).unwrap();
    cluster.actor.learner_timeout_s = 0.2;
    let learner = cluster.start_learner().await.unwrap();
    let address = learner.address;
    learner.killed().await;
    let actor = cluster.start_actor("lost", address, address).await.unwrap();
    let error = actor.joined().await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_foreign_runs_fenced_learners_and_strangers_are_refused_with_their_reason() {
    let cluster = TestCluster::new(16).unwrap();
    let learner = cluster.start_learner().await.unwrap();
    let mut client = learner.learner_client().await.unwrap();
    let mut lease = async |header| {
        let request = pb::LeaseTasksRequest {
            header,
            policy: first_version(),
            max_tasks: 1,
        };
        client
            .lease_tasks(request)
            .await
            .map(|answer| answer.into_inner())
    };

    let foreign = lease(joined("another-run", 1)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::FailedPrecondition);
    assert!(
        foreign.message().contains("another-run") && foreign.message().contains("test-run"),
        "{foreign}"
    );

    // The caller knows a higher epoch than this learner's: it has been superseded.
    let fenced = lease(joined("test-run", 9)).await.unwrap_err();
    assert_eq!(fenced.code(), Code::Aborted);
    assert!(fenced.message().contains("epoch 9"), "{fenced}");

    let stranger = lease(Some(header(None, None, "stranger"))).await.unwrap_err();
    assert_eq!(stranger.code(), Code::FailedPrecondition);
    let nobody = lease(None).await.unwrap_err();
    assert_eq!(nobody.code(), Code::InvalidArgument);
    assert!(lease(joined("test-run", 1)).await.unwrap().answer.is_some());
    learner.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_of_a_task_that_the_caller_did_not_lease_is_refused() {
    let cluster = TestCluster::new(17).unwrap();
    let learner = cluster.start_learner().await.unwrap();
    let mut client = learner.learner_client().await.unwrap();
    let outcome = RolloutOutcome::Failed {
        task: TaskId(3),
        reason: FailureReason::Sampling,
        retryable: true,
        blame: Blame::Task,
        detail: String::new(),
    };
    let request = pb::SubmitOutcomesRequest {
        header: joined("test-run", 1),
        outcomes: vec![(&outcome).into()],
        ..Default::default()
    };
    let receipts = client.submit_outcomes(request).await.unwrap();
    let receipts = receipts.into_inner().receipts;
    assert_eq!(receipts[0].disposition(), pb::Disposition::Refused);
    assert!(!receipts[0].detail.is_empty());

    let empty = pb::SubmitOutcomesRequest {
        header: joined("test-run", 1),
        outcomes: vec![],
        ..Default::default()
    };
    assert_eq!(
        client.submit_outcomes(empty).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    learner.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_never_published_cannot_be_adopted_and_an_empty_return_is_malformed() {
    let cluster = TestCluster::new(17).unwrap();
    let learner = cluster.start_learner().await.unwrap();
    let mut client = learner.learner_client().await.unwrap();
    let version = PolicyVersion::initial(LearnerEpoch(1)).next();
    let adopted = client.report_adoption(pb::ReportAdoptionRequest {
        header: joined("test-run", 1),
        version: Some(version.into()),
        ..Default::default()
    });
    assert_eq!(adopted.await.unwrap_err().code(), Code::NotFound);
    let nothing = client.return_tasks(pb::ReturnTasksRequest {
        header: joined("test-run", 1),
        tasks: vec![],
        leaves: false,
    });
    assert_eq!(nothing.await.unwrap_err().code(), Code::InvalidArgument);
    assert!(learner.stopped().await.unwrap().unwrap().actors.is_empty());
}

/// Bytes of a chunk.
const CHUNK: usize = common::Artifact::CHUNK_BYTES as usize;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_bit_that_flips_in_a_broadcast_file_is_named_with_both_digests_before_anything_is_sampled() {
    let cluster = TestCluster::new(18).unwrap();
    let weights = cluster.policy_dir().join("model.safetensors");
    let promised = std::fs::read(&weights).unwrap();
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    let request = pb::JoinRequest {
        header: Some(header(None, None, "observer")),
        ..pb::JoinRequest::default()
    };
    // It answers when it has read what it serves.
    learner
        .learner_client()
        .await
        .unwrap()
        .join(request)
        .await
        .unwrap();
    // Behind its back: files of the base stay on the disk and are read whenever an actor fetches them.
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let actor = cluster
        .start_actor("careful", learner.address, reward.address)
        .await
        .unwrap();
    let error = actor.joined().await.unwrap().unwrap_err();
    let ActorError::ArtifactDigest {
        name,
        chunk,
        expected,
        found,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((name.as_str(), *chunk), ("model.safetensors", middle / CHUNK));
    let of = |bytes: &[u8]| store::digest(bytes.chunks(CHUNK).nth(*chunk).unwrap());
    assert_eq!((*expected, *found), (of(&promised), of(&bytes)));
    let run = learner.stopped().await.unwrap().unwrap();
    assert_eq!(run.outcomes, learner::OutcomeCounts::default());
    reward.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_artifacts_and_offsets_behind_the_end_are_refused() {
    let cluster = TestCluster::new(18).unwrap();
    let learner = cluster.start_learner().await.unwrap();
    let mut client = learner.learner_client().await.unwrap();
    let request = pb::JoinRequest {
        header: Some(header(None, None, "stranger")),
        ..pb::JoinRequest::default()
    };
    let policy = client.join(request).await.unwrap().into_inner().policy.unwrap();
    let adapter = policy.adapter.unwrap();
    for (digest, offset, code) in [
        (Digest::from_bytes([9; 32]).into(), 0, Code::NotFound),
        (adapter.digest.unwrap(), adapter.bytes + 1, Code::InvalidArgument),
        (pb::Digest { blake3: vec![1, 2] }, 0, Code::InvalidArgument),
    ] {
        let request = pb::FetchArtifactRequest {
            header: joined("test-run", 1),
            digest: Some(digest),
            offset,
        };
        assert_eq!(client.fetch_artifact(request).await.unwrap_err().code(), code);
    }
    learner.stopped().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_image_fails_its_own_group_only() {
    let cluster = TestCluster::new(19).unwrap();
    let reward = cluster.start_reward().await.unwrap();
    let picture = data::cutout::encode_rgb_png(&image::RgbImage::from_pixel(8, 8, image::Rgb([200, 30, 30])));
    let group = |images: Vec<Vec<u8>>| pb::ImageGroup {
        caption: "oak desk".into(),
        images: images.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    let groups = vec![
        group(vec![picture.clone(), b"no image".to_vec()]),
        group(vec![picture.clone(), picture]),
    ];
    let request = pb::ScoreGroupsRequest {
        header: Some(header(None, None, "stranger")),
        groups,
    };
    let answer = reward
        .reward_client()
        .await
        .unwrap()
        .score_groups(request)
        .await
        .unwrap()
        .into_inner();
    let Some(pb::group_score::Result::Failure(failure)) = &answer.scores[0].result else {
        panic!("a broken image was scored: {:?}", answer.scores[0])
    };
    assert_eq!(failure.reason(), pb::ScoreFailureReason::InvalidImage);
    let Some(pb::group_score::Result::Scores(scores)) = &answer.scores[1].result else {
        panic!("whole images were not scored: {:?}", answer.scores[1])
    };
    assert_eq!(scores.rewards[0], scores.rewards[1]);
    reward.stopped().await.unwrap().unwrap();
}
