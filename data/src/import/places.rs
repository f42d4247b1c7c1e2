//! Where imported things stand in their file, for whoever finds one of them at fault after it was read: only a policy or a
//! reward model knows how much it can read.

use super::{ImportError, RowProblem};
use std::path::{Path, PathBuf};

/// The file that things were imported from, and the row of each, by its index.
#[derive(Debug, Clone)]
pub struct FilePlaces {
    path: PathBuf,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    /// The key that says most of it.
    key: &'static str,
}

impl FilePlaces {
    /// `places` are row and key of each thing, in the order of their indices.
    pub(crate) fn new(path: &Path, places: impl IntoIterator<Item = (usize, &'static str)>) -> Self {
        Self {
            path: path.to_owned(),
            places: places.into_iter().map(|(row, key)| Place { row, key }).collect(),
        }
    }

    /// How many things the file holds.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The row of a thing, as messages count it.
    pub fn row(&self, index: usize) -> usize {
        self.places[index].row
    }

    /// The file's error for things that are at fault, each given by its index and what is wrong with it.
    pub fn refusal(&self, faults: impl IntoIterator<Item = (usize, String)>) -> ImportError {
        let problem = |(index, reason): (usize, String)| {
            let Place { row, key } = self.places[index];
            let key = key.to_owned();
            RowProblem { row, key, reason }
        };
        let mut problems: Vec<RowProblem> = faults.into_iter().map(problem).collect();
        problems.sort_by_key(|problem| problem.row);
        ImportError::Rows {
            path: self.path.clone(),
            problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_by_file_row_and_key_in_the_order_of_rows() {
        let places = FilePlaces::new(Path::new("mine.jsonl"), [(7, "caption"), (2, "caption")]);
        let text = places
            .refusal([(0, "too long".into()), (1, "too dull".into())])
            .to_string();
        assert_eq!(
            text,
            "mine.jsonl: 2 mistake(s)\n  row 2, caption: too dull\n  row 7, caption: too long"
        );
        assert_eq!((places.len(), places.row(0)), (2, 7));
    }
}
