//! Stage C of a demo: one run of the roles, followed and measured from outside while it goes on.

use super::fleet::Fleet;
use super::report::{Process, Round};
use super::roles::{Roles, RunFiles};
use super::table;
use super::versions::{BrokenOff, Published, Watch};
use crate::evaluation::{Evaluation, Evaluator};
use crate::observer::Observer;
use crate::progress::{Progress, Stage};
use anyhow::{Context as _, anyhow};
use common::PolicyVersion;
use models::compute_thread::ComputeThread;
use proto::tls::Transport;
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the bar asks how many pairs there are.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Versions that may wait to be measured. Each takes a file and some kilobytes of memory.
const BACKLOG: usize = 4096;

/// What a run came to.
#[derive(Debug)]
pub(super) struct Trained {
    /// One a version, the start first.
    pub(super) rounds: Vec<Round>,
    /// The start's figures.
    pub(super) start: Evaluation,
    /// The last version's figures.
    pub(super) end: Evaluation,
    /// The learner's own account.
    pub(super) figures: Figures,
    /// The processes that took part.
    pub(super) processes: Vec<Process>,
    /// From the first process to the last.
    pub(super) time: Duration,
}

/// The part of the learner's summary that reports need.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Figures {
    /// How tasks ended.
    pub(super) outcomes: Outcomes,
    /// Pairs trained on.
    pub(super) pairs_trained: u64,
    /// Versions published, the initial one included.
    pub(super) publishes: u64,
    /// Adapter bytes of one publish.
    pub(super) bytes_per_publish: u64,
    /// Who took part.
    pub(super) actors: Vec<ActorFigures>,
    /// Digest of the last adapter.
    pub(super) adapter_digest: common::Digest,
    /// The last version.
    version: PolicyVersion,
    /// One entry a version after the initial one.
    metrics: Vec<VersionFigures>,
}

/// One version.
#[derive(Debug, Clone, serde::Deserialize)]
struct VersionFigures {
    version: PolicyVersion,
    values: BTreeMap<String, f64>,
}

/// How tasks ended.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Outcomes {
    /// In a preference pair.
    pub(super) pairs: u64,
}

/// One actor.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct ActorFigures {
    /// Its name.
    pub(super) actor_id: String,
    /// Versions it adopted.
    pub(super) adoptions: u64,
    /// Adapter bytes it received.
    pub(super) adapter_bytes_received: u64,
}

