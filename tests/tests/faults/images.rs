//! An image service that misbehaves in every way: actors come again, fail in time, wait and say so; nothing is scored that is no picture
//! of the description, and what is barred never loses.

mod service;

use crate::strangers::MEMORY;
use actor::ActorError;
use anyhow::Result;
use integration_tests::TestCluster;
use proto::{WireError, header, pb};
use service::{Asked, Fault, Scripted, overloaded};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::{net::TcpSocket, time::Instant};

/// Runs a cluster with one actor that renders with `service`.
async fn run(cluster: &TestCluster, service: &Scripted) -> Result<learner::RunSummary> {
    let (learner, reward) = (cluster.start_learner().await?, cluster.start_reward().await?);
    let images = service.serve().await?;
    let actor = cluster.start_actor_served_by("patient", learner.address, reward.address, images);
    let actor = actor.await?;
    let run = learner.joined().await??;
    assert!(run.complete);
    assert!(actor.joined().await??.complete);
    reward.stopped().await??;
    Ok(run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_full_failing_hanging_or_away_costs_time_and_no_task() -> Result<()> {
    let mut cluster = TestCluster::new(61)?;
    cluster.actor.image_request_timeout_s = 0.5;
    let internal = WireError::Internal("out of memory".into());
    let away = WireError::Unavailable("the model is loading".into());
    let service = Scripted::new([
        overloaded(60),
        Fault::Refuses(internal),
        Fault::Hangs,
        Fault::Refuses(away),
    ]);
    let run = run(&cluster, &service).await?;
    assert_eq!(run.outcomes.failures, BTreeMap::new());
    assert_eq!(run.outcomes.barred, BTreeMap::new());
    assert_eq!(service.faults.lock().expect("no panic").len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_full_for_longer_than_leases_last_is_waited_for_however_many_it_costs() -> Result<()>
{
    let mut cluster = TestCluster::new(70)?;
    // Half of it is for rendering, and much less than the service is borne for. No pause that it asks for fits in.
    cluster.learner.lease_ttl_ms = 4_000;
    cluster.actor.concurrent_renders = 1;
    cluster.learner.max_attempts = 1;
    let (pause, refusals) = (Duration::from_millis(2_400), 4);
    let service = Scripted::new((0..refusals).map(|_| overloaded(pause.as_millis() as u64)));
    let began = Instant::now();
    let run = run(&cluster, &service).await?;
    assert!(began.elapsed() >= pause * refusals, "{:?}", began.elapsed());
    // As many leases of four tasks, and nobody was asked again for any of them.
    let failures: BTreeMap<String, u64> = [("rendering".into(), u64::from(refusals) * 4)].into();
    assert_eq!((run.outcomes.failures, run.outcomes.expired), (failures, 0));
    let mut failed = cluster.ledger().await?;
    failed.retain(|line| line.outcome == "failed");
    assert_eq!(failed, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_none_fail_their_tasks_for_another_attempt() -> Result<()> {
    for fault in [
        Fault::FewerResults,
        Fault::NoResult,
        Fault::Fails(pb::ImageFailureReason::Unspecified),
        Fault::Fails(pb::ImageFailureReason::Model),
    ] {
        let mut cluster = TestCluster::new(62)?;
        cluster.actor.concurrent_renders = 1;
        let run = run(&cluster, &Scripted::new([fault.clone()])).await?;
        // A model's failure is that of its group; after an answer that is none, the rest of the lease is not asked for.
        let failed = match fault {
            Fault::Fails(pb::ImageFailureReason::Model) => 1,
            _ => 4,
        };
        assert_eq!(run.outcomes.failures["rendering"], failed, "{fault:?}");
        assert_eq!(run.outcomes.barred, BTreeMap::new(), "{fault:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_without_an_image_is_barred_and_the_rest_of_its_group_is_scored() -> Result<()> {
    use pb::ImageFailureReason::{Description, Guardrail, InvalidImage};
    let service = Scripted::new([
        Fault::Fails(Description),
        Fault::Fails(Guardrail),
        Fault::Fails(InvalidImage),
        Fault::Bytes(b"<html>502 Bad Gateway</html>".to_vec(), 2),
    ]);
    let run = run(&TestCluster::new(63)?, &service).await?;
    assert_eq!(run.outcomes.failures, BTreeMap::new());
    let expected = [("description", 1), ("undecodable", 1 + 4), ("withheld", 1)];
    let expected: BTreeMap<String, u64> = expected.map(|(name, count)| (name.into(), count)).into();
    assert_eq!(run.outcomes.barred, expected);
    let groups = run.outcomes.pairs + run.outcomes.no_pairs.values().sum::<u64>();
    assert_eq!(run.outcomes.reward_models.values().sum::<u64>(), groups);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_a_group_with_fewer_than_two_pictures_is_never_scored() -> Result<()> {
    let garbage = |spared| Fault::Bytes(b"\x89PNG\r\n\x1a\n cut off".to_vec(), spared);
    let run = run(&TestCluster::new(64)?, &Scripted::new([garbage(0), garbage(1)])).await?;
    assert_eq!(run.outcomes.failures, BTreeMap::new());
    assert_eq!(run.outcomes.no_pairs["invalid_image"], 2);
    assert_eq!(run.outcomes.barred["undecodable"], 6 + 5);
    let groups = run.outcomes.pairs + run.outcomes.no_pairs.values().sum::<u64>();
    assert_eq!(run.outcomes.reward_models.values().sum::<u64>(), groups - 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_and_a_refusal_end_their_tasks_and_nothing_else() -> Result<()> {
    let _much = MEMORY.lock().await;
    let too_large = Fault::Bytes(vec![0; 12 << 20], 0);
    let refusal = WireError::Invalid(proto::InvalidMessage::new("product", "it is a mug"));
    let service = Scripted::new([too_large, Fault::Refuses(refusal)]);
    let run = run(&TestCluster::new(65)?, &service).await?;
    assert_eq!(run.outcomes.failures["rendering"], 2);
    assert_eq!(run.outcomes.failures.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_asked_for_in_as_many_requests_as_the_service_wants_from_one_noise() -> Result<()> {
    let mut service = Scripted::new([]);
    service.max_descriptions = 4;
    let mut cluster = TestCluster::new(66)?;
    cluster.actor.concurrent_renders = 1;
    run(&cluster, &service).await?;
    let requests = service.requests();
    for group in requests.chunks(2) {
        let [
            Asked {
                descriptions: 4,
                noise_seed,
            },
            Asked {
                descriptions: 2,
                noise_seed: same,
            },
        ] = group
        else {
            panic!("{group:?}")
        };
        assert_eq!(noise_seed, same);
    }
    let mut seeds: Vec<u64> = requests.iter().map(|asked| asked.noise_seed).collect();
    seeds.dedup();
    assert_eq!(seeds.len(), requests.len() / 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_there_is_named() -> Result<()> {
    let mut cluster = TestCluster::new(67)?;
    cluster.actor.image_timeout_s = 0.3;
    let (learner, reward) = (cluster.start_learner().await?, cluster.start_reward().await?);
    // Bound but not listened on: nobody is let in, and nobody else gets the port.
    let nobody = TcpSocket::new_v4()?;
    nobody.bind("127.0.0.1:0".parse()?)?;
    let address = nobody.local_addr()?;
    let actor = cluster.start_actor_served_by("lonely", learner.address, reward.address, address);
    let error = actor.await?.joined().await?.expect_err("nobody renders");
    assert!(matches!(error, ActorError::ImageGenerator(_)), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_never_renders_ends_the_actor_with_what_is_wrong() -> Result<()> {
    let mut service = Scripted::new([Fault::FewerResults]);
    service.forever = true;
    let cluster = TestCluster::new(68)?;
    let (learner, reward) = (cluster.start_learner().await?, cluster.start_reward().await?);
    let images = service.serve().await?;
    let actor = cluster.start_actor_served_by("patient", learner.address, reward.address, images);
    let error = actor.await?.joined().await?.expect_err("nothing was rendered");
    let cause = std::error::Error::source(&error)
        .expect("what came of asking")
        .to_string();
    assert!(error.to_string().contains(&images.to_string()), "{error}");
    assert!(cause.contains("malformed"), "{cause}");
    let run = learner.stopped().await??;
    assert_eq!((run.outcomes.pairs, run.outcomes.reward_models.len()), (0, 0));
    Ok(())
}

/// What some actor of the run waits for.
async fn waited_for(learner: SocketAddr) -> Result<String> {
    let url = format!("http://{learner}");
    let mut observer = pb::learner_service_client::LearnerServiceClient::connect(url).await?;
    loop {
        let request = pb::GetRunStatusRequest {
            header: Some(header(None, None, "observer")),
            metrics_from: 0,
        };
        let actors = observer.get_run_status(request).await?.into_inner().actors;
        match actors.into_iter().find(|actor| !actor.waiting_for.is_empty()) {
            Some(actor) => return Ok(actor.waiting_for),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_in_the_middle_of_a_run_is_waited_for_and_the_run_goes_on_when_it_is_back()
-> Result<()> {
    let mut cluster = TestCluster::new(69)?;
    cluster.learner.lease_ttl_ms = 4_000;
    cluster.actor.image_timeout_s = 20.0;
    // Its first request is at hand when it dies.
    let service = Scripted::new([Fault::Hangs]);
    let (learner, reward) = (cluster.start_learner().await?, cluster.start_reward().await?);
    let (process, address) = service.process("127.0.0.1:0".parse()?)?;
    let actor = cluster.start_actor_served_by("patient", learner.address, reward.address, address);
    let actor = actor.await?;
    while service.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    process.shutdown_background();
    let told = waited_for(learner.address).await?;
    assert!(told.contains(&address.to_string()), "{told}");
    let (back, _) = service.process(address)?;
    let run = learner.joined().await??;
    assert!(run.complete);
    let names: Vec<&String> = run.outcomes.failures.keys().collect();
    assert_eq!(names, ["rendering"]);
    assert_eq!((run.outcomes.expired, run.outcomes.barred.len()), (0, 0));
    assert_eq!(run.actors[0].waiting_for, None);
    assert!(actor.joined().await??.complete);
    back.shutdown_background();
    Ok(())
}
