//! What a person sees while a command works: bars on a terminal, plain lines anywhere else. Both go to standard error, so
//! that results on standard output stay clean; table rows are results. Where log lines are JSON, they are log lines.

use crate::output;
use crate::telemetry::lines_are_json;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};

/// In plain lines, a stage is reported each time it has come this much further, in percent.
const LINE_STEP: u64 = 20;

/// The display of one command.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    /// Whether table rows are no results either: those of the whole command come at its end.
    aside: bool,
}

impl Progress {
    /// Bars when standard error is a terminal.
    pub(crate) fn detect() -> Self {
        Self {
            bars: (io::stderr().is_terminal() && !lines_are_json()).then(MultiProgress::new),
            aside: false,
        }
    }

    /// The same with everything on standard error.
    pub(crate) fn aside(self) -> Self {
        Self { aside: true, ..self }
    }

    /// Starts showing a stage of unknown length.
    pub(crate) fn stage(&self, name: &str) -> Stage {
        let bar = self.bars.as_ref().map(|bars| bars.add(bar(name)));
        let stage = Stage {
            progress: self.clone(),
            name: name.to_owned(),
            bar,
            shown: 0,
        };
        if stage.bar.is_none() {
            stage.progress.say(&format!("{name} ..."));
        }
        stage
    }

    /// A line for the person watching.
    pub(crate) fn say(&self, text: &str) {
        if lines_are_json() {
            tracing::info!("{text}");
            return;
        }
        self.above_bars(|| {
            // Nobody can be told that standard error is closed.
            writeln!(io::stderr(), "{text}").ok();
        });
    }

    /// A line of the result.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        if self.aside {
            self.say(text);
            return Ok(());
        }
        self.above_bars(|| output::line(text))
    }

    fn above_bars<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<24} {wide_bar} {percent:>3} % {elapsed:>4} {msg}")
        .expect("the template is valid");
    ProgressBar::new(100)
        .with_style(style)
        .with_prefix(name.to_owned())
}

/// One stage on the display. Dropping it takes its bar away.
#[derive(Debug)]
pub(crate) struct Stage {
    progress: Progress,
    name: String,
    bar: Option<ProgressBar>,
    shown: u64,
}

impl Stage {
    /// How far the stage is, and a word on it.
    pub(crate) fn update(&mut self, done: u64, total: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
            return;
        }
        let percent = done.min(total) * 100 / total.max(1);
        if percent >= self.shown + LINE_STEP {
            self.shown = percent - percent % LINE_STEP;
            self.progress.say(&format!("{} {percent} % {note}", self.name));
        }
    }

    /// Ends the stage with a line that stays.
    pub(crate) fn finish(self, note: &str) {
        self.progress.say(&format!("{}: {note}", self.name));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
