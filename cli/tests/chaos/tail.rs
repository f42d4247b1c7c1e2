//! A file that somebody else writes, line by line.

use std::fs::File;
use std::io::{Read as _, Result};
use std::path::Path;

/// What has been written to a file since it was looked at last.
pub(crate) struct Tail {
    file: File,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Tail {
    /// From the beginning of `path` on.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let (file, begun) = (File::open(path)?, vec![]);
        Ok(Self { file, begun })
    }

    /// The lines that have been completed.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>> {
        self.file.read_to_end(&mut self.begun)?;
        let Some(end) = self.begun.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(vec![]);
        };
        let rest = self.begun.split_off(end + 1);
        let complete = std::mem::replace(&mut self.begun, rest);
        let text = String::from_utf8_lossy(&complete);
        Ok(text.lines().map(str::to_owned).collect())
    }
}
