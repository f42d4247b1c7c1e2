//! Bytes that are held at the same time: of requests by a server, of a lease by an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A bound for bytes, and what is left of it.
#[derive(Debug)]
pub struct ByteBudget {
    held: AtomicUsize,
    most: usize,
}

/// Bytes of one request, or lease, held as long as they are.
#[derive(Debug)]
pub struct ByteCharge {
    budget: Arc<ByteBudget>,
    bytes: AtomicUsize,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{held} bytes are held of the {most} that may be")]
pub struct NoRoom {
    /// Bytes that are held.
    pub held: usize,
    /// Bytes that may be.
    pub most: usize,
}

impl ByteBudget {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            most,
        }
    }

    /// A request, or lease, of which no byte is held yet.
    pub fn charge(self: &Arc<Self>) -> ByteCharge {
        ByteCharge {
            budget: self.clone(),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }
}

impl ByteCharge {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`NoRoom`] for them; what was taken before stays.
    pub fn add(&self, bytes: usize) -> Result<(), NoRoom> {
        let most = self.budget.most;
        let room = |held: usize| held.checked_add(bytes).filter(|&all| all <= most);
        match self.budget.held.fetch_update(Relaxed, Relaxed, room) {
            Ok(_) => {
                self.bytes.fetch_add(bytes, Relaxed);
                Ok(())
            }
            Err(held) => Err(NoRoom { held, most }),
        }
    }

    /// Gives so many bytes back, or all where it has taken fewer.
    pub fn give_back(&self, bytes: usize) {
        let left = |taken: usize| Some(taken.saturating_sub(bytes));
        if let Ok(taken) = self.bytes.fetch_update(Relaxed, Relaxed, left) {
            self.budget.held.fetch_sub(taken.min(bytes), Relaxed);
        }
    }
}

impl Drop for ByteCharge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_changes_nothing_and_room_comes_back() {
        let budget = Arc::new(ByteBudget::new(100));
        let (one, other) = (budget.charge(), budget.charge());
        one.add(60).unwrap();
        other.add(40).unwrap();
        assert_eq!(other.add(1), Err(NoRoom { held: 100, most: 100 }));
        drop(one);
        other.add(60).unwrap();
        assert!(other.add(usize::MAX).is_err());
        drop(other);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_given_back_is_there_for_others_and_no_more_than_was_taken() {
        let budget = Arc::new(ByteBudget::new(100));
        let (one, other) = (budget.charge(), budget.charge());
        one.add(60).unwrap();
        other.add(30).unwrap();
        one.give_back(40);
        assert_eq!(budget.held(), 50);
        other.add(50).unwrap();
        one.give_back(21);
        assert_eq!(budget.held(), 80);
        drop((one, other));
        assert_eq!(budget.held(), 0);
    }
}
