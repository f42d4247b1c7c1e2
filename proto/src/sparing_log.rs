//! Which of many like events the log has. Whoever can reach a port can be refused there so often as it likes, and a full service turns
//! away all that come.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Events that are told one by one within a [`WINDOW`].
const TOLD: u64 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// Keeps a kind of event from filling the log.
#[derive(Debug)]
pub struct SparingLog(Mutex<Events>);

#[derive(Debug)]
struct Events {
    window: Instant,
    /// Since the window began.
    count: u64,
    /// Since one was told.
    untold: u64,
}

impl Default for SparingLog {
    fn default() -> Self {
        Self(Mutex::new(Events {
            window: Instant::now(),
            count: 0,
            untold: 0,
        }))
    }
}

impl SparingLog {
    /// One more has come: if it is to be told, with how many that were not since the last one that was.
    pub fn one_more(&self) -> Option<u64> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.window.elapsed() >= WINDOW {
            (events.window, events.count) = (Instant::now(), 0);
        }
        events.count += 1;
        // Those beyond the first ones ever more rarely.
        let beyond = events.count.saturating_sub(TOLD);
        if beyond == 0 || beyond.is_power_of_two() {
            return Some(mem::take(&mut events.untold));
        }
        events.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_without_end_does_not_fill_the_log_and_none_of_it_is_left_out_of_the_count() {
        let log = SparingLog::default();
        let told = |times: usize| -> Vec<u64> { (0..times).filter_map(|_| log.one_more()).collect() };
        assert_eq!(told(30), [0; 30], "each is told while they are few");
        assert_eq!(told(9), [0, 0, 1, 3], "the last one is not told yet");
        assert_eq!(told((1 << 20) - 9).len(), 17);
        assert_eq!(told(2), [0; 0]);
        tokio::time::advance(WINDOW).await;
        assert_eq!(told(2), [2, 0], "a later one is told again, with those before it");
    }
}
