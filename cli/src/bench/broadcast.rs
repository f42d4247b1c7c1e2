//! How long an adapter takes to every actor, and what the learner sends for it.

use super::rig::{Plan, Rig};
use super::tcp_copy;
use crate::args::BroadcastArgs;
use crate::failure::Outcome;
use actor::ActorConfig;
use anyhow::Context as _;
use learner::LearnerConfig;
use serde::Serialize;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct BroadcastFigures {
    bytes: usize,
    actors: usize,
    /// From the announcement until the last actor has adopted.
    seconds: f64,
    /// The same bytes over one plain connection, hashed at both ends.
    tcp_hash_seconds: f64,
    /// `tcp_hash_seconds / seconds`.
    ratio_to_tcp: f64,
    /// Payload that the learner sent.
    learner_egress_bytes: u64,
    /// The same in adapters.
    egress_ratio: f64,
    /// Payload that actors had from each other.
    relayed_bytes: u64,
    /// Not measured here: nothing is decoded.
    swap_pause_ms_max: Option<f64>,
    tls: bool,
    cores: usize,
}

/// Measures it.
///
/// # Errors
/// When a role ends early or the system gives no sockets.
pub(crate) async fn broadcast(args: &BroadcastArgs) -> Outcome<BroadcastFigures> {
    let bytes = args.bytes;
    let plain = tokio::task::spawn_blocking(move || tcp_copy::copy(bytes)).await;
    let plain = plain.context("the plain copy")??;
    // One pair makes the second version, which is the last.
    let learner = LearnerConfig {
        versions: 1,
        pairs_per_version: 1,
        minibatch_pairs: 1,
        micro_batches: 1,
        keep_versions: 2,
        relay_branches: args.branches,
        linger_ms: 60_000,
        ..LearnerConfig::default()
    };
    let plan = Plan {
        learner,
        actor: ActorConfig {
            tasks_per_lease: 1,
            ..ActorConfig::default()
        },
        actors: args.actors,
        relays: true,
        generate: Duration::ZERO,
        adapter_bytes: args.bytes,
        store: Store::open("memory:///").context("a store in memory")?,
    };
    let mut rig = Rig::start(plan).await?;
    let before = rig.status().await?;
    let mut announcements = rig.announcements().await?;
    rig.begin();
    announcements.message().await.context("no announcement")?;
    let announced = Instant::now();
    rig.until_all_have(1).await?;
    let took = announced.elapsed();
    let after = rig.status().await?;
    rig.stop().await?;
    let relayed = |status: &proto::pb::RunStatus| -> u64 {
        status.actors.iter().map(|actor| actor.relay_bytes_received).sum()
    };
    let sent = after.artifact_bytes_sent - before.artifact_bytes_sent;
    Ok(BroadcastFigures {
        bytes: args.bytes,
        actors: args.actors,
        seconds: took.as_secs_f64(),
        tcp_hash_seconds: plain.as_secs_f64(),
        ratio_to_tcp: plain.as_secs_f64() / took.as_secs_f64(),
        learner_egress_bytes: sent,
        egress_ratio: sent as f64 / args.bytes as f64,
        relayed_bytes: relayed(&after) - relayed(&before),
        swap_pause_ms_max: None,
        tls: false,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}
