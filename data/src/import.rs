//! What can be wrong with an imported file: all mistakes at once, each with its row and key.

mod row;

pub(crate) use row::Row;

use std::{fmt, io, path::PathBuf};

/// Why a catalogue or click log was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is not of the expected form at all.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Rows of the file are wrong.
    #[error("{}: {} mistake(s)\n{}", path.display(), problems.len(), list(problems))]
    Rows {
        /// The file.
        path: PathBuf,
        /// Every mistake found, in file order.
        problems: Vec<RowProblem>,
    },
}

/// One mistake in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The row, counted from 1; for line-based files the line number.
    pub row: usize,
    /// The key it is about.
    pub key: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, {}: {}", self.row, self.key, self.reason)
    }
}

fn list(problems: &[RowProblem]) -> String {
    problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect::<Vec<_>>()
        .join("\n")
}
