//! Leases and durable outcomes: how many a second one learner takes, and how long its callers wait.

use super::rig::{Plan, Rig};
use crate::args::ControlPlaneArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use actor::{ActorConfig, CallTimes, SimulatedSampling};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use learner::{LearnerConfig, SimulatedAdapters};
use proto::RunStatus;
use serde::Serialize;
use std::time::Duration;
use store::Store;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tasks of one lease.
const TASKS: usize = 16;

/// A record of the engine's own measurement, in bytes: what one of the run takes.
const RECORD: usize = 700;

/// Records that the engine gets at once, and how often that is under way at the same time.
const BATCH: u64 = 512;
const UNDER_WAY: usize = 4;

/// How long the engine is measured alone.
const ENGINE_ALONE: Duration = Duration::from_secs(3);

/// The object that is written beside the run to learn how long a write takes: about one flush of the ledger.
const PUT_BYTES: usize = 128 << 10;

/// How often it is.
const PUT_EVERY: Duration = Duration::from_millis(50);

/// Outcomes with which the run is complete, if each is a pair. Nothing is trained: what is measured ends where training would begin.
const PAIRS: usize = 1_000_000;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct ControlPlaneFigures {
    actors: usize,
    seconds: f64,
    lease_p50_ms: f64,
    lease_p99_ms: f64,
    submit_p50_ms: f64,
    submit_p99_ms: f64,
    /// Outcomes recorded and acknowledged.
    durable_pairs_per_s: f64,
    /// Records that the engine alone makes durable, in batches of 512.
    engine_puts_per_s: f64,
    ratio_to_engine: f64,
    /// A durable write of 128 KiB in the same store, beside the run.
    store_put_p99_ms: f64,
    /// The learner's `ledger_flush_ms`.
    flush_ms: u64,
    tls: bool,
    cores: usize,
}

