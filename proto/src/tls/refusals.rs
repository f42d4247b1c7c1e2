//! What the log has of connections that were refused.

use super::error::HandshakeError;
use crate::{Remote, SparingLog};
use std::net::SocketAddr;

/// Tells of refusals, within bounds.
#[derive(Default)]
pub(super) struct Refusals(SparingLog);

impl Refusals {
    /// A connection from `address` was refused.
    pub(super) fn tell(&self, address: Option<SocketAddr>, error: &HandshakeError) {
        let peer = Remote::from(address).shown();
        match self.untold(error) {
            Some(untold) => tracing::warn!(peer, %error, untold, "connection refused"),
            None => tracing::debug!(peer, %error, "connection without a handshake"),
        }
    }

    /// Of a refusal that people are told: how many they were not told since the last one.
    fn untold(&self, error: &HandshakeError) -> Option<u64> {
        match error {
            // Whoever only looks whether somebody listens, such as a load balancer every few seconds.
            HandshakeError::Left => None,
            _ => self.0.one_more(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_that_is_refused_without_end_does_not_fill_the_log_and_a_look_is_no_refusal() {
        let refusals = Refusals::default();
        let lines = |error| (0..10_000).filter_map(|_| refusals.untold(&error)).count();
        assert_eq!(lines(HandshakeError::Left), 0);
        assert!((30..60).contains(&lines(HandshakeError::PlainText)));
    }
}
