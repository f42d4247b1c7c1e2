//! A reward-server that misbehaves in every way that costs no task: actors come again, fail in time, wait and say so.

use actor::ActorError;
use anyhow::Result;
use common::Digest;
use integration_tests::{Running, TestCluster};
use proto::pb::{
    self, group_score,
    reward_service_server::{RewardService, RewardServiceServer},
};
use proto::{WireError, header};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, time::Instant};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Refuses(WireError),
    Hangs,
    /// These in place of the rewards of the first group.
    Rewards(Vec<f64>),
    FewerGroups,
    NoDigest,
}

/// A reward-server whose score of an image is its place, with what goes wrong first; the last fault stays where `forever`.
#[derive(Clone)]
struct Scripted {
    faults: Arc<Mutex<VecDeque<Fault>>>,
    forever: bool,
    model: Arc<Mutex<Digest>>,
    /// What it says of itself, and does not of its scores.
    alone: bool,
}

impl Scripted {
    fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            faults: Arc::new(Mutex::new(faults.into_iter().collect())),
            forever: false,
            model: Arc::new(Mutex::new(model(1))),
            alone: false,
        }
    }

    async fn serve(&self) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service =
            RewardServiceServer::new(self.clone()).max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(address)
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("no panic");
        match self.forever {
            true => faults.front().cloned(),
            false => faults.pop_front(),
        }
    }

    fn served(&self) -> Digest {
        *self.model.lock().expect("no panic")
    }
}

fn model(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

#[tonic::async_trait]
impl RewardService for Scripted {
    async fn score_groups(
        &self,
        request: Request<pb::ScoreGroupsRequest>,
    ) -> Result<Response<pb::ScoreGroupsResponse>, Status> {
        let groups = request.into_inner().groups;
        let scores = |images: usize| pb::Scores {
            rewards: (0..images).map(|place| place as f64).collect(),
            ..Default::default()
        };
        let score = |scores| pb::GroupScore {
            result: Some(group_score::Result::Scores(scores)),
        };
        let mut answer = pb::ScoreGroupsResponse {
            scores: groups
                .iter()
                .map(|group| score(scores(group.images.len())))
                .collect(),
            reward_model: Some(self.served().into()),
            ..Default::default()
        };
        match self.next_fault() {
            None => {}
            Some(Fault::Refuses(error)) => return Err(error.into()),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Rewards(rewards)) => {
                answer.scores[0] = score(pb::Scores {
                    rewards,
                    ..Default::default()
                });
            }
            Some(Fault::FewerGroups) => drop(answer.scores.pop()),
            Some(Fault::NoDigest) => answer.reward_model = None,
        }
        Ok(Response::new(answer))
    }

    async fn get_reward_model(
        &self,
        _: Request<pb::GetRewardModelRequest>,
    ) -> Result<Response<pb::RewardModel>, Status> {
        Ok(Response::new(pb::RewardModel {
            digest: Some(self.served().into()),
            form: "scripted".into(),
            scores_alone: self.alone,
        }))
    }

    async fn get_server_status(
        &self,
        _: Request<pb::GetServerStatusRequest>,
    ) -> Result<Response<pb::RewardServerStatus>, Status> {
        Err(Status::unimplemented("not in this script"))
    }
}

