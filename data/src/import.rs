//! What can be wrong with an imported file: all mistakes at once, each with its row and key.

mod list;
mod memory;
mod places;
mod row;

pub(crate) use list::list;
pub(crate) use memory::Memory;
pub use places::FilePlaces;
pub(crate) use row::Row;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// What a file is called in reports, and the folder that paths in it are relative to.
pub(crate) fn name_and_folder(path: &Path) -> (String, PathBuf) {
    let name = path.file_stem().unwrap_or(path.as_os_str());
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    (name.to_string_lossy().into_owned(), folder)
}

/// Why a catalogue, a corpus, a click log or a file of pairs was not imported.
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
    #[error("{}: {} mistake(s)\n  {}", path.display(), problems.len(), told(problems).join("\n  "))]
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

/// Mistakes that are told of one file; a file of another format has one in every row.
const TOLD: usize = 20;

impl ImportError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::Malformed { path, .. } | Self::Rows { path, .. } => path,
        }
    }

    /// What is wrong, a mistake each without the file's name, and how many more there are when there are too many to tell.
    pub fn mistakes(&self) -> Vec<String> {
        match self {
            Self::Unreadable { source, .. } => vec![format!("cannot read the file: {source}")],
            Self::Malformed { reason, .. } => vec![reason.clone()],
            Self::Rows { problems, .. } => told(problems),
        }
    }
}

fn told(problems: &[RowProblem]) -> Vec<String> {
    let more = problems.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("and {more} more"));
    problems
        .iter()
        .take(TOLD)
        .map(ToString::to_string)
        .chain(more)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_full_of_mistakes_is_told_by_its_first_ones_and_their_number() {
        let problem = |row| RowProblem {
            row,
            key: "id".into(),
            reason: "missing".into(),
        };
        let error = ImportError::Rows {
            path: "mine.json".into(),
            problems: (1..=1000).map(problem).collect(),
        };
        let text = error.to_string();
        assert!(
            text.starts_with("mine.json: 1000 mistake(s)\n  row 1, id: missing\n"),
            "{text}"
        );
        assert!(text.ends_with("row 20, id: missing\n  and 980 more"), "{text}");
        assert_eq!(error.mistakes().len(), 21);
    }
}
