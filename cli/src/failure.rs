//! How a command ends when it does not end well: what the user reads and which status the shell sees.
//!
//! Nothing is decided here about what counts as which; each command says so where the error arises.

use crate::output::{self, plain};
use common::with_causes;
use std::{fmt, process::ExitCode};

/// The exit status of a mistake in the command line, the configuration or an input file (BSD's `EX_USAGE`).
pub(crate) const CONFIGURATION: u8 = 64;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user can put it right before trying again: arguments, configuration, input files.
    Configuration(anyhow::Error),
    /// The run itself failed.
    Run(anyhow::Error),
    /// Nothing failed: the role was asked to stop before its run was complete, and to say so with this status, which is not 0.
    Unfinished(u8),
}

/// What commands return.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Whether nothing failed but that nobody reads what is written any more: there is nobody to tell either.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Configuration(error) | Self::Run(error) if output::is_unread(error))
    }

    /// The status for the shell: 64 for configuration, 1 for the run, what was asked for where it is unfinished.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            _ if self.is_unread() => ExitCode::from(output::UNREAD),
            Self::Configuration(_) => ExitCode::from(CONFIGURATION),
            Self::Run(_) => ExitCode::FAILURE,
            Self::Unfinished(status) => ExitCode::from(*status),
        }
    }

    /// What happened, on one line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Configuration(error) | Self::Run(error) => with_causes(error.as_ref()),
            Self::Unfinished(_) => self.to_string(),
        }
    }
}

/// What a role's end is to its process: `status` where it was stopped before its run was `complete`; 0 is taken for success.
pub(crate) fn ended(complete: bool, status: u8) -> Outcome<()> {
    if complete || status == 0 {
        Ok(())
    } else {
        Err(Failure::Unfinished(status))
    }
}

/// Marks errors that the user can put right. Everything else that `?` converts is a failed run.
pub(crate) trait OrConfiguration<T> {
    /// Makes the error one of configuration.
    fn or_configuration(self) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrConfiguration<T> for Result<T, E> {
    fn or_configuration(self) -> Outcome<T> {
        self.map_err(|error| Failure::Configuration(error.into()))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

impl fmt::Display for Failure {
    /// The chain of causes, one a line, as a terminal may have it. A cause whose text its parent already holds is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Configuration(error) | Self::Run(error) => error,
            Self::Unfinished(_) => return f.write_str("stopped before the run was complete"),
        };
        let mut said = error.to_string();
        write!(f, "error: {}", plain(&said))?;
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, "\n  caused by: {}", plain(&text))?;
                said = text;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn causes_are_told_one_a_line_and_none_twice() {
        let inner = Err::<(), _>(anyhow!("connection refused"));
        let error = inner
            .context("learner at http://127.0.0.1:1: connection refused")
            .context("cannot join")
            .unwrap_err();
        assert_eq!(
            Failure::Run(error).to_string(),
            "error: cannot join\n  caused by: learner at http://127.0.0.1:1: connection refused"
        );
    }

    #[test]
    fn what_a_cause_quotes_orders_no_terminal_about_and_fills_none() {
        let inner = Err::<(), _>(anyhow!("it said \u{1b}[2J\u{9b}31m\r\nerror: all is well"));
        let told = Failure::Run(inner.context("cannot \u{7}join").unwrap_err()).to_string();
        let causes = "error: cannot  join\n  caused by: it said  [2J 31m \nerror: all is well";
        assert_eq!(told, causes);
        let long = Failure::Run(anyhow!("config.json: model_type = {}", "x".repeat(1 << 20))).to_string();
        assert!(long.len() < 5 << 10 && long.ends_with("x…"), "{}", long.len());
    }

    #[test]
    fn an_unfinished_run_has_the_status_that_was_asked_for_and_a_complete_one_has_none() {
        assert!(matches!(ended(false, 75), Err(Failure::Unfinished(75))));
        assert!(ended(true, 75).is_ok());
        assert!(
            ended(false, 0).is_ok(),
            "a role that is stopped by hand has done what it was told"
        );
        assert_eq!(
            format!("{:?}", Failure::Unfinished(75).exit_code()),
            format!("{:?}", ExitCode::from(75))
        );
    }

    #[test]
    fn only_marked_errors_are_the_users() {
        let failed: Outcome<()> = Err(anyhow!("disk full").into());
        assert!(matches!(failed, Err(Failure::Run(_))));
        let marked = Err::<(), _>(anyhow!("no such file")).or_configuration();
        assert!(matches!(marked, Err(Failure::Configuration(_))));
    }
}
