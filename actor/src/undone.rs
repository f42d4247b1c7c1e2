//! Leases that a service left undone, one after the other: while they are few it is waited for, then it is lost.

use crate::failure::chain;

/// A service that left so many leases in a row undone is lost, even if it answers other questions.
const LOST: u32 = 3;

/// The leases in a row that a service left undone, and what came of the last one.
#[derive(Debug)]
pub(crate) struct UndoneLeases<E> {
    last: Option<(u32, E)>,
}

impl<E> Default for UndoneLeases<E> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<E: std::error::Error + 'static> UndoneLeases<E> {
    /// What came of a lease: what kept the service from doing it, or nothing, where it was asked at all. A service that is `full` is
    /// not lost.
    pub(crate) fn remember(&mut self, undone: Option<E>, asked: bool, full: impl FnOnce(&E) -> bool) {
        let before = self.last.as_ref().map_or(0, |(leases, _)| *leases);
        match undone {
            Some(error) => {
                let leases = u32::from(!full(&error));
                self.last = Some((before + leases, error));
            }
            None if asked => self.last = None,
            None => {}
        }
    }

    /// What left the last lease undone, for people.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let (_, error) = self.last.as_ref()?;
        Some(chain(error))
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
        let mut undone = UndoneLeases::default();
        for full in [false, true, false, true, true] {
            undone.remember(Some(Error), true, |_| full);
            assert_eq!(undone.bearable(), Ok(Some(&Error)));
        }
        // A lease that asked nothing tells nothing.
        undone.remember(None, false, |_| false);
        assert!(undone.waits_for().is_some());
        undone.remember(Some(Error), true, |_| false);
        assert_eq!(undone.bearable(), Err(Error));
        undone.remember(Some(Error), true, |_| false);
        undone.remember(None, true, |_| false);
        assert_eq!((undone.waits_for(), undone.bearable()), (None, Ok(None)));
    }
}