fn overloaded(ms: u64) -> Fault {
    Fault::Refuses(WireError::Overloaded {
        reason: "64 requests are worked on".into(),
        retry_after: Duration::from_millis(ms),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_failing_hanging_or_away_costs_time_and_no_task() -> Result<()> {
    let mut cluster = TestCluster::new(51)?;
    cluster.actor.request_timeout_s = 0.5;
    let internal = WireError::Internal("a picture too many".into());
    let away = WireError::Unavailable("the reward model is loading".into());
    let server = Scripted::new([
        overloaded(60),
        Fault::Refuses(internal),
        Fault::Hangs,
        Fault::Refuses(away),
    ]);
    let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
    let actor = cluster.start_actor("patient", learner.address, address).await?;
    let run = learner.joined().await??;
    assert!(run.complete);
    assert_eq!(run.outcomes.failures.len(), 0, "{:?}", run.outcomes);
    assert_eq!(server.faults.lock().expect("no panic").len(), 0);
    assert_eq!(actor.joined().await??.failures, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_answers_that_are_none_fail_their_tasks_for_another_attempt_and_no_number_is_made_up() -> Result<()>
{
    for fault in [
        Fault::Rewards(vec![f64::NAN; 6]),
        Fault::Rewards(vec![0.0, f64::INFINITY, 0.0, 0.0, 0.0, 0.0]),
        Fault::Rewards(vec![1.0; 5]),
        Fault::FewerGroups,
        Fault::NoDigest,
    ] {
        let cluster = TestCluster::new(52)?;
        let server = Scripted::new([fault.clone()]);
        let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
        let actor = cluster.start_actor("wary", learner.address, address).await?;
        let run = learner.joined().await??;
        assert!(run.complete, "{fault:?}");
        // The tasks of the first lease, each once: none was lost.
        assert_eq!(run.outcomes.failures["reward_unavailable"], 4, "{fault:?}");
        let scored = run.outcomes.pairs + run.outcomes.no_pairs.values().sum::<u64>();
        assert_eq!(
            run.outcomes.reward_models[&model(1).to_string()],
            scored,
            "{fault:?}"
        );
        assert!(actor.joined().await??.complete);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_scores_is_named_with_what_is_wrong() -> Result<()> {
    let cluster = TestCluster::new(53)?;
    let mut server = Scripted::new([Fault::Rewards(vec![f64::NAN; 6])]);
    server.forever = true;
    let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
    let actor = cluster.start_actor("patient", learner.address, address).await?;
    let error = actor.joined().await?.expect_err("nothing was scored");
    assert!(matches!(error, ActorError::Answer { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_is_waited_for_however_many_leases_it_costs() -> Result<()> {
    let mut cluster = TestCluster::new(54)?;
    cluster.actor.reward_timeout_s = 0.1;
    // A time to come again that no lease has: each refusal costs a lease, and twice as many as a task has attempts.
    let pause = Duration::from_millis(400);
    let refusals = 2 * cluster.learner.max_attempts;
    let server = Scripted::new((0..refusals).map(|_| overloaded(pause.as_millis() as u64)));
    let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
    let began = Instant::now();
    let actor = cluster.start_actor("patient", learner.address, address).await?;
    let told = wait_that_is_told(&learner).await?;
    assert!(
        told.contains("had no room") && told.contains(&address.to_string()),
        "{told}"
    );
    let run = learner.joined().await??;
    assert!(run.complete);
    assert!(began.elapsed() >= pause * refusals, "{:?}", began.elapsed());
    assert_eq!(
        run.outcomes.failures["reward_unavailable"],
        u64::from(refusals) * 4
    );
    assert_eq!(run.outcomes.expired, 0);
    assert!(actor.joined().await??.complete);
    costs_no_task(&cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_lease_after_lease_costs_no_task() -> Result<()> {
    let mut cluster = TestCluster::new(58)?;
    cluster.actor.reward_timeout_s = 0.3;
    cluster.learner.max_attempts = 1;
    // One lease less than a server has that is lost.
    let server = Scripted::new([Fault::NoDigest, Fault::FewerGroups]);
    let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
    let actor = cluster.start_actor("patient", learner.address, address).await?;
    let run = learner.joined().await??;
    assert!(run.complete);
    assert_eq!(run.outcomes.failures["reward_unavailable"], 2 * 4);
    assert!(actor.joined().await??.complete);
    costs_no_task(&cluster).await
}

/// No task ended as a failure.
async fn costs_no_task(cluster: &TestCluster) -> Result<()> {
    let mut failed = cluster.ledger().await?;
    failed.retain(|line| line.outcome == "failed");
    assert_eq!(failed, []);
    Ok(())
}

/// What an actor says that it waits for, as soon as one does.
async fn wait_that_is_told<T: Send + 'static>(learner: &Running<T>) -> Result<String> {
    let mut observer = learner.learner_client().await?;
    loop {
        let request = pb::GetRunStatusRequest {
            header: Some(header(None, None, "observer")),
            metrics_from: 0,
        };
        let status = observer.get_run_status(request).await?.into_inner();
        let mut actors = status.actors.into_iter();
        match actors.find(|actor| !actor.waiting_for.is_empty()) {
            Some(actor) => return Ok(actor.waiting_for),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scores_of_another_model_than_the_run_takes_are_never_recorded_and_the_wait_for_the_right_one_is_told()
-> Result<()> {
    let mut cluster = TestCluster::new(55)?;
    cluster.learner.reward_model = model(2).to_string();
    cluster.actor.reward_timeout_s = 20.0;
    let server = Scripted::new([]);
    let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
    let actor = cluster.start_actor("waiting", learner.address, address).await?;
    let told = wait_that_is_told(&learner).await?;
    for part in [model(1).to_string(), model(2).to_string(), address.to_string()] {
        assert!(told.contains(&part), "{told}");
    }
    *server.model.lock().expect("no panic") = model(2);
    let run = learner.joined().await??;
    assert!(run.complete);
    let models: Vec<&String> = run.outcomes.reward_models.keys().collect();
    assert_eq!(models, [&model(2).to_string()]);
    assert_eq!(run.outcomes.failures["reward_unavailable"], 4);
    assert_eq!(run.actors[0].waiting_for, None);
    assert!(actor.joined().await??.complete);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_another_model_ends_the_actor_with_both_digests() -> Result<()> {
    let mut cluster = TestCluster::new(56)?;
    cluster.learner.reward_model = model(2).to_string();
    cluster.actor.reward_timeout_s = 0.3;
    let (learner, address) = (cluster.start_learner().await?, Scripted::new([]).serve().await?);
    let actor = cluster.start_actor("waiting", learner.address, address).await?;
    let error = actor.joined().await?.expect_err("another model serves");
    assert!(matches!(error, ActorError::RewardModel { .. }), "{error}");
    for digest in [model(1), model(2)] {
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
    }
    let run = learner.stopped().await??;
    assert_eq!(run.outcomes.reward_models.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deterministic_run_takes_no_score_that_may_depend_on_who_else_asked() -> Result<()> {
    // One says nothing, as older ones do; the other is one of several behind a name, and not the one that scores.
    for alone in [false, true] {
        let mut cluster = TestCluster::new(59)?;
        cluster.learner.deterministic = true;
        cluster.actor.reward_timeout_s = 0.3;
        let mut server = Scripted::new([]);
        server.alone = alone;
        let (learner, address) = (cluster.start_learner().await?, server.serve().await?);
        let actor = cluster.start_actor("exact", learner.address, address).await?;
        let error = actor.joined().await?.expect_err("nothing fits the run");
        assert!(matches!(error, ActorError::ScoresTogether { .. }), "{error}");
        for word in [&address.to_string(), "--deterministic"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        let run = learner.stopped().await??;
        assert_eq!(run.outcomes.reward_models.len(), 0);
    }
    Ok(())
}
