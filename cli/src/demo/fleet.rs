//! The processes of one run: one learner, one reward-server and some actors, started in the order in which they need each
//! other and ended in the order in which they stop being needed.

use super::liveness;
use super::processes::{Child, stop_all};
use super::report::Process;
use super::roles::Roles;
use crate::config::Config;
use crate::observer::Observer;
use crate::progress::Progress;
use crate::ready::Ready;
use anyhow::{Context as _, anyhow, bail};
use futures::stream::{FuturesUnordered, StreamExt as _};
use proto::tls::Transport;
use std::time::Duration;

/// How long a learner whose actors have failed is given to fail itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a learner may take, beyond what it is configured to, to write what it has learnt and end.
const LAST_WRITES: Duration = Duration::from_secs(15);

/// How long processes of a failed run are given to end by themselves.
const ABANDONED: Duration = Duration::from_secs(2);

/// The running processes.
#[derive(Debug)]
pub(super) struct Fleet {
    learner: Member,
    reward: Member,
    actors: Vec<Member>,
    patience: Patience,
}

/// A role's process, and what it said when it was ready.
#[derive(Debug)]
struct Member {
    child: Child,
    ready: Ready,
}

/// How long a run's processes are waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Until one is ready.
    start: Duration,
    /// From the request to stop to the end: what its own drain takes, and then some.
    drain: Duration,
    /// From the last actor's orderly end to the learner's.
    farewell: Duration,
    /// What a learner whose run is complete may take beyond that, for the last version to be measured.
    evaluation: Duration,
}

impl Patience {
    fn of(config: &Config) -> Self {
        let learner = Duration::from_millis(config.learner.drain_ms);
        let own = [
            learner,
            Duration::from_secs_f64(config.actor.drain_timeout_s),
            config.reward_server.drain_timeout(),
        ];
        let longest = own.into_iter().max().unwrap_or_default();
        let linger = Duration::from_millis(config.learner.linger_ms);
        Self {
            start: Duration::from_secs(config.demo.start_timeout_s),
            drain: longest.saturating_add(Duration::from_secs(config.demo.drain_timeout_s)),
            farewell: linger.saturating_add(learner).saturating_add(LAST_WRITES),
            evaluation: Duration::from_millis(config.learner.evaluation_linger_ms),
        }
    }
}

impl Fleet {
    /// Starts the learner and the reward-server and waits until they serve.
    ///
    /// # Errors
    /// When one fails or takes too long; both are then killed.
    pub(super) async fn start(roles: &Roles<'_>) -> anyhow::Result<Self> {
        let patience = Patience::of(roles.config);
        let (learner, reward) = (roles.learner()?, roles.reward_server()?);
        Ok(Self {
            learner: Member::of(learner, patience.start).await?,
            reward: Member::of(reward, patience.start).await?,
            actors: Vec::new(),
            patience,
        })
    }

    /// Starts the actors and waits until they serve. The first ones are at work by then.
    ///
    /// # Errors
    /// When one fails or takes too long.
    pub(super) async fn start_actors(&mut self, roles: &Roles<'_>) -> anyhow::Result<()> {
        let (learner, reward) = (&self.learner.ready.endpoint, &self.reward.ready.endpoint);
        let started = (1..=roles.config.demo.actors).map(|number| roles.actor(number, learner, reward));
        for child in started.collect::<anyhow::Result<Vec<Child>>>()? {
            self.actors.push(Member::of(child, self.patience.start).await?);
        }
        Ok(())
    }

    /// Where the learner listens.
    pub(super) fn learner_endpoint(&self) -> &str {
        &self.learner.ready.endpoint
    }

    /// Where people look at the run, if anywhere.
    pub(super) fn dashboard(&self) -> Option<&str> {
        self.learner.ready.dashboard.as_deref()
    }

    /// How long a process that was asked to stop is waited for.
    pub(super) fn drain(&self) -> Duration {
        self.patience.drain
    }

