//! Stage C of a demo: one run of the roles, followed and measured from outside while it goes on.

use super::evaluation::{Evaluation, Evaluator};
use super::fleet::{Fleet, RunFiles};
use super::observer::{Observer, Published};
use super::processes::Launcher;
use super::report::{Process, Round};
use super::table;
use crate::config::Config;
use crate::progress::{Progress, Stage};
use anyhow::{Context as _, anyhow};
use models::compute_thread::ComputeThread;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the bar asks how many pairs there are.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// How long a lost learner is given to say why, so that its own words are shown instead of a broken connection.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    config: &Config,
    files: &RunFiles,
    launcher: &Launcher,
    evaluator: &ComputeThread<Evaluator>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> anyhow::Result<Trained> {
    let begun = Instant::now();
    let started = tokio::select! {
        started = Fleet::start(config, files, launcher) => started,
        () = shutdown.cancelled() => Err(interrupted()),
    };
    let mut fleet = started?;
    let processes = fleet.processes();
    let endpoint = fleet.learner_endpoint().to_owned();
    let mut stage = progress.stage("reinforcement learning");
    let measured = tokio::select! {
        measured = follow(config, &endpoint, &mut fleet, evaluator, progress, &mut stage) => Some(measured),
        () = shutdown.cancelled() => None,
    };
    drop(stage);
    let Some(measured) = measured else {
        fleet.stop().await;
        return Err(interrupted());
    };
    if measured.is_err() {
        fleet.abandon().await;
    }
    let (rounds, start, end) = measured?;
    let figures = read_figures(&files.summary)?;
    Ok(Trained {
        rounds,
        start,
        end,
        figures,
        processes,
        time: begun.elapsed(),
    })
}

/// The reason of a demo that was asked to stop.
pub(super) fn interrupted() -> anyhow::Error {
    anyhow!("interrupted; every process has been stopped")
}

async fn follow(
    config: &Config,
    endpoint: &str,
    fleet: &mut Fleet,
    evaluator: &ComputeThread<Evaluator>,
    progress: &Progress,
    stage: &mut Stage,
) -> anyhow::Result<(Vec<Round>, Evaluation, Evaluation)> {
    let observer = Observer::connect(endpoint).await?;
    // Room for every version: a slow measurement must not delay the next fetch.
    let (published, versions) = mpsc::channel(config.learner.versions as usize + 1);
    let watching = async {
        match observer.follow(published).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tokio::time::sleep(LAST_WORDS).await;
                Err(error)
            }
        }
    };
    let work = async {
        tokio::try_join!(
            fleet.finish(progress),
            watching,
            measure(versions, evaluator, progress)
        )
    };
    let total = config.learner.versions * config.learner.pairs_per_version as u64;
    tokio::select! {
        done = work => done.map(|((), (), measured)| measured),
        never = show_pairs(&observer, total, stage) => match never {},
    }
}

async fn measure(
    mut versions: mpsc::Receiver<Published>,
    evaluator: &ComputeThread<Evaluator>,
    progress: &Progress,
) -> anyhow::Result<(Vec<Round>, Evaluation, Evaluation)> {
    progress.print(&table::header())?;
    let (mut rounds, mut start, mut end) = (Vec::new(), None, None);
    while let Some(Published {
        version,
        adapter,
        metrics,
    }) = versions.recv().await
    {
        let evaluation = evaluator
            .call(move |evaluator| evaluator.evaluate(&adapter))
            .await??;
        let round = evaluation.round(version.number, &metrics)?;
        progress.print(&table::row(&round))?;
        rounds.push(round);
        start.get_or_insert_with(|| evaluation.clone());
        end = Some(evaluation);
    }
    let nothing = "the learner published nothing";
    Ok((rounds, start.context(nothing)?, end.context(nothing)?))
}

async fn show_pairs(observer: &Observer, total: u64, stage: &mut Stage) -> std::convert::Infallible {
    loop {
        // A learner that has finished answers no more; its processes' ends are watched elsewhere.
        if let Ok(status) = observer.status().await {
            let pairs = status.outcomes.map_or(0, |outcomes| outcomes.pairs);
            let version = status.version.map_or(0, |version| version.number);
            stage.update(pairs.min(total), total, &format!("pairs, version {version}"));
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
    }
}

fn read_figures(summary: &Path) -> anyhow::Result<Figures> {
    let json = std::fs::read(summary).with_context(|| format!("cannot read {}", summary.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is malformed", summary.display()))
}