/// Runs stage C and prints a row a version.
///
/// # Errors
/// When a process or a measurement fails, or `shutdown` comes first. No process is left running.
pub(super) async fn train(
    roles: &Roles<'_>,
    evaluator: &ComputeThread<Evaluator>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> anyhow::Result<Trained> {
    let begun = Instant::now();
    let started = tokio::select! {
        started = Fleet::start(roles) => started,
        () = shutdown.cancelled() => Err(interrupted()),
    };
    let mut fleet = started?;
    if let Some(dashboard) = fleet.dashboard() {
        progress.say(&format!("watch it at {dashboard}"));
    }
    let mut stage = progress.stage("reinforcement learning");
    let measured = tokio::select! {
        measured = follow(roles, &mut fleet, evaluator, progress, &mut stage) => Some(measured),
        () = shutdown.cancelled() => None,
    };
    drop(stage);
    let Some(measured) = measured else {
        progress.say("stopping the processes; a second interrupt kills them");
        for warning in fleet.stop().await {
            progress.say(&format!("warning: {warning}"));
        }
        return Err(interrupted());
    };
    if measured.is_err() {
        fleet.abandon().await;
    }
    let (rounds, start, end) = measured?;
    Ok(Trained {
        rounds,
        start,
        end,
        figures: read_figures(&roles.files.summary)?,
        processes: fleet.processes(),
        time: begun.elapsed(),
    })
}

/// The reason of a demo that was asked to stop.
pub(super) fn interrupted() -> anyhow::Error {
    anyhow!("interrupted; every process has been stopped")
}

async fn follow(
    roles: &Roles<'_>,
    fleet: &mut Fleet,
    evaluator: &ComputeThread<Evaluator>,
    progress: &Progress,
    stage: &mut Stage,
) -> anyhow::Result<(Vec<Round>, Evaluation, Evaluation)> {
    let observer = Observer::connect("demo", &Transport::plain(), fleet.learner_endpoint()).await?;
    let watch = Watch::open(&observer, &roles.files.versions).await?;
    let (published, versions) = mpsc::channel(BACKLOG);
    let work = async {
        tokio::try_join!(
            run(roles, fleet, watch, published, progress),
            measure(versions, evaluator, &observer, progress)
        )
    };
    let learner = &roles.config.learner;
    let total = learner.versions.saturating_mul(learner.pairs_per_version as u64);
    tokio::select! {
        done = work => done.map(|((), measured)| measured),
        never = show_pairs(&observer, total, stage) => match never {},
    }
}

/// The run itself, every version of which goes to `published`.
///
/// A learner does not wait for ever for those who measure it. Where the last version was not heard of in time, it is taken
/// from the files that the learner has left.
async fn run(
    roles: &Roles<'_>,
    fleet: &mut Fleet,
    watch: Watch,
    published: mpsc::Sender<Published>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let patience = fleet.drain();
    let followed = {
        let mut ended = pin!(async {
            fleet.start_actors(roles).await?;
            fleet.finish(progress).await
        });
        let mut followed = pin!(watch.follow(&published));
        tokio::select! {
            ended = &mut ended => {
                ended?;
                followed.await
            }
            followed = &mut followed => match followed {
                Ok(()) => return ended.await,
                // A learner that fails or ends breaks off: then its own end matters, not the broken connection.
                Err(broken) => match tokio::time::timeout(patience, ended).await {
                    Ok(ended) => ended.map(|()| Err(broken))?,
                    Err(_) => return Err(broken.error),
                },
            },
        }
    };
    let Err(BrokenOff { next, error }) = followed else {
        return Ok(());
    };
    let last = last_version(roles.files, next).with_context(|| format!("{error:#}"))?;
    tracing::debug!(version = %last.version, error = format!("{error:#}"), "taken from the learner's files");
    let sent = published.send(last).await;
    sent.map_err(|_| anyhow!("the evaluation has ended"))
}

/// What the learner has written of its last version, which must be version `number`.
fn last_version(files: &RunFiles, number: u64) -> anyhow::Result<Published> {
    let mut figures = read_figures(&files.summary)?;
    let version = figures.version;
    if version.number != number {
        return Err(anyhow!("version {number} was lost; the last one is {version}"));
    }
    let metrics = figures.metrics.pop().filter(|last| last.version == version);
    Ok(Published {
        version,
        adapter: files.adapter.join("adapter_model.safetensors"),
        metrics: metrics
            .with_context(|| format!("{} has no metrics of {version}", files.summary.display()))?
            .values,
        last: true,
    })
}

async fn measure(
    mut versions: mpsc::Receiver<Published>,
    evaluator: &ComputeThread<Evaluator>,
    observer: &Observer,
    progress: &Progress,
) -> anyhow::Result<(Vec<Round>, Evaluation, Evaluation)> {
    let on = evaluator.call(|evaluator| evaluator.measured_on()).await?;
    progress.print(&table::header(on))?;
    let (mut rounds, mut start, mut end) = (Vec::new(), None, None);
    while let Some(Published {
        version,
        adapter,
        metrics,
        last,
    }) = versions.recv().await
    {
        let bytes = tokio::fs::read(&adapter).await;
        let bytes = bytes.with_context(|| format!("cannot read {}", adapter.display()))?;
        let evaluation = evaluator
            .call(move |evaluator| evaluator.evaluate(&bytes))
            .await??;
        let round = evaluation.round(version.number, &metrics)?;
        progress.print(&table::row(&round, on))?;
        if let Err(error) = observer.report(version, evaluation.told()).await {
            // The learner does not wait for ever for what is measured of its last versions.
            tracing::debug!(%version, error = format!("{error:#}"), "not reported");
        }
        rounds.push(round);
        start.get_or_insert_with(|| evaluation.clone());
        end = Some(evaluation);
        if last {
            break;
        }
    }
    let nothing = "the learner published nothing";
    Ok((rounds, start.context(nothing)?, end.context(nothing)?))
}

async fn show_pairs(observer: &Observer, total: u64, stage: &mut Stage) -> std::convert::Infallible {
    loop {
        // A learner that has finished answers no more; its processes' ends are watched elsewhere.
        if let Ok(status) = observer.status().await {
            let (pairs, version) = (status.outcomes.pairs, status.version.number);
            stage.update(pairs.min(total), total, &format!("pairs, version {version}"));
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
    }
}

fn read_figures(summary: &Path) -> anyhow::Result<Figures> {
    let json = std::fs::read(summary).with_context(|| format!("cannot read {}", summary.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is malformed", summary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_version_is_taken_from_the_learners_files_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let files = RunFiles::below(
            directory.path(),
            Path::new("policy"),
            Path::new("policy"),
            Path::new("reward-model"),
        );
        let version = |number: u64| serde_json::json!({ "epoch": 1, "number": number });
        let summary = serde_json::json!({
            "outcomes": { "pairs": 8 },
            "pairs_trained": 8,
            "publishes": 3,
            "bytes_per_publish": 10,
            "actors": [],
            "adapter_digest": store::digest(b"adapter"),
            "version": version(2),
            "metrics": [
                { "version": version(1), "values": { "loss": 0.7 } },
                { "version": version(2), "values": { "loss": 0.5 } },
            ],
        });
        std::fs::write(&files.summary, summary.to_string()).unwrap();
        let last = last_version(&files, 2).unwrap();
        assert_eq!(last.metrics["loss"], 0.5);
        assert!(last.adapter.starts_with(&files.adapter));
        let message = last_version(&files, 1).unwrap_err().to_string();
        assert!(message.contains("version 1 was lost"), "{message}");
    }
}