/// Measures it.
///
/// # Errors
/// A mistake of configuration when the run would be complete before it is measured; when it is, a role ends early, or the store fails.
pub(crate) async fn control_plane(args: &ControlPlaneArgs, store: Store) -> Outcome<ControlPlaneFigures> {
    let learner = LearnerConfig {
        versions: 1,
        pairs_per_version: PAIRS,
        ..LearnerConfig::default()
    };
    let flush_ms = learner.ledger_flush_ms;
    let generate = one_lease(args).or_configuration()?;
    // Until the first outcomes are in, nothing is measured.
    let warm_up = generate.max(Duration::from_secs(1));
    check_lasts(args, warm_up).or_configuration()?;
    let plan = Plan {
        learner,
        actor: ActorConfig {
            group_size: 2,
            max_new_tokens: 16,
            tasks_per_lease: TASKS,
            relay: false,
            ..ActorConfig::default()
        },
        actors: args.actors,
        relays: false,
        sampling: SimulatedSampling::Pause(generate),
        adapters: SimulatedAdapters::Drawn(1 << 10),
        line: None,
        tls: args.tls,
        store: store.clone(),
    };
    let mut rig = Rig::start(plan).await?;
    rig.begin();
    tokio::time::sleep(warm_up).await;
    rig.time_calls(true);
    let puts = Puts::begin(store.clone());
    let (begun, first) = (Instant::now(), rig.lasting().await?);
    tokio::time::sleep(Duration::from_secs_f64(args.seconds)).await;
    let (last, took) = (rig.lasting().await?, begun.elapsed());
    rig.time_calls(false);
    let puts = puts.end().await?;
    let mut times = CallTimes::default();
    for (_, of_actor) in rig.stop().await? {
        times.lease.add(&of_actor.lease).context("lease times")?;
        times.submit.add(&of_actor.submit).context("submit times")?;
    }
    let durable = (recorded(&last) - recorded(&first)) as f64 / took.as_secs_f64();
    let engine = engine_alone(&store).await?;
    Ok(ControlPlaneFigures {
        actors: args.actors,
        seconds: took.as_secs_f64(),
        lease_p50_ms: ms(&times.lease, 0.5),
        lease_p99_ms: ms(&times.lease, 0.99),
        submit_p50_ms: ms(&times.submit, 0.5),
        submit_p99_ms: ms(&times.submit, 0.99),
        durable_pairs_per_s: durable,
        engine_puts_per_s: engine,
        ratio_to_engine: durable / engine,
        store_put_p99_ms: ms(&puts, 0.99),
        flush_ms,
        tls: args.tls,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// How long an actor takes for the tasks of a lease, so that all together come to the rate.
fn one_lease(args: &ControlPlaneArgs) -> anyhow::Result<Duration> {
    if args.rate == 0.0 {
        return Ok(Duration::ZERO);
    }
    let seconds = (args.actors as f64 * TASKS as f64) / args.rate;
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("--rate {}: expected more for {} --actors", args.rate, args.actors))
}

/// Refuses a measurement that the run does not last for; without a rate nobody knows beforehand.
fn check_lasts(args: &ControlPlaneArgs, warm_up: Duration) -> anyhow::Result<()> {
    let ControlPlaneArgs { seconds, rate, .. } = args;
    let warm_up = warm_up.as_secs_f64();
    ensure!(
        rate * (seconds + warm_up) < PAIRS as f64,
        "--seconds {seconds} at --rate {rate}: expected fewer than {PAIRS} outcomes, those of {warm_up:.1} s of warm-up included"
    );
    Ok(())
}

fn recorded(status: &RunStatus) -> u64 {
    status.outcomes.pairs + status.outcomes.no_pairs.values().sum::<u64>()
}

fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

/// Writes beside the run.
struct Puts {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Histogram<u64>>>,
}

impl Puts {
    fn begin(store: Store) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(put_until(store.synced(), stop.clone()));
        Self { stop, task }
    }

    /// How long they took, in microseconds.
    async fn end(self) -> anyhow::Result<Histogram<u64>> {
        self.stop.cancel();
        self.task.await.context("writing beside the run")?
    }
}

async fn put_until(store: Store, stop: CancellationToken) -> anyhow::Result<Histogram<u64>> {
    let mut times = CallTimes::default().submit;
    let content = Bytes::from(vec![7; PUT_BYTES]);
    for number in 0_u64.. {
        let begun = Instant::now();
        store
            .put(&format!("bench/put-{}", number % 64), content.clone())
            .await?;
        times.saturating_record(begun.elapsed().as_micros() as u64);
        if stop
            .run_until_cancelled(tokio::time::sleep(PUT_EVERY))
            .await
            .is_none()
        {
            break;
        }
    }
    Ok(times)
}

/// Records a second that a journal of its own takes in the same store.
async fn engine_alone(store: &Store) -> anyhow::Result<f64> {
    let flush = Duration::from_millis(LearnerConfig::default().ledger_flush_ms);
    let journal = store.open_journal("bench/engine", flush).await?;
    let content = Bytes::from(vec![7; RECORD]);
    let (begun, mut next) = (Instant::now(), 0);
    while begun.elapsed() < ENGINE_ALONE {
        let batches: Vec<_> = (0..UNDER_WAY as u64)
            .map(|batch| {
                let first = next + batch * BATCH;
                let keys = first..first + BATCH;
                journal.append(keys.map(|key| (Bytes::copy_from_slice(&key.to_be_bytes()), content.clone())))
            })
            .collect();
        futures::future::try_join_all(batches).await?;
        next += BATCH * UNDER_WAY as u64;
    }
    let rate = next as f64 / begun.elapsed().as_secs_f64();
    journal.close().await?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(seconds: f64, rate: f64) -> ControlPlaneArgs {
        ControlPlaneArgs {
            actors: 1000,
            seconds,
            rate,
            tls: false,
            store: None,
            json: false,
        }
    }

    #[test]
    fn a_measurement_is_refused_that_the_run_does_not_last_for() {
        let checked = |args: ControlPlaneArgs| check_lasts(&args, one_lease(&args).unwrap());
        // 16 tasks of each of 1000 actors come in within 16 s at 1000 a second.
        for (seconds, rate) in [(10.0, 6000.0), (980.0, 1000.0), (86_400.0, 0.0)] {
            checked(args(seconds, rate)).unwrap();
        }
        for (seconds, rate) in [(165.0, 6000.0), (984.0, 1000.0), (86_400.0, 12.0)] {
            let told = checked(args(seconds, rate)).unwrap_err().to_string();
            for part in ["--seconds", "--rate", "fewer than 1000000"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn a_rate_at_which_nobody_would_ever_hand_anything_in_is_refused() {
        let told = one_lease(&args(1.0, 1e-300)).unwrap_err().to_string();
        assert!(told.contains("--rate"), "{told}");
    }
}
