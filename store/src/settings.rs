//! How patient a store is with its server.

use std::time::Duration;

/// Time-outs and retries of a store that is reached over a network; a directory knows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSettings {
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest time of one request, its bytes included: a part of 8 MiB at a megabit a second takes 67 s. Default 90 s.
    pub request_timeout: Duration,
    /// How often one request is tried again after a lost connection, a time-out or an answer of 429 or 5xx, with growing
    /// pauses. Default 10.
    pub max_retries: usize,
    /// No request is tried again when it was first tried longer ago than this. Its signature must still be valid: below five
    /// minutes. Default 180 s.
    pub retry_timeout: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(90),
            max_retries: 10,
            retry_timeout: Duration::from_secs(180),
        }
    }
}
