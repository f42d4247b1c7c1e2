//! Child processes of a demo: started in process groups of their own, watched, and never left behind.
//!
//! A child is asked to stop by closing its standard input, which also happens when this process dies in whatever way; a
//! child that does not drain in time is killed, as is one whose handle is dropped. What a child is and what it says is
//! not known here.

use crate::failure::{CONFIGURATION, Failure};
use anyhow::{Context as _, anyhow};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// How much of a failed child's log is shown.
const TAIL_LINES: usize = 12;

/// Starts children of one demo.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    program: PathBuf,
    logs: PathBuf,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    log: PathBuf,
    process: tokio::process::Child,
    failure_told: bool,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A child that ended in failure.
#[derive(Debug)]
struct Failed {
    told: String,
    status: ExitStatus,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl std::error::Error for Failed {}

/// What a failure among children is to this process: a child that blames the configuration, which it has from here, is believed.
pub(super) fn blame(error: anyhow::Error) -> Failure {
    let status = error
        .downcast_ref::<Failed>()
        .and_then(|failed| failed.status.code());
    match status == Some(CONFIGURATION.into()) {
        true => Failure::Configuration(error),
        false => Failure::Run(error),
    }
}

impl Launcher {
    /// Children run `program`; their standard error goes to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(super) fn new(program: &Path, logs: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self {
            program: program.to_owned(),
            logs: logs.to_owned(),
        })
    }

    /// Starts a child called `name` with `arguments`.
    ///
    /// # Errors
    /// When its log cannot be written or the system starts no process.
    pub(super) fn start(&self, name: &str, arguments: &[String]) -> anyhow::Result<Child> {
        let log = self.logs.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut process = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = process.stdin.take();
        let stdout = process
            .stdout
            .take()
            .context("a piped standard output is there to take")?;
        Ok(Child {
            name: name.to_owned(),
            log,
            process,
            failure_told: false,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }
}

impl Child {
    /// What it is called, also in its log file's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its next line on standard output; none when it closed it. Safe to cancel.
    ///
    /// # Errors
    /// When the pipe breaks or the line is not UTF-8.
    pub(super) async fn next_line(&mut self) -> anyhow::Result<Option<String>> {
        self.lines
            .next_line()
            .await
            .with_context(|| format!("cannot read what {} says", self.name))
    }

    /// Waits for its end. Safe to cancel, and to call again.
    ///
    /// # Errors
    /// When it ended in failure; the message names it and shows the end of its log. A failure is told once.
    pub(super) async fn wait(&mut self) -> anyhow::Result<()> {
        let ended = self.process.wait().await;
        let status = ended.with_context(|| format!("cannot wait for {}", self.name))?;
        if status.success() || std::mem::replace(&mut self.failure_told, true) {
            return Ok(());
        }
        Err(self.failure(status))
    }

    /// Closes its standard input, waits, and kills it when `deadline` has passed.
    ///
    /// # Errors
    /// When it ended in failure or had to be killed.
    pub(super) async fn stop(&mut self, deadline: Duration) -> anyhow::Result<()> {
        drop(self.stdin.take());
        match tokio::time::timeout(deadline, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.kill().await?;
                Err(anyhow!(
                    "{} did not finish within {} s and was killed",
                    self.name,
                    deadline.as_secs()
                ))
            }
        }
    }

    /// Kills it at once. Its end is then no failure to tell of.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.failure_told = true;
        let killed = self.process.kill().await;
        killed.with_context(|| format!("cannot kill {}", self.name))
    }

    fn failure(&self, status: ExitStatus) -> anyhow::Error {
        let log = std::fs::read(&self.log);
        let end = log.map_or_else(
            |error| format!("    (cannot be read: {error})"),
            |log| tail(&String::from_utf8_lossy(&log)),
        );
        let log = self.log.display();
        let told = format!("{} failed ({status}); the end of {log}:\n{end}", self.name);
        Failed { told, status }.into()
    }
}

/// Stops all children at once.
///
/// Returns what went wrong, one line a child.
pub(super) async fn stop_all(children: impl Iterator<Item = &mut Child>, deadline: Duration) -> Vec<String> {
    let stops = children.map(|child| child.stop(deadline));
    let ended = futures::future::join_all(stops).await;
    ended
        .into_iter()
        .filter_map(|end| end.err().map(|error| format!("{error:#}")))
        .collect()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() {
        return "    (empty)".into();
    }
    last.iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(logs: &Path) -> Launcher {
        Launcher::new(Path::new("/bin/sh"), logs).unwrap()
    }

    fn script(text: &str) -> [String; 2] {
        ["-c".to_owned(), text.to_owned()]
    }

    #[tokio::test]
    async fn a_failure_names_the_child_its_log_and_its_last_words() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = launcher(logs.path())
            .start("learner", &script("echo no such adapter >&2; exit 3"))
            .unwrap();
        let message = child.wait().await.unwrap_err().to_string();
        assert!(child.wait().await.is_ok(), "a failure is told once");
        for part in ["learner failed", "3", "learner.log", "no such adapter"] {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    }

    #[tokio::test]
    async fn a_child_that_blames_the_configuration_is_believed_whatever_is_said_around_it() {
        let logs = tempfile::tempdir().unwrap();
        let blamed = async |status: u32| {
            let exit = script(&format!("exit {status}"));
            let mut child = launcher(logs.path()).start("actor-1", &exit).unwrap();
            let error = child.wait().await.unwrap_err();
            blame(error.context("no actor is left").context("the run"))
        };
        let refused = blamed(64).await;
        assert!(matches!(refused, Failure::Configuration(_)));
        assert!(refused.reason().contains("no actor is left"), "{refused}");
        assert!(matches!(blamed(1).await, Failure::Run(_)));
        assert!(matches!(blame(anyhow!("interrupted")), Failure::Run(_)));
    }

    #[tokio::test]
    async fn last_words_that_are_no_text_are_shown_as_far_as_they_are() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = launcher(logs.path())
            .start("actor-1", &script(r"printf 'bad name \377\n' >&2; exit 1"))
            .unwrap();
        let message = child.wait().await.unwrap_err().to_string();
        assert!(message.contains("bad name \u{fffd}"), "{message}");
    }

    #[tokio::test]
    async fn closing_standard_input_asks_a_child_to_stop() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = launcher(logs.path())
            .start("actor-1", &script("cat > /dev/null; exit 0"))
            .unwrap();
        child.stop(Duration::from_secs(20)).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = launcher(logs.path())
            .start("actor-1", &script("exec sleep 600"))
            .unwrap();
        let message = child
            .stop(Duration::from_millis(50))
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains("killed"), "{message}");
        assert!(child.process.try_wait().unwrap().is_some(), "the process is gone");
    }

    #[tokio::test]
    async fn lines_of_a_child_arrive_one_by_one() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = launcher(logs.path())
            .start("pretrain", &script("echo one; echo two"))
            .unwrap();
        assert_eq!(child.next_line().await.unwrap().as_deref(), Some("one"));
        assert_eq!(child.next_line().await.unwrap().as_deref(), Some("two"));
        assert_eq!(child.next_line().await.unwrap(), None);
        child.wait().await.unwrap();
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log = (0..100)
            .map(|n| format!("line {n}"))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(tail(&log).contains("line 99") && !tail(&log).contains("line 80"));
    }
}
