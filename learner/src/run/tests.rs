//! Whole runs over gRPC with an actor that makes up its completions.

use super::*;
use crate::assortment::test_catalogue::catalogue;
use crate::config::{LossConfig, Partner};
use crate::instruments::Instruments;
use crate::refusals::check_catalogue;
use crate::test_outcomes::{group_sampled_by, no_pair};
use crate::test_policy::policy;
use common::{ActorId, LearnerEpoch, NoPairReason, PolicyVersion, PreferencePair, RolloutOutcome};
use models::lora::LoraConfig;
use models::peft::read_adapter_config;
use proto::pb::{self, learner_service_client::LearnerServiceClient, lease_tasks_response::Answer};
use proto::{AllowLoopback, header};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

fn config() -> LearnerConfig {
    let mut config = LearnerConfig {
        versions: 2,
        pairs_per_version: 4,
        passes: 1,
        minibatch_pairs: 2,
        retry_after_ms: 1,
        lora: LoraConfig::new(2, 4.0),
        loss: LossConfig {
            partner: Partner::Uniform,
            ..LossConfig::default()
        },
        ..LearnerConfig::default()
    };
    config.optimizer.warmup_steps = 0;
    config
}

struct Running {
    url: String,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<RunSummary, LearnerError>>,
    directory: Arc<tempfile::TempDir>,
}

async fn start(config: LearnerConfig) -> Running {
    let directory = tempfile::tempdir().unwrap();
    policy().save(&directory.path().join("policy")).unwrap();
    let inputs = inputs(directory.path());
    start_with(config, inputs, Arc::new(directory)).await
}

async fn start_with(
    config: LearnerConfig,
    inputs: LearnerInputs,
    directory: Arc<tempfile::TempDir>,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(run(config, inputs, listener, shutdown.clone()));
    Running {
        url,
        shutdown,
        ended,
        directory,
    }
}

/// A run whose policy and adapter are in `directory`.
fn inputs(directory: &Path) -> LearnerInputs {
    LearnerInputs {
        run_id: RunId::new("test").unwrap(),
        run_seed: 7,
        completion_tokens: 8,
        settings: common::DecidingSettings::default(),
        catalogue: Arc::new(catalogue(&[None; 5])),
        store: Store::open("memory:///").unwrap(),
        policy_dir: directory.join("policy"),
        policy_reading: PolicyReading::default(),
        base_model: "published/policy".into(),
        adapter: Store::open(&format!("file://{}", directory.join("adapter").display())).unwrap(),
        steps_file: Some(directory.join("steps.jsonl")),
        pairs_dir: None,
        tensorboard_dir: None,
        instruments: Instruments::default(),
        placement: Placement::cpu(),
        threads: 2,
        authorizer: Arc::new(AllowLoopback),
        transport: proto::tls::Transport::plain(),
    }
}

impl Running {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }
}

mod actor;
mod deciding;
mod ended;
mod leaving;
mod malformed;
mod refused;
mod resumed;
mod room;
mod shown;
mod slow_store;

use actor::TestActor;

fn made_up(task: u64, sampled_by: PolicyVersion) -> RolloutOutcome {
    let group = |completions| group_sampled_by(sampled_by, task, completions);
    match task % 5 {
        0 => RolloutOutcome::NoPair {
            group: group([&[5, 2], &[5, 2]]),
            reason: NoPairReason::Tie,
        },
        _ => {
            let group = group([&[40, 41, 2], &[30, 31, 32, 2]]);
            RolloutOutcome::Pair(PreferencePair::new(group, 1, 0, 1.0).unwrap())
        }
    }
}

