//! How long an adapter takes to every actor, and what the learner sends for it.

use super::rig::{Plan, Rig};
use super::swap_pause::{self, SwapFigures};
use super::tcp_copy;
use crate::args::BroadcastArgs;
use crate::failure::Outcome;
use actor::{ActorConfig, SimulatedSampling};
use anyhow::Context as _;
use learner::{LearnerConfig, SimulatedAdapters};
use serde::Serialize;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct BroadcastFigures {
    bytes: usize,
    actors: usize,
    /// What each host's line carries, in bytes a second; `null` as much as the machine can.
    line: Option<f64>,
    /// From the announcement until the last actor has adopted.
    seconds: f64,
    /// The same to one actor.
    one_actor_seconds: f64,
    /// `seconds / one_actor_seconds`.
    ratio_to_one_actor: f64,
    /// The same bytes over one plain connection, hashed at both ends.
    tcp_hash_seconds: f64,
    /// `tcp_hash_seconds / seconds`.
    ratio_to_tcp: f64,
    /// Bytes that left the learner's host.
    learner_egress_bytes: u64,
    /// The same in adapters.
    egress_ratio: f64,
    /// Payload that actors had from each other.
    relayed_bytes: u64,
    /// By how much the longest gap between two decode steps, from the announcement until the first batch after the adoption, was longer than
    /// the median gap before, whatever its kind.
    swap_pause_ms_max: f64,
    /// Where that comes from.
    swap: SwapFigures,
    tls: bool,
    cores: usize,
}

/// One broadcast.
struct Sent {
    took: Duration,
    egress: u64,
    relayed: u64,
}

/// Measures it.
///
/// # Errors
/// When a role ends early or the system gives no sockets.
pub(crate) async fn broadcast(args: &BroadcastArgs) -> Outcome<BroadcastFigures> {
    let bytes = args.bytes;
    let plain = tokio::task::spawn_blocking(move || tcp_copy::copy(bytes)).await;
    let plain = plain.context("the plain copy")??;
    let sent = send(args, args.actors).await?;
    let to_one = match args.actors {
        1 => sent.took,
        _ => send(args, 1).await?.took,
    };
    let swap = swap_pause::measure(args.bytes, args.tls).await?;
    let seconds = sent.took.as_secs_f64();
    Ok(BroadcastFigures {
        bytes: args.bytes,
        actors: args.actors,
        line: line(args),
        seconds,
        one_actor_seconds: to_one.as_secs_f64(),
        ratio_to_one_actor: seconds / to_one.as_secs_f64(),
        tcp_hash_seconds: plain.as_secs_f64(),
        ratio_to_tcp: plain.as_secs_f64() / seconds,
        learner_egress_bytes: sent.egress,
        egress_ratio: sent.egress as f64 / args.bytes as f64,
        relayed_bytes: sent.relayed,
        swap_pause_ms_max: swap.pause_ms_max,
        swap,
        tls: args.tls,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

fn line(args: &BroadcastArgs) -> Option<f64> {
    (args.line > 0.0).then_some(args.line)
}

/// One version to so many actors.
async fn send(args: &BroadcastArgs, actors: usize) -> Outcome<Sent> {
    // One pair makes the second version, which is the last.
    let learner = LearnerConfig {
        versions: 1,
        pairs_per_version: 1,
        minibatch_pairs: 1,
        micro_batches: 1,
        keep_versions: 2,
        relay_branches: args.branches,
        // The run is over with that version: whoever is slow must still get it.
        linger_ms: 600_000,
        ..LearnerConfig::default()
    };
    let plan = Plan {
        learner,
        actor: ActorConfig {
            tasks_per_lease: 1,
            ..ActorConfig::default()
        },
        actors,
        relays: true,
        sampling: SimulatedSampling::Pause(Duration::ZERO),
        adapters: SimulatedAdapters::Drawn(args.bytes),
        line: line(args),
        tls: args.tls,
        store: Store::open("memory:///").context("a store in memory")?,
    };
    let mut rig = Rig::start(plan).await?;
    let before = rig.status().await?;
    let mut announcements = rig.announcements().await?;
    let left_before = rig.sent();
    rig.begin();
    announcements.message().await.context("no announcement")?;
    let announced = Instant::now();
    rig.until_all_have(1).await?;
    let (took, left) = (announced.elapsed(), rig.sent());
    let after = rig.status().await?;
    rig.stop().await?;
    let relayed = |status: &proto::RunStatus| -> u64 {
        status.actors.iter().map(|actor| actor.relay_bytes_received).sum()
    };
    Ok(Sent {
        took,
        egress: left - left_before,
        relayed: relayed(&after) - relayed(&before),
    })
}
