//! When a connection is asked whether its other end lives. A process that is stopped and a host that is gone close nothing: without a
//! question whoever waits for them waits for good.

use std::time::Duration;
use tonic::transport::Endpoint;

/// When HTTP/2's ping is sent, and how long it may take to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long a connection may be silent before its other end is asked.
    pub silence: Duration,
    /// How long the answer may take; then the connection is cut.
    pub answer: Duration,
}

impl KeepAlive {
    /// What every caller asks of whom it calls, unless it says otherwise: a service that hangs is away after 20 s, well within the minute
    /// that its restart is waited for. Its runtime answers, whatever it computes.
    pub const OF_CALLERS: Self = Self {
        silence: Duration::from_secs(10),
        answer: Duration::from_secs(10),
    };

    /// What every server asks of its callers. Nobody waits for one; what it holds, a place and an open stream, can stay a minute.
    pub const OF_SERVERS: Self = Self {
        silence: Duration::from_secs(30),
        answer: Duration::from_secs(30),
    };

    /// A caller's settings with it, also while nothing is under way: whoever calls next must not find out then.
    pub fn on(self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .http2_keep_alive_interval(self.silence)
            .keep_alive_timeout(self.answer)
            .keep_alive_while_idle(true)
    }
}
