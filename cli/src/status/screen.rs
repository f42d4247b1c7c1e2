//! A frame that is drawn over the one before, on a terminal.
//!
//! Lines are cut to the terminal's width and frames to its height: a line that wraps or scrolls away cannot be drawn over. Nothing of
//! the terminal is changed, the cursor is not even hidden: however the command ends, the last frame stays and the shell goes on below.

use console::{Term, truncate_str};
use std::io;

/// The part of the terminal that frames are drawn in.
pub(crate) struct Screen {
    term: Term,
    drawn: usize,
}

impl Screen {
    /// Takes the terminal of standard output; none when it is none.
    pub(crate) fn open() -> Option<Self> {
        let term = Term::buffered_stdout();
        term.is_term().then_some(Self { term, drawn: 0 })
    }

    /// Draws a frame over the one before.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (height, width) = self.term.size();
        let lines = fitting(lines, height.into(), width.into());
        self.term.move_cursor_up(self.drawn)?;
        for line in &lines {
            self.term.write_line(&format!("\r\x1b[2K{line}"))?;
        }
        self.term.clear_to_end_of_screen()?;
        self.drawn = lines.len();
        self.term.flush()
    }
}

fn fitting(lines: &[String], height: usize, width: usize) -> Vec<String> {
    let rows = height.saturating_sub(1).max(1);
    let cut = |line: &String| truncate_str(line, width.saturating_sub(1), "…").into_owned();
    let mut shown: Vec<String> = lines.iter().take(rows).map(cut).collect();
    if lines.len() > rows
        && let Some(last) = shown.last_mut()
    {
        *last = format!("… {} more lines", lines.len() - rows + 1);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_wraps_or_scrolls() {
        let lines: Vec<String> = (0..30)
            .map(|line| format!("{line} {}", "x".repeat(200)))
            .collect();
        let shown = fitting(&lines, 10, 40);
        assert_eq!(shown.len(), 9);
        assert!(shown.iter().all(|line| line.chars().count() < 40), "{shown:?}");
        assert_eq!(shown[8], "… 22 more lines");
        assert_eq!(fitting(&lines[..3], 10, 400), lines[..3]);
    }
}
