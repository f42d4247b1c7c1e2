//! The one door to standard output: results, and what scripts read. Logs and progress go to standard error.

use std::io::{self, Write as _};

/// A text as a terminal may have it, whoever wrote what is quoted in it; its line breaks stay.
pub(crate) fn plain(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(proto::one_line).collect();
    lines.join("\n")
}

/// Writes one line and flushes it, so that a reader on the other end of a pipe sees it at once.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes one JSON object as a line.
///
/// # Errors
/// When standard output is closed or the value has no JSON form.
pub(crate) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}
