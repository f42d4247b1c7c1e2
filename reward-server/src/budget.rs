//! What a server holds at the same time, in requests and in bytes, and when whoever finds no room should come again.

use proto::{ByteBudget, ByteCharge, SparingLog, WireError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Nobody is sent away for less or for more time than this.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// How often it is looked whether requests are worked on.
const TICK: Duration = Duration::from_millis(50);

/// The bounds of a server and what is left of them.
#[derive(Debug)]
pub(crate) struct Budget {
    places: Arc<Semaphore>,
    most_requests: usize,
    bytes: Arc<ByteBudget>,
    backlog: Backlog,
    shed: AtomicU64,
    told: SparingLog,
    /// Requests that came, let in or not.
    came: AtomicU64,
}

/// One request's place, held until it is answered.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit);

/// Bytes of one request, held as long as they are.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: ByteCharge,
}

impl Budget {
    /// Room for so many requests and bytes of them.
    pub(crate) fn new(requests: usize, bytes: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(requests)),
            most_requests: requests,
            bytes: Arc::new(ByteBudget::new(bytes)),
            backlog: Backlog::default(),
            shed: AtomicU64::new(0),
            told: SparingLog::default(),
            came: AtomicU64::new(0),
        }
    }

    /// Takes a request in, of which no byte is held yet.
    ///
    /// # Errors
    /// [`WireError::Overloaded`] when there is no place.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<(Place, Charge), WireError> {
        self.came.fetch_add(1, Relaxed);
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            let most = self.most_requests;
            self.overloaded(format!(
                "{most} requests are worked on, which is all that reward_server.queue allows"
            ))
        })?;
        let charge = Charge {
            budget: self.clone(),
            bytes: self.bytes.charge(),
        };
        Ok((Place(place), charge))
    }

    /// What waits to be scored.
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Requests that are worked on.
    pub(crate) fn requests(&self) -> usize {
        self.most_requests.saturating_sub(self.places.available_permits())
    }

    /// Returns once no request has come for this long, and none is worked on.
    pub(crate) async fn quiet_for(&self, time: Duration) {
        loop {
            let came = self.came.load(Relaxed);
            sleep(time.max(TICK)).await;
            if self.requests() == 0 && self.came.load(Relaxed) == came {
                return;
            }
        }
    }

    /// Returns once no request is worked on.
    pub(crate) async fn answered(&self) {
        while self.requests() > 0 {
            sleep(TICK).await;
        }
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.held()
    }

    /// Requests that found no room.
    pub(crate) fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    fn overloaded(&self, reason: String) -> WireError {
        self.shed.fetch_add(1, Relaxed);
        let retry_after = self.backlog.clear_in().clamp(RETRY_AFTER[0], RETRY_AFTER[1]);
        if let Some(untold) = self.told.one_more() {
            let retry_after_ms = retry_after.as_millis() as u64;
            tracing::warn!(reason, retry_after_ms, untold, "request turned away");
        }
        WireError::Overloaded { reason, retry_after }
    }
}

impl Charge {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`WireError::Overloaded`] when there is no room for them; what was taken before stays.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), WireError> {
        self.bytes.add(bytes).map_err(|full| {
            self.budget
                .overloaded(format!("{full}: reward_server.memory_bytes"))
        })
    }
}

/// How much waits to be scored, and how long a batch's unit of it takes.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    units: AtomicUsize,
    /// Nanoseconds that a unit took lately.
    pace: AtomicU64,
}

impl Backlog {
    /// So many units came.
    pub(crate) fn came(&self, units: usize) {
        self.units.fetch_add(units, Relaxed);
    }

    /// So many units need not be waited for any more.
    pub(crate) fn gone(&self, units: usize) {
        self.units.fetch_sub(units, Relaxed);
    }

    /// So many units were scored in this time.
    pub(crate) fn scored(&self, units: usize, time: Duration) {
        let now = time.as_nanos() as u64 / units.max(1) as u64;
        let before = self.pace.load(Relaxed);
        // Half of the newest: a new model or a warmed-up one is noticed within some batches.
        let pace = if before == 0 { now } else { before / 2 + now / 2 };
        self.pace.store(pace.max(1), Relaxed);
    }

    /// Units that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.units.load(Relaxed)
    }

    /// How long what waits now will take.
    fn clear_in(&self) -> Duration {
        let units = self.waiting() as u64;
        Duration::from_nanos(units.saturating_mul(self.pace.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry_after(refusal: WireError) -> Duration {
        match refusal {
            WireError::Overloaded { retry_after, .. } => retry_after,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn whoever_finds_no_place_or_no_room_is_turned_away_and_room_comes_back() {
        let budget = Arc::new(Budget::new(2, 100));
        let (place, charge) = budget.enter().unwrap();
        let (_place, other) = budget.enter().unwrap();
        assert!(
            budget
                .enter()
                .unwrap_err()
                .to_string()
                .contains("reward_server.queue")
        );
        charge.add(60).unwrap();
        other.add(40).unwrap();
        let refusal = other.add(1).unwrap_err().to_string();
        assert!(
            refusal.contains("of the 100 that may be") && refusal.contains("reward_server.memory_bytes"),
            "{refusal}"
        );
        assert_eq!((budget.requests(), budget.bytes(), budget.shed()), (2, 100, 2));
        drop((place, charge));
        other.add(60).unwrap();
        assert!(budget.enter().is_ok());
        assert!(other.add(usize::MAX).is_err());
        drop(other);
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn the_time_to_come_again_is_that_of_what_waits_within_bounds() {
        let budget = Arc::new(Budget::new(0, 0));
        let asked = || retry_after(budget.enter().unwrap_err());
        assert_eq!(asked(), RETRY_AFTER[0]);
        budget.backlog().came(100);
        budget.backlog().scored(10, Duration::from_millis(100));
        assert_eq!(asked(), Duration::from_secs(1));
        budget.backlog().came(10_000);
        assert_eq!(asked(), RETRY_AFTER[1]);
        budget.backlog().gone(10_080);
        assert_eq!(asked(), Duration::from_millis(200));
    }
}
