//! `adwright status`: how a run goes, once or until it ends. A learner that is away for a while is waited for when its run is watched.

use crate::args::StatusArgs;
use crate::config::{Config, Layers};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::peer::{Peer, Trouble};
use crate::progress::Progress;
use crate::security::Security;
use crate::status::{Outage, Reading, Screen, View, line, table};
use crate::{output, role, telemetry};
use anyhow::{Context as _, anyhow};
use proto::tls::Transport;
use proto::{Answering, PeerRole, RewardServerStatus, RunStatus, pb};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Streaming;

/// How long a service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

const CALLER: &str = "status";

/// Runs the command.
pub(super) fn run(args: &StatusArgs) -> Outcome<()> {
    telemetry::init("error")?;
    let config = Layers::default()
        .files(&args.config.config)
        .flag("--learner", "endpoints.learner", args.learner.clone())
        .flag("--reward", "endpoints.reward", args.reward.clone())
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    role::small_runtime()?.block_on(async {
        let mut watched = Watched::dial(args, &config).await?;
        tokio::select! {
            shown = watched.show(args) => shown,
            // The screen is closed by being dropped, and the shell goes on below the last frame.
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot receive signals").map_err(Into::into),
        }
    })
}

/// The services that are asked again and again.
struct Watched {
    learner: Peer,
    transport: Transport,
    learner_url: String,
    reward_url: Option<String>,
    /// The reward-server for as long as it answers: one that does not is reached for again, which says best why not.
    reward: Option<Peer>,
    /// The announcements, where they are listened to: a learner whose run is complete waits for those who listen, so they hear of the end
    /// however seldom they ask.
    announced: Option<Streaming<pb::PolicyManifest>>,
    /// Whether the learner lets this caller listen, as far as is known.
    may_listen: bool,
    begun: Instant,
    /// From which position on metrics are asked for: that of the newest version.
    metrics_from: u64,
}

impl Watched {
    async fn dial(args: &StatusArgs, config: &Config) -> Outcome<Self> {
        let url = &config.endpoints.learner;
        let transport = Security::asking(config)?;
        let learner = dial(&transport, PeerRole::Learner, url)
            .await
            .map_err(|trouble| lost(url, &trouble))?;
        // Who names only a learner has said nothing of a reward-server.
        let configured = !args.config.config.is_empty() || !args.config.sets.is_empty();
        let asked = args.reward.is_some() || args.learner.is_none() || configured;
        Ok(Self {
            learner,
            transport,
            learner_url: url.clone(),
            reward_url: asked.then(|| config.endpoints.reward.clone()),
            reward: None,
            announced: None,
            may_listen: args.watch,
            begun: Instant::now(),
            metrics_from: u64::MAX,
        })
    }

    async fn show(&mut self, args: &StatusArgs) -> Outcome<()> {
        let interval = Duration::from_secs_f64(args.interval);
        let mut shown = Shown::of(args);
        let mut due = self.begun;
        loop {
            match self.read().await {
                Ok(reading) => {
                    self.listen(&reading.run).await;
                    if shown.answered(reading)? {
                        return Ok(());
                    }
                }
                Err(trouble) => shown.missed(&self.learner_url, &trouble)?,
            }
            // After a slow answer the next reading is due now, and those that were missed are not made up for.
            due = (due + interval).max(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.last_version() => due = Instant::now(),
            }
        }
    }

    async fn listen(&mut self, run: &RunStatus) {
        if self.may_listen && self.announced.is_none() {
            match self.learner.announcements(run).await {
                Ok(announced) => self.announced = Some(announced),
                // A scaler, say, is told by readings alone.
                Err(Trouble::Denied(_)) => self.may_listen = false,
                // So is the next reading, which says what is wrong.
                Err(_) => {}
            }
        }
    }

    /// Waits until the run's last version is announced.
    async fn last_version(&mut self) {
        while let Some(announced) = &mut self.announced {
            match announced.message().await {
                Ok(Some(manifest)) if manifest.last => return,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => self.announced = None,
            }
        }
        std::future::pending().await
    }