    /// All processes, as the report names them.
    pub(super) fn processes(&self) -> Vec<Process> {
        let first = [&self.learner, &self.reward];
        let process = |member: &Member| Process {
            role: member.ready.role.name().to_owned(),
            pid: member.ready.pid,
            endpoint: member.ready.endpoint.clone(),
        };
        first.into_iter().chain(&self.actors).map(process).collect()
    }

    /// Waits until the learner has finished, then ends the others. An actor may fail while another one goes on.
    ///
    /// # Errors
    /// When the learner, the reward-server or the last actor fails or hangs, or all actors leave a run that is not
    /// complete.
    pub(super) async fn finish(&mut self, progress: &Progress) -> anyhow::Result<()> {
        self.until_learner_ends(progress).await?;
        let waiting = futures::future::join_all(self.actors.iter_mut().map(|actor| actor.child.wait()));
        let ended = tokio::time::timeout(self.patience.drain, waiting)
            .await
            .unwrap_or_default();
        let failed = ended
            .into_iter()
            .filter_map(|end| end.err().map(|error| format!("{error:#}")));
        for failure in failed.chain(self.stop().await) {
            progress.say(&format!("warning: {failure}"));
        }
        Ok(())
    }

    /// Waits for an end that nobody has asked for: of the learner, the reward-server or the last actor.
    pub(super) async fn ended_early(&mut self, progress: &Progress) -> anyhow::Error {
        match self.until_learner_ends(progress).await {
            Ok(()) => anyhow!("the learner has ended"),
            Err(error) => error,
        }
    }

    async fn until_learner_ends(&mut self, progress: &Progress) -> anyhow::Result<()> {
        let (mut going, endpoint) = (self.actors.len(), self.learner.ready.endpoint.clone());
        let mut actors: FuturesUnordered<_> = self.actors.iter_mut().map(Member::ended).collect();
        let mut learner = std::pin::pin!(self.learner.ended());
        let mut reward = std::pin::pin!(self.reward.ended());
        let last = loop {
            tokio::select! {
                ended = &mut learner => return ended,
                ended = &mut reward => {
                    ended?;
                    bail!("the reward-server ended before the run was complete");
                }
                Some(ended) = actors.next() => {
                    going -= 1;
                    if going == 0 {
                        break ended;
                    }
                    if let Err(error) = ended {
                        progress.say(&format!("warning: the run goes on without an actor: {error:#}"));
                    }
                }
            }
        };
        // Actors leave because the learner does: then its words are those that matter.
        let (patience, reason) = match last {
            Ok(()) => {
                let Patience {
                    farewell, evaluation, ..
                } = self.patience;
                let patience = match is_complete(&endpoint).await {
                    true => farewell.saturating_add(evaluation),
                    false => farewell,
                };
                (patience, anyhow!("every actor ended before the run was complete"))
            }
            Err(error) => (LAST_WORDS, error.context("no actor is left")),
        };
        tokio::time::timeout(patience, learner)
            .await
            .unwrap_or(Err(reason))
    }

    /// Asks every process to stop and waits for it; kills what does not.
    ///
    /// Returns what went wrong, one line a process.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        self.stop_within(self.patience.drain).await
    }

    /// Ends the processes of a run that has failed; what they say of it no longer matters.
    pub(super) async fn abandon(&mut self) {
        self.stop_within(ABANDONED.min(self.patience.drain)).await;
    }

    async fn stop_within(&mut self, deadline: Duration) -> Vec<String> {
        let actors = self.actors.iter_mut().map(|actor| &mut actor.child);
        let mut failures = stop_all(actors, deadline).await;
        for member in [&mut self.learner, &mut self.reward] {
            let stopped = member.child.stop(deadline).await;
            failures.extend(stopped.err().map(|error| format!("{error:#}")));
        }
        failures
    }
}

/// Whether the learner at `endpoint` says that all versions are published.
async fn is_complete(endpoint: &str) -> bool {
    let status = async {
        let observer = Observer::connect("demo", &Transport::plain(), endpoint).await?;
        observer.status().await
    };
    status.await.is_ok_and(|status| status.complete)
}

