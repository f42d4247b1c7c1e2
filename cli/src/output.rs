//! The one door to standard output: results, and what scripts read. Logs and progress go to standard error.

use std::fmt;
use std::io::{self, Write as _};

/// A text as a terminal may have it, whoever wrote what is quoted in it; its line breaks stay, and a line is no longer than somebody reads.
pub(crate) fn plain(text: &str) -> String {
    let lines = text.split('\n').map(|line| proto::said(line).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The exit status where the reader at the other end of a pipe has gone: the one that shells see of programs which SIGPIPE ends.
pub(crate) const UNREAD: u8 = 141;

/// The reader of standard output has gone, as `head` does when it has seen enough.
#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Whether that is what an error comes of.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let mut inner = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref());
    inner.any(|inner| inner.is::<ReaderGone>())
}

/// Writes one line and flushes it, so that a reader on the other end of a pipe sees it at once.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn line(text: &str) -> io::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes what is text already, and flushes it.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    // Other pipes break too, and those are errors.
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ReaderGone),
        _ => error,
    })
}

/// Writes one JSON object as a line.
///
/// # Errors
/// When standard output is closed or the value has no JSON form.
pub(crate) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}
