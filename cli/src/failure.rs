//! How a command ends when it does not end well: what the user reads and which status the shell sees.
//!
//! Nothing is decided here about what counts as which; each command says so where the error arises.

use std::{fmt, process::ExitCode};

/// The exit status of a mistake in the command line, the configuration or an input file (BSD's `EX_USAGE`).
const CONFIGURATION: u8 = 64;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user can put it right before trying again: arguments, configuration, input files.
    Configuration(anyhow::Error),
    /// The run itself failed.
    Run(anyhow::Error),
}

/// What commands return.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// The status for the shell: 64 for configuration, 1 for the run.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) => ExitCode::from(CONFIGURATION),
            Self::Run(_) => ExitCode::FAILURE,
        }
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
    /// The chain of causes, one a line. A cause whose text its parent already holds is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Configuration(error) | Self::Run(error)) = self;
        write!(f, "error: {error}")?;
        let mut said = error.to_string();
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, "\n  caused by: {text}")?;
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
    fn only_marked_errors_are_the_users() {
        let failed: Outcome<()> = Err(anyhow!("disk full").into());
        assert!(matches!(failed, Err(Failure::Run(_))));
        let marked = Err::<(), _>(anyhow!("no such file")).or_configuration();
        assert!(matches!(marked, Err(Failure::Configuration(_))));
    }
}
