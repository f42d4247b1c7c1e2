//! What an actor has received from whom, and what it thinks of who sent it.

use super::artifacts::Payload;
use super::pace::Pace;
use crate::relay::terms::{self, AVOIDED};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// Relays remembered as failed; the learner names one at a time.
const MOST_AVOIDED: usize = 64;

/// Payload received since the actor started, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Of adapters, whoever sent it.
    pub(crate) adapter: u64,
    /// Of the base model, whoever sent it.
    pub(crate) base: u64,
    /// Of both, from relays.
    pub(crate) from_relays: u64,
}

/// The account of one actor.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    adapter: AtomicU64,
    base: AtomicU64,
    from_relays: AtomicU64,
    /// What the learner last brought, in bytes a second.
    rate: Mutex<Option<f64>>,
    relays_given_up: AtomicU64,
    avoided: Mutex<BTreeMap<SocketAddr, Instant>>,
}

impl Transfers {
    /// Payload came.
    pub(super) fn count(&self, payload: Payload, bytes: u64) {
        let counter = match payload {
            Payload::Base => &self.base,
            Payload::Adapter => &self.adapter,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Payload came from a relay.
    pub(super) fn count_relayed(&self, payload: Payload, bytes: u64) {
        self.count(payload, bytes);
        self.from_relays.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> Received {
        Received {
            adapter: self.adapter.load(Ordering::Relaxed),
            base: self.base.load(Ordering::Relaxed),
            from_relays: self.from_relays.load(Ordering::Relaxed),
        }
    }

    /// The learner brought so many bytes a second.
    pub(super) fn learner_rate(&self, rate: f64) {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
    }

    /// What a relay must bring.
    pub(super) fn relays_pace(&self) -> Pace {
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        Pace {
            stretch: terms::at_most(terms::STRETCH),
            least: terms::least(*rate),
        }
    }

    /// Relays that were given up since the actor started.
    pub(crate) fn relays_given_up(&self) -> u64 {
        self.relays_given_up.load(Ordering::Relaxed)
    }

    /// A relay failed.
    pub(super) fn give_up(&self, relay: SocketAddr, now: Instant) {
        self.relays_given_up.fetch_add(1, Ordering::Relaxed);
        let mut avoided = self.avoided();
        avoided.retain(|_, until| *until > now);
        if avoided.len() < MOST_AVOIDED {
            avoided.insert(relay, now + AVOIDED);
        }
    }

    /// Whether a relay failed not long ago.
    pub(super) fn is_avoided(&self, relay: SocketAddr, now: Instant) -> bool {
        self.avoided().get(&relay).is_some_and(|until| *until > now)
    }

    fn avoided(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_failed_is_asked_again_after_a_while() {
        let (transfers, relay) = (Transfers::default(), SocketAddr::from(([10, 0, 0, 1], 7)));
        let now = Instant::now();
        assert!(!transfers.is_avoided(relay, now));
        transfers.give_up(relay, now);
        assert!(transfers.is_avoided(relay, now));
        assert!(!transfers.is_avoided(relay, now + AVOIDED));
        assert_eq!(transfers.relays_given_up(), 1);
    }

    #[test]
    fn a_relay_is_held_to_a_share_of_what_the_learner_brought_and_to_something_before() {
        let transfers = Transfers::default();
        assert_eq!(transfers.relays_pace().least, 10 << 20);
        transfers.learner_rate(800.0);
        assert_eq!(transfers.relays_pace().least, 2_000);
        transfers.learner_rate(0.01);
        assert_eq!(transfers.relays_pace().least, 1);
    }

    #[test]
    fn what_came_is_counted_by_what_it_is_and_who_sent_it() {
        let transfers = Transfers::default();
        transfers.count(Payload::Base, 3);
        transfers.count_relayed(Payload::Adapter, 5);
        let expected = Received {
            adapter: 5,
            base: 3,
            from_relays: 5,
        };
        assert_eq!(transfers.received(), expected);
    }
}
