//! One role of a run at an address that stays: process after process, each with a log of its own.

use crate::tail::Tail;
use anyhow::{Context as _, Result, bail};
use failpoint::Point;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Learner,
    RewardServer,
    Actor,
}

impl Role {
    /// All roles.
    pub(crate) const ALL: [Self; 3] = [Self::Learner, Self::RewardServer, Self::Actor];

    /// The one that reaches a point.
    pub(crate) fn of(point: Point) -> Self {
        let found = Self::ALL.into_iter().find(|role| role.name() == point.role());
        found.expect("every point has one of these roles")
    }

    /// The subcommand.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::RewardServer => "reward-server",
            Self::Actor => "actor",
        }
    }

    /// What it writes into its log when it has done something that the run needs.
    fn useful_act(self) -> &'static str {
        match self {
            Self::Learner => "outcomes taken in",
            Self::RewardServer => "groups scored",
            Self::Actor => ACKNOWLEDGED,
        }
    }
}

/// An actor's own record of an outcome that the learner has acknowledged.
const ACKNOWLEDGED: &str = "outcome acknowledged";

/// An outcome that an actor was told is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) task: u64,
    /// Of the outcome that stands.
    pub(crate) digest: String,
    /// Whether it is a failure of the actor's own.
    pub(crate) failed: bool,
}

/// A role's place.
pub(crate) struct Place {
    pub(crate) role: Role,
    pub(crate) name: String,
    logs: PathBuf,
    /// How each of its processes is started.
    command: Box<dyn Fn() -> Command>,
    starts: u32,
    process: Option<Process>,
    /// Its next process waits for another's work.
    held: bool,
}

/// Who is at the place now.
struct Process {
    child: Child,
    log: PathBuf,
    words: Tail,
    armed: Option<Point>,
    started: Instant,
    /// The death that it came after.
    follows: Option<Instant>,
    works: bool,
    doomed: Option<Instant>,
}

/// How a process ended that nobody killed.
pub(crate) enum End {
    /// At the point that it was armed with.
    At(Point),
    /// With success; the point that it was armed with was not reached.
    Done(Option<Point>),
}

impl Place {
    pub(crate) fn new(
        role: Role,
        name: &str,
        logs: PathBuf,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        Self {
            role,
            name: name.to_owned(),
            logs,
            command: Box::new(command),
            starts: 0,
            process: None,
            held: false,
        }
    }

    /// Starts a process, armed with a point and the reach to die at, after the death that it `follows`.
    pub(crate) fn start(&mut self, point: Option<(Point, u32)>, follows: Option<Instant>) -> Result<()> {
        (self.starts, self.held) = (self.starts + 1, false);
        let log = self.logs.join(format!("{}-{:03}.log", self.name, self.starts));
        let mut command = (self.command)();
        if let Some((point, reach)) = point {
            command.env(failpoint::VARIABLE, format!("{}:{reach}", point.name()));
        }
        let words = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        let child = command.spawn().context("the program cannot be started")?;
        self.process = Some(Process {
            child,
            words: Tail::of(&log)?,
            log,
            armed: point.map(|(point, _)| point),
            started: Instant::now(),
            follows,
            works: false,
            doomed: None,
        });
        Ok(())
    }

    /// Reads what it has said since; whether it has now begun to do its work.
    pub(crate) fn observe(&mut self, acknowledged: &mut Vec<Acknowledged>) -> Result<bool> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        let mut acted = false;
        for line in process.words.lines()? {
            acted |= line.contains(self.role.useful_act());
            if self.role == Role::Actor && line.contains(ACKNOWLEDGED) {
                let read = acknowledgement(&line);
                acknowledged.push(read.with_context(|| format!("cannot read {line:?}"))?);
            }
        }
        let begins = acted && !process.works;
        process.works |= acted;
        Ok(begins)
    }

    /// How the process has ended, if it has, of itself.
    ///
    /// # Errors
    /// When it has failed, with its last words.
    pub(crate) fn ended(&mut self) -> Result<Option<End>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let Some(status) = process.child.try_wait()? else {
            return Ok(None);
        };
        let armed = process.armed;
        match armed {
            _ if status.success() => Ok(Some(End::Done(armed))),
            Some(point) if is_killed(status) => Ok(Some(End::At(point))),
            _ => bail!("{} ended by itself, {status}: {}", self.name, self.last_words()),
        }
    }

    /// SIGKILL; `false` when it had ended before.
    pub(crate) fn kill(&mut self) -> Result<bool> {
        let process = self.process.as_mut().context("a process")?;
        if process.child.try_wait()?.is_some() {
            return Ok(false);
        }
        process.child.kill()?;
        Ok(is_killed(process.child.wait()?))
    }

    /// Forgets the process, which has ended.
    pub(crate) fn leave(&mut self) {
        self.process = None;
    }

    /// Forgets the process, which has ended; the next one waits.
    pub(crate) fn hold(&mut self) {
        (self.process, self.held) = (None, true);
    }

    /// Whether its next process waits.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether somebody is there and works.
    pub(crate) fn works(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.works)
    }

    /// The point that it is to die at.
    pub(crate) fn armed(&self) -> Option<Point> {
        self.process.as_ref()?.armed
    }

    /// Lets it live until `doomed`.
    pub(crate) fn doom(&mut self, doomed: Option<Instant>) {
        if let Some(process) = &mut self.process {
            process.doomed = doomed;
        }
    }

    /// Whether its time is over.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let doomed = self.process.as_ref().and_then(|process| process.doomed);
        doomed.is_some_and(|doomed| doomed <= now)
    }

    /// Since when it has been there without doing its work; `None` while it does it, and when it need not.
    pub(crate) fn missed_since(&self) -> Option<Instant> {
        let process = self.process.as_ref()?;
        (!process.works).then_some(process.started)
    }

    /// The death that the process came after.
    pub(crate) fn follows(&self) -> Option<Instant> {
        self.process.as_ref()?.follows
    }

    /// Whether somebody is there.
    pub(crate) fn is_taken(&self) -> bool {
        self.process.is_some()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let Some(process) = &self.process else {
            return "nobody is there".into();
        };
        let said = std::fs::read_to_string(&process.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(8).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        format!("{}\n{}", process.log.display(), lines.join("\n"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // One that has ended is not there to be killed.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

fn is_killed(status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

fn acknowledgement(line: &str) -> Option<Acknowledged> {
    let field = |name: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.map(str::to_owned)
    };
    Some(Acknowledged {
        task: field("task=")?.parse().ok()?,
        digest: field("digest=")?,
        failed: field("failed=")?.parse().ok()?,
    })
}
