//! What a line on standard error is: text on one line, whatever is quoted in it, or an object of JSON, and then nothing else.

use crate::config::LogFormat;
use crate::failure::Failure;
use crate::output::plain;
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error is for programs. It is the process's, as the lines are.
static ONLY_JSON: AtomicBool = AtomicBool::new(false);

/// Whether standard error has lines of JSON and nothing else.
pub(crate) fn are_json() -> bool {
    ONLY_JSON.load(Relaxed)
}

/// Log lines on standard error. Of JSON, everything else that is said there is made a line too from here on.
pub(super) fn layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .fmt_fields(OneLine)
            .boxed(),
        LogFormat::Json => {
            ONLY_JSON.store(true, Relaxed);
            panic::set_hook(Box::new(panicked));
            lines.json().flatten_event(true).map_event_format(Escaped).boxed()
        }
    }
}

/// Tells why a command ends. No filter of the log keeps that back.
pub(crate) fn end(failure: &Failure) {
    if !are_json() {
        // Nobody can be told that standard error is closed.
        writeln!(io::stderr(), "{failure}").ok();
        return;
    }
    match failure {
        Failure::Unfinished(_) => line("INFO", json!({ "message": failure.reason() })),
        _ => line(
            "ERROR",
            json!({ "message": "failed", "error": plain(&failure.reason()) }),
        ),
    }
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current().name().map(str::to_owned);
    let error = plain(panic.payload_as_str().unwrap_or("it says nothing"));
    line(
        "ERROR",
        json!({ "message": "panicked", "error": error, "thread": thread, "place": place }),
    );
}

/// A line with what log lines have, beside what is logged.
fn line(level: &str, mut said: Value) {
    let mut timestamp = String::new();
    // A line without a time is better than none.
    SystemTime.format_time(&mut Writer::new(&mut timestamp)).ok();
    said["timestamp"] = timestamp.into();
    said["level"] = level.into();
    said["target"] = env!("CARGO_CRATE_NAME").into();
    writeln!(io::stderr(), "{said}").ok();
}

/// Fields of events and spans in text. What strangers say is quoted in them: it begins no line and orders no terminal about.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> std::fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&proto::one_line(&text))
    }
}

/// Lines of JSON, which escapes what lies below U+0020: here other orders to a terminal are escaped too.
struct Escaped<F>(F);

impl<S, N, F> FormatEvent<S, N> for Escaped<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        line.chars().try_for_each(|c| match c {
            // Only the line's own end: one within a text is escaped already.
            '\n' => writer.write_char(c),
            _ if proto::is_order(c) => write!(writer, "\\u{:04x}", u32::from(c)),
            _ => writer.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Where a test's lines go.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SAID: &str = "no\r\n2026-11-30T07:00:00Z  INFO learner: forged\u{1b}[2J\u{9b}31m\u{202e}";

    #[test]
    fn what_is_quoted_in_a_line_begins_none_and_orders_no_terminal_about() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = fmt::layer().with_writer(move || writer.clone());
        let lines = lines.with_ansi(false).fmt_fields(OneLine);
        let said = SAID;
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _span = tracing::info_span!("call", who = %said).entered();
            tracing::warn!(reason = %said, debugged = ?said, plain = said, pairs = 3, "it says {said}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let (line, rest) = text.split_once('\n').unwrap();
        assert_eq!(rest, "", "{text:?}");
        assert_eq!(proto::one_line(line), line);
        for part in ["WARN", "call{who=no", "it says no", "reason=no", "pairs=3"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn a_line_of_json_orders_no_terminal_about_and_is_what_was_said() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = fmt::layer().with_writer(move || writer.clone());
        let lines = lines.json().flatten_event(true).map_event_format(Escaped);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _span = tracing::info_span!("call", who = SAID).entered();
            tracing::warn!(reason = SAID, "it says {SAID}\u{7f}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert_eq!(proto::one_line(line), line);
        let told: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&told["reason"], &told["span"]["who"]),
            (&json!(SAID), &json!(SAID))
        );
        assert_eq!(told["message"], format!("it says {SAID}\u{7f}"));
    }
}
