//! What the log has of connections that were refused. Whoever can reach a port can be refused there, so often as it likes.

use super::error::HandshakeError;
use crate::Remote;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Refusals that are told one by one within a [`WINDOW`].
const TOLD: u64 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// Tells of refusals, within bounds.
pub(super) struct Refusals {
    window: Instant,
    /// Since the window began.
    count: u64,
}

/// How a refusal is told.
#[derive(Debug, PartialEq, Eq)]
enum Telling {
    /// As nothing that anybody has to look at.
    Aside,
    /// By itself.
    Alone,
    /// With so many in this window that were not told.
    Among(u64),
    Not,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            window: Instant::now(),
            count: 0,
        }
    }

    /// A connection from `address` was refused.
    pub(super) fn tell(&mut self, address: Option<SocketAddr>, error: &HandshakeError) {
        let peer = Remote::from(address).shown();
        match self.telling(error) {
            Telling::Aside => tracing::debug!(peer, %error, "connection without a handshake"),
            Telling::Alone => tracing::warn!(peer, %error, "connection refused"),
            Telling::Among(untold) => {
                tracing::warn!(peer, %error, untold, "connection refused, as many others were")
            }
            Telling::Not => {}
        }
    }

    fn telling(&mut self, error: &HandshakeError) -> Telling {
        if matches!(error, HandshakeError::Left) {
            // Whoever only looks whether somebody listens, such as a load balancer every few seconds.
            return Telling::Aside;
        }
        if self.window.elapsed() >= WINDOW {
            *self = Self::new();
        }
        self.count += 1;
        match self.count.saturating_sub(TOLD) {
            0 => Telling::Alone,
            // Ever more rarely: whoever dials without end must not fill the log.
            untold if untold.is_power_of_two() => Telling::Among(untold),
            _ => Telling::Not,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_is_refused_without_end_does_not_fill_the_log_and_a_look_is_no_refusal() {
        let mut refusals = Refusals::new();
        let mut lines = |times: usize| {
            let told = (0..times).map(|_| refusals.telling(&HandshakeError::PlainText));
            told.filter(|told| *told != Telling::Not).count()
        };
        assert_eq!(lines(30), 30, "each is told while they are few");
        assert_eq!(lines(1 << 20), 21);
        tokio::time::advance(WINDOW).await;
        assert_eq!(lines(1), 1, "a later one is told again");
        assert_eq!(refusals.telling(&HandshakeError::Left), Telling::Aside);
    }
}
