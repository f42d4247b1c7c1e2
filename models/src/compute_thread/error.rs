//! What a caller of a compute thread can be told instead of an answer.

use std::fmt;
use std::panic::Location;

use crate::panics;

/// Why a job gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// The job panicked. The thread and its state live on; the state is as the job left it.
    #[error("compute job of {job} panicked: {message}")]
    Panicked {
        /// Source file and line that asked for the job.
        job: String,
        /// The panic's message.
        message: String,
    },
    /// The thread could not be started.
    #[error("cannot start compute thread {name}: {reason}")]
    Start {
        /// The thread's name.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// The thread is gone; only a panic outside any job can do that.
    #[error("compute thread {name} has stopped")]
    Stopped {
        /// The thread's name.
        name: String,
    },
}

impl ComputeError {
    pub(super) fn panicked(job: &Location<'_>, panic: &(dyn std::any::Any + Send)) -> ComputeError {
        let job = format!("{}:{}", job.file(), job.line());
        ComputeError::Panicked {
            job,
            message: panics::message(panic),
        }
    }

    pub(super) fn start(name: &str, reason: &dyn fmt::Display) -> ComputeError {
        ComputeError::Start {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }
}