impl Member {
    /// Waits until a child says that it is ready.
    async fn of(mut child: Child, patience: Duration) -> anyhow::Result<Self> {
        let line = tokio::time::timeout(patience, child.next_line())
            .await
            .map_err(|_| anyhow!("{} was not ready within {} s", child.name(), patience.as_secs()))??;
        let Some(line) = line else {
            child.wait().await?;
            bail!("{} ended before it was ready", child.name());
        };
        let ready = serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", child.name()))?;
        Ok(Self { child, ready })
    }

    /// Waits for its end; when it no longer answers, it is killed.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let lost = tokio::select! {
            ended = self.child.wait() => return ended,
            lost = liveness::lost(&self.ready) => lost,
        };
        self.child.kill().await?;
        Err(lost)
    }
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;
    use crate::demo::processes::Launcher;
    use crate::ready::Role;
    use std::path::Path;

    /// Reads its standard input to the end, as a role does.
    pub(super) const WAITS: &str = "cat > /dev/null";

    /// Shells with these scripts in the places of a learner and of actors.
    pub(crate) fn fleet(logs: &Path, learner: &str, actors: &[&str], farewell: Duration) -> Fleet {
        let member = |name: &str, script: &str| member(logs, name, script);
        Fleet {
            learner: member("learner", learner),
            reward: member("reward-server", WAITS),
            actors: actors.iter().map(|script| member("actor", script)).collect(),
            patience: Patience {
                start: Duration::ZERO,
                drain: Duration::from_secs(20),
                farewell,
                evaluation: Duration::from_secs(600),
            },
        }
    }

    fn member(logs: &Path, name: &str, script: &str) -> Member {
        let launcher = Launcher::new(Path::new("/bin/sh"), logs).unwrap();
        Member {
            child: launcher.start(name, &["-c".into(), script.into()]).unwrap(),
            ready: Ready::this_process(Role::Actor, "127.0.0.1:9".parse().unwrap(), "http"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::examples::{WAITS, fleet};
    use super::*;

    const WAITS_SHORTLY: &str = "sleep 0.4";

    /// How a run of such processes ends; asked within a time in which none of them would end by itself.
    async fn finish(learner: &str, actors: &[&str], farewell: Duration) -> anyhow::Result<()> {
        let logs = tempfile::tempdir().unwrap();
        let mut fleet = fleet(logs.path(), learner, actors, farewell);
        let progress = Progress::detect();
        let ended = tokio::time::timeout(Duration::from_secs(20), fleet.finish(&progress));
        ended.await.expect("a run that cannot go on is ended")
    }

    #[tokio::test]
    async fn a_learner_whose_actors_have_all_left_is_not_waited_for_longer_than_it_may_take() {
        let ended = finish(WAITS, &["exit 0", "exit 0"], Duration::from_millis(50)).await;
        let message = ended.unwrap_err().to_string();
        assert!(
            message.contains("every actor ended before the run was complete"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn actors_may_leave_a_complete_run_before_the_learner_does() {
        finish("sleep 0.2", &["exit 0"], Duration::from_secs(20))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_failed_actor_is_survived_by_another_and_the_learners_words_matter_most() {
        finish("sleep 0.3", &["exit 3", WAITS_SHORTLY], Duration::from_secs(20))
            .await
            .unwrap();
        let ended = finish(
            "sleep 0.2; echo no pairs >&2; exit 1",
            &["exit 3"],
            Duration::ZERO,
        )
        .await;
        let message = format!("{:#}", ended.unwrap_err());
        assert!(
            message.contains("learner failed") && message.contains("no pairs"),
            "{message}"
        );
    }

    #[test]
    fn a_role_is_not_killed_while_it_may_drain() {
        let mut config = Config::default();
        config.actor.drain_timeout_s = 40.0;
        config.demo.drain_timeout_s = 5;
        assert_eq!(Patience::of(&config).drain, Duration::from_secs(45));
    }
}