    async fn read(&mut self) -> Result<Reading, Trouble> {
        if self.metrics_from == u64::MAX {
            let first = self.learner.run_status(self.metrics_from).await?;
            self.metrics_from = newest(&first);
        }
        let run = self.learner.run_status(self.metrics_from).await?;
        self.metrics_from = newest(&run);
        let reward = match self.reward_url.clone() {
            Some(url) => Some(
                self.reward(&url)
                    .await
                    .map_err(|trouble| format!("{url}: {trouble}")),
            ),
            None => None,
        };
        let at = self.begun.elapsed().as_secs_f64();
        Ok(Reading { run, reward, at })
    }

    async fn reward(&mut self, url: &str) -> Result<RewardServerStatus, Trouble> {
        let server = match self.reward.take() {
            Some(server) => server,
            None => dial(&self.transport, PeerRole::RewardServer, url).await?,
        };
        let status = server.server_status().await?;
        self.reward = Some(server);
        Ok(status)
    }
}

/// The position of the newest version's metrics.
fn newest(status: &RunStatus) -> u64 {
    status.version.number.saturating_sub(1)
}

async fn dial(transport: &Transport, who: PeerRole, url: &str) -> Result<Peer, Trouble> {
    Peer::dial(CALLER, transport, Answering::Role(who), url, PATIENCE).await
}

fn lost(url: &str, trouble: &Trouble) -> anyhow::Error {
    if let Trouble::Malformed(_) = trouble {
        return anyhow!("the learner at {url}: {trouble}");
    }
    anyhow!(
        "the learner at {url} does not answer: {trouble}; name it with --learner, as its first line of output does"
    )
}

/// What is on the screen or was written.
struct Shown<'a> {
    args: &'a StatusArgs,
    screen: Option<Screen>,
    last: Option<(Reading, View)>,
    outage: Outage,
}

impl<'a> Shown<'a> {
    fn of(args: &'a StatusArgs) -> Self {
        let on_screen = args.watch && !args.json;
        Self {
            args,
            screen: on_screen.then(Screen::open).flatten(),
            last: None,
            outage: Outage::default(),
        }
    }

    /// Shows a reading; whether it was the last one.
    fn answered(&mut self, reading: Reading) -> Outcome<bool> {
        self.outage.over();
        let view = View::of(&reading, self.last.as_ref().map(|(before, _)| before));
        let (ended, is_first) = (view.complete || view.failure.is_some(), self.last.is_none());
        // A single look has a speed too.
        if self.args.watch || !is_first || ended {
            self.print(&view)?;
        }
        if let Some(failure) = &view.failure {
            return Err(anyhow!("the run {} failed: {failure}", view.run).into());
        }
        self.last = Some((reading, view));
        Ok(ended || !self.args.watch && !is_first)
    }

    /// Says that the learner did not answer, which is borne for a while once it is watched.
    fn missed(&mut self, url: &str, trouble: &Trouble) -> Outcome<()> {
        let Some((_, view)) = self.last.as_ref().filter(|_| self.args.watch) else {
            return Err(lost(url, trouble).into());
        };
        let is_new = self.outage.is_new();
        let said = self.outage.missed(url, trouble, view, Instant::now())?;
        match &mut self.screen {
            Some(screen) => screen.draw(&[vec![said], table(view)].concat())?,
            // Standard output has readings alone.
            None if is_new => Progress::detect().say(&said),
            None => {}
        }
        Ok(())
    }

    fn print(&mut self, view: &View) -> std::io::Result<()> {
        if self.args.json {
            return output::json(view);
        }
        if let Some(screen) = &mut self.screen {
            return screen.draw(&table(view));
        }
        match self.args.watch {
            true => output::line(&line(view)),
            false => table(view).iter().try_for_each(|line| output::line(line)),
        }
    }
}