/// Two steps a version, whose means are the version's.
fn assert_steps(lines: &str, summary: &RunSummary) {
    let steps: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<_> = steps
        .iter()
        .map(|step| (step["step"].as_u64(), step["version"]["number"].as_u64()))
        .collect();
    assert_eq!(
        numbers,
        [(1, 1), (2, 1), (3, 2), (4, 2)].map(|(step, version)| (Some(step), Some(version)))
    );
    for (version, steps) in summary.metrics.iter().zip(steps.chunks(2)) {
        for name in ["loss", "rewards_negative", "kl", "completion_tokens"] {
            let mean = steps.iter().map(|step| step[name].as_f64().unwrap()).sum::<f64>() / 2.0;
            assert!((version.values[name] - mean).abs() < 1e-9, "{name}: {mean}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_with_every_version_adopted_and_an_adapter_on_disk() {
    let running = start(config()).await;
    let actors = ["a", "b"].map(|name| {
        let url = running.url.clone();
        tokio::spawn(async move { TestActor::join(&url, name).await.work(made_up).await })
    });
    let mut received = BTreeMap::new();
    for (name, actor) in ["a", "b"].into_iter().zip(actors) {
        received.insert(name, actor.await.unwrap());
    }
    let (policy, adapter) = (running.path("policy"), running.path("adapter"));
    let steps = running.path("steps.jsonl");
    let summary = running.ended.await.unwrap().unwrap();
    assert!(summary.complete);
    assert_steps(&std::fs::read_to_string(steps).unwrap(), &summary);
    assert_eq!(
        (summary.version.number, summary.publishes, summary.pairs_trained),
        (2, 3, 8)
    );
    assert_eq!(summary.metrics.len(), 2);
    assert!(
        summary
            .metrics
            .iter()
            .all(|m| m.values["loss"].is_finite() && m.values["pairs"] == 4.0)
    );
    assert_eq!(
        summary.outcomes.refused + summary.outcomes.expired + summary.pairs_refused,
        0
    );
    for actor in &summary.actors {
        assert_eq!(actor.version.unwrap().number, 2);
        assert_eq!(actor.adapter_bytes_received, received[actor.actor_id.as_str()]);
        assert_eq!(actor.adapter_bytes_received % summary.bytes_per_publish, 0);
    }
    let text = |name: &str| std::fs::read_to_string(adapter.join(name)).unwrap();
    let peft = text("adapter_config.json");
    assert_eq!(read_adapter_config(&peft).unwrap(), LoraConfig::new(2, 4.0));
    assert!(peft.contains("\"published/policy\""), "{peft}");
    let weights = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    assert_eq!(store::digest(&weights), summary.adapter_digest);
    let lineage: serde_json::Value = serde_json::from_str(&text("lineage.json")).unwrap();
    assert_eq!(
        (&lineage["run_id"], &lineage["run_seed"]),
        (&"test".into(), &7.into())
    );
    assert_eq!(lineage["version"]["number"], 2);
    assert_eq!(lineage["adapter"], summary.adapter_digest.to_string());
    assert_eq!(lineage["base"][1]["name"], "config.json");
    assert!(policy.join("config.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deterministic_run_gives_the_same_bytes_whoever_works() {
    let mut digests = vec![];
    for actors in [&["a"][..], &["b", "c"]] {
        let running = start(LearnerConfig {
            deterministic: true,
            ..config()
        })
        .await;
        let work = actors.iter().map(|name| {
            let url = running.url.clone();
            tokio::spawn(async move { TestActor::join(&url, name).await.work(made_up).await })
        });
        futures::future::try_join_all(work.collect::<Vec<_>>())
            .await
            .unwrap();
        digests.push(running.ended.await.unwrap().unwrap().adapter_digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_tasks_all_tie_fails_with_the_reasons_and_writes_nothing() {
    let running = start(LearnerConfig {
        deterministic: true,
        linger_ms: 1_500,
        ..config()
    })
    .await;
    let mut actor = TestActor::join(&running.url, "a").await;
    let mut done = 0;
    while done < 4 {
        let Answer::Lease(lease) = actor.lease().await else {
            panic!("no lease")
        };
        done += lease.tasks.len();
        actor
            .submit(lease.tasks.iter().map(|task| no_pair(task.task, 0)).collect())
            .await;
    }
    let adapter = running.path("adapter");
    let status = loop {
        let request = pb::GetRunStatusRequest {
            header: actor.header(),
            metrics_from: 0,
        };
        let status = actor.client.get_run_status(request).await.unwrap().into_inner();
        if !status.failure.is_empty() {
            break status;
        }
    };
    for words in ["tie 4", "lower learner.optimizer.learning_rate"] {
        assert!(status.failure.contains(words), "{words}: {}", status.failure);
    }
    let refused = actor.client.lease_tasks(pb::LeaseTasksRequest {
        header: actor.header(),
        policy: actor.manifest.version,
        max_tasks: 1,
    });
    assert!(refused.await.unwrap_err().message().contains("tie 4"));
    let failure = running.ended.await.unwrap().unwrap_err();
    assert!(
        matches!(
            failure,
            LearnerError::TooFewPairs {
                tasks: 4,
                pairs: 0,
                ..
            }
        ),
        "{failure}"
    );
    assert_eq!(std::fs::read_dir(adapter).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stopped_before_its_first_version_drains_and_leaves_an_earlier_adapter_alone() {
    let running = start(config()).await;
    let earlier = running.path("adapter/adapter_model.safetensors");
    std::fs::create_dir_all(earlier.parent().unwrap()).unwrap();
    std::fs::write(&earlier, "trained for hours").unwrap();
    let actor = TestActor::join(&running.url, "a").await;
    let mut client = actor.client.clone();
    let watch = pb::WatchPolicyRequest {
        header: actor.header(),
        after: actor.manifest.version,
        relay_port: 0,
        evaluates: false,
        settings: BTreeMap::new(),
    };
    let mut news = client.watch_policy(watch).await.unwrap().into_inner();
    running.shutdown.cancel();
    assert!(news.message().await.unwrap().is_none());
    let summary = tokio::time::timeout(Duration::from_secs(4), running.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((summary.complete, summary.version.number), (false, 0));
    assert_eq!(std::fs::read(&earlier).unwrap(), b"trained for hours");
    assert!(!running.directory.path().join("adapter/lineage.json").exists());
}

#[tokio::test]
async fn a_broken_policy_is_the_configurations_fault_and_nothing_is_stored_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let policy_dir = directory.path().join("policy");
    policy().save(&policy_dir).unwrap();
    std::fs::write(policy_dir.join("model.safetensors"), "garbage").unwrap();
    let stored = directory.path().join("store");
    let inputs = LearnerInputs {
        store: Store::open(&format!("file://{}", stored.display())).unwrap(),
        ..inputs(directory.path())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = run(config(), inputs, listener, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(refusal.is_configuration());
    assert!(refusal.to_string().contains("model.safetensors"), "{refusal}");
    assert!(!stored.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_the_fenced_are_refused() {
    let running = start(config()).await;
    let mut actor = TestActor::join(&running.url, "a").await;
    let mut lease = async |header| {
        let request = pb::LeaseTasksRequest {
            header: Some(header),
            policy: actor.manifest.version,
            max_tasks: 1,
        };
        actor.client.lease_tasks(request).await.unwrap_err().code()
    };
    let (run, other) = (RunId::new("test").unwrap(), RunId::new("other").unwrap());
    let epoch = |number| Some(LearnerEpoch(number));
    assert_eq!(
        lease(header(None, epoch(1), "a")).await,
        tonic::Code::FailedPrecondition
    );
    assert_eq!(
        lease(header(Some(&other), epoch(1), "a")).await,
        tonic::Code::FailedPrecondition
    );
    assert_eq!(
        lease(header(Some(&run), epoch(2), "a")).await,
        tonic::Code::Aborted
    );
    assert_eq!(
        lease(header(Some(&run), epoch(1), "a b")).await,
        tonic::Code::InvalidArgument
    );
    running.shutdown.cancel();
    running.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_catalogue_without_partners_ends_before_anything_is_served() {
    let one = catalogue(&[Some("lamp")]);
    let refusal = check_catalogue(&LearnerConfig::default(), &one).unwrap_err();
    assert!(refusal.is_configuration());
    let dpo = LossConfig {
        mode: crate::config::LossMode::Dpo,
        ..LossConfig::default()
    };
    check_catalogue(
        &LearnerConfig {
            loss: dpo,
            ..LearnerConfig::default()
        },
        &one,
    )
    .unwrap();
    assert!(check_catalogue(&LearnerConfig::default(), &catalogue(&[])).is_err());
}
