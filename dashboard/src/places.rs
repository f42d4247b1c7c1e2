//! The places of connections, here and wherever else a process is looked at by whoever can reach it. When all are taken and one more comes, whoever has held one for longest without having shown that it may look
//! makes room; whoever has shown it never does. A stranger keeps nobody out so, and a browser that follows the run is not cut off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Nobody makes room earlier: it is enough to be asked for the token and to send it.
pub const LEAST_TIME: Duration = Duration::from_secs(1);

/// Whether a connection has shown that it may look, as its requests tell its place.
#[derive(Debug, Clone, Default)]
pub struct Guest(Arc<AtomicBool>);

impl Guest {
    /// It has.
    pub fn may_look(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_stranger(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Place {
    since: Instant,
    guest: Guest,
    served: AbortHandle,
}

/// Those who have a place, the first of whom came first.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: VecDeque<Place>,
}

impl Places {
    /// So many.
    pub fn of(most: usize) -> Self {
        Self {
            most,
            taken: VecDeque::new(),
        }
    }

    /// Whether there is room for one more, made if need be.
    pub fn have_room(&mut self) -> bool {
        self.taken.retain(|place| !place.served.is_finished());
        if self.taken.len() < self.most {
            return true;
        }
        let longest = self.taken.iter().position(|place| place.guest.is_stranger());
        let longest = longest.filter(|&at| self.taken[at].since.elapsed() >= LEAST_TIME);
        let Some(place) = longest.and_then(|at| self.taken.remove(at)) else {
            return false;
        };
        place.served.abort();
        true
    }

    /// `guest` has one as long as it is `served`.
    pub fn take(&mut self, guest: Guest, served: AbortHandle) {
        let since = Instant::now();
        self.taken.push_back(Place { since, guest, served });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    fn come(places: &mut Places) -> (Guest, JoinHandle<()>) {
        assert!(places.have_room());
        let (guest, served) = (Guest::default(), tokio::spawn(pending()));
        places.take(guest.clone(), served.abort_handle());
        (guest, served)
    }

    #[tokio::test(start_paused = true)]
    async fn the_stranger_that_came_first_makes_room_and_nobody_who_may_look() {
        let mut places = Places::of(3);
        let (guest, of_guest) = come(&mut places);
        guest.may_look();
        let (_, of_first) = come(&mut places);
        let (second, of_second) = come(&mut places);
        assert!(!places.have_room(), "they came only just now");
        sleep(LEAST_TIME).await;
        let (third, of_third) = come(&mut places);
        assert!(of_first.await.unwrap_err().is_cancelled());
        second.may_look();
        third.may_look();
        sleep(10 * LEAST_TIME).await;
        assert!(!places.have_room(), "all of them may look");
        assert!(!of_guest.is_finished() && !of_second.is_finished());
        // One that leaves gives its place back.
        of_third.abort();
        of_third.await.unwrap_err();
        assert!(places.have_room());
    }
}
