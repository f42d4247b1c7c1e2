//! Leases that a service left undone, one after the other: while they are few it is waited for, then it is lost. One without room is
//! never lost: it says when to come again, and no lease is asked for before that.

use common::with_causes;
use proto::Pauses;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A service that left so many leases in a row undone is lost, even if it answers other questions.
const LOST: u32 = 3;

/// The leases in a row that a service left undone, and what came of the last one.
#[derive(Debug)]
pub(crate) struct UndoneLeases<E> {
    last: Option<(u32, E)>,
    /// All of them, those for want of room included.
    in_a_row: u32,
    pauses: Pauses,
    /// When a service without room may have some.
    room_at: Option<Instant>,
}

/// What keeps an actor from leasing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What is waited for, for people.
    pub(crate) what: String,
    /// Whether that was so after the lease before, too: it has been told.
    pub(crate) again: bool,
}

/// A service had no room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoRoom {
    /// When it wants to be asked again, where it says so.
    pub(crate) retry_after: Option<Duration>,
}

impl<E: std::error::Error + 'static> UndoneLeases<E> {
    /// None yet; the pauses are drawn from the caller's own seed, so that those who were sent away together do not come back together.
    pub(crate) fn drawn_from(seed: u64) -> Self {
        Self {
            last: None,
            in_a_row: 0,
            pauses: Pauses::drawn_from(seed),
            room_at: None,
        }
    }

    /// What came of a lease: what kept the service from doing it, or nothing, where it was asked at all. A service that had
    /// `no_room` is not lost.
    pub(crate) fn remember(
        &mut self,
        undone: Option<E>,
        asked: bool,
        no_room: impl FnOnce(&E) -> Option<NoRoom>,
    ) {
        let before = self.last.as_ref().map_or(0, |(leases, _)| *leases);
        match undone {
            Some(error) => {
                let no_room = no_room(&error);
                self.in_a_row = self.in_a_row.saturating_add(1);
                let pause = no_room.map(|no_room| self.pauses.next_pause(no_room.retry_after));
                self.room_at = pause.map(|pause| Instant::now() + pause);
                self.last = Some((before + u32::from(no_room.is_none()), error));
            }
            None if asked => {
                self.last = None;
                self.in_a_row = 0;
                self.room_at = None;
                self.pauses.over();
            }
            None => {}
        }
    }

    /// Waits until a service that had no room for the last lease wants to be asked again.
    pub(crate) async fn until_room(&self) {
        if let Some(room_at) = self.room_at {
            sleep_until(room_at).await;
        }
    }

    /// What left the last lease undone.
    pub(crate) fn waits_for(&self) -> Option<Waiting> {
        let (_, error) = self.last.as_ref()?;
        Some(Waiting {
            what: with_causes(error),
            again: self.in_a_row > 1,
        })
    }

    /// What left the last lease undone, if that is to be waited for.
    ///
    /// # Errors
    /// The same when too many leases in a row were left undone.
    pub(crate) fn bearable(&mut self) -> Result<Option<&E>, E> {
        match self.last.take_if(|(leases, _)| *leases >= LOST) {
            Some((_, error)) => Err(error),
            None => Ok(self.last.as_ref().map(|(_, error)| error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Error;

    #[test]
    fn three_leases_in_a_row_are_too_many_unless_there_was_no_room() {
        let mut undone = UndoneLeases::drawn_from(1);
        let full = NoRoom { retry_after: None };
        for (before, no_room) in [None, Some(full), None, Some(full), Some(full)]
            .into_iter()
            .enumerate()
        {
            undone.remember(Some(Error), true, |_| no_room);
            assert_eq!(undone.bearable(), Ok(Some(&Error)));
            // What goes on is news once.
            assert_eq!(undone.waits_for().unwrap().again, before > 0);
        }
        assert_eq!(undone.in_a_row, 5);
        // A lease that asked nothing tells nothing.
        undone.remember(None, false, |_| None);
        assert!(undone.waits_for().is_some());
        undone.remember(Some(Error), true, |_| None);
        assert_eq!(undone.bearable(), Err(Error));
        undone.remember(Some(Error), true, |_| None);
        undone.remember(None, true, |_| None);
        assert_eq!((undone.waits_for(), undone.bearable()), (None, Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_lease_is_asked_for_before_a_full_service_wants_to_be_asked_again() {
        let waited = async |undone: &UndoneLeases<Error>| {
            let began = Instant::now();
            undone.until_room().await;
            began.elapsed()
        };
        let mut undone = UndoneLeases::drawn_from(1);
        let asked = Duration::from_secs(3);
        for _again in 0..9 {
            let retry_after = Some(asked);
            undone.remember(Some(Error), true, |_| Some(NoRoom { retry_after }));
            assert!(waited(&undone).await >= asked);
        }
        // One that does not say when is asked less and less often.
        let retry_after = None;
        undone.remember(Some(Error), true, |_| Some(NoRoom { retry_after }));
        assert!(waited(&undone).await >= Duration::from_secs(1));
        // Whoever is away is asked whether it is back, and one that has scored need not be waited for.
        undone.remember(Some(Error), true, |_| Some(NoRoom { retry_after }));
        undone.remember(Some(Error), true, |_| None);
        assert_eq!(waited(&undone).await, Duration::ZERO);
        undone.remember(Some(Error), true, |_| Some(NoRoom { retry_after }));
        undone.remember(None, true, |_| None);
        assert_eq!(waited(&undone).await, Duration::ZERO);
    }
}
