//! Who takes part in a run and how far each has come. Observations only: nothing here decides anything but when a finished
//! run may close its doors.

mod following;
mod leaving;
mod sighting;

pub(crate) use following::Following;
pub(crate) use sighting::Sighting;

use common::{ActorId, CanaryReport, CanaryVerdict, PolicyVersion};
use dashmap::DashMap;
use following::Follower;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the learner knows of one actor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActorSummary {
    /// Its name.
    pub actor_id: ActorId,
    /// The version it samples from; `None` before its first adoption.
    pub version: Option<PolicyVersion>,
    /// Versions it has adopted.
    pub adoptions: u64,
    /// Adapter payload it has received, in bytes.
    pub adapter_bytes_received: u64,
    /// Base-model payload it has received, in bytes.
    pub base_bytes_received: u64,
    /// Of both, what came from other actors, in bytes.
    pub relay_bytes_received: u64,
    /// Outcomes it has submitted that were recorded or re-issued.
    pub outcomes: u64,
    /// What the canary said of the version it reported last; `None` when it reported none.
    #[serde(skip)]
    pub canary: Option<CanaryReport>,
    /// Why it gets no leases; `None` when it does.
    pub quarantine: Option<String>,
    /// What keeps it from leasing, in its words; `None`: nothing does.
    pub waiting_for: Option<String>,
}

/// What an actor reports once it has a version's weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adoption {
    /// The version.
    pub(crate) version: PolicyVersion,
    /// What the canary said of it; `None` from an actor that knows no canary.
    pub(crate) canary: Option<CanaryReport>,
    /// Adapter payload received since it started, in bytes.
    pub(crate) adapter_bytes: u64,
    /// Base-model payload, likewise.
    pub(crate) base_bytes: u64,
    /// Of both, what came from other actors.
    pub(crate) relay_bytes: u64,
}

/// Actors remembered at the same time. Beyond that the one not heard from for longest is forgotten: names cost memory, and
/// whoever may call may call under any.
pub(crate) const MOST: usize = 4096;

#[derive(Debug, Clone)]
struct Entry {
    summary: ActorSummary,
    last_seen: Instant,
    /// Seconds of its compute threads and of reward models' that it has told of.
    computed: [f64; 2],
    /// Whether it has called while it followed the announcements.
    has_followed: bool,
    /// Whether the last thing it said was that it leaves.
    has_left: bool,
}

/// The most seconds that an actor is believed to have computed: 30 years.
const MOST_SECONDS: f64 = 1e9;

/// The actors of a run.
#[derive(Debug, Default)]
pub(crate) struct ActorRegistry {
    actors: DashMap<ActorId, Entry>,
    /// Versions adopted by all, forgotten ones included.
    adoptions: AtomicU64,
    /// Who holds streams of announcements open, observers included.
    following: DashMap<ActorId, Follower>,
}

impl ActorRegistry {
    /// An actor called.
    pub(crate) fn seen(&self, actor: &ActorId, now: Instant) {
        self.update(actor, now, |_| {});
    }

    /// An actor samples from a version, or has found that its weights do not take effect: then it is in quarantine until it
    /// reports one that does.
    pub(crate) fn adopted(&self, actor: &ActorId, now: Instant, adoption: &Adoption) {
        let version = adoption.version;
        self.update(actor, now, |entry| {
            let summary = &mut entry.summary;
            summary.canary = adoption.canary;
            summary.adapter_bytes_received = adoption.adapter_bytes;
            summary.base_bytes_received = adoption.base_bytes;
            summary.relay_bytes_received = adoption.relay_bytes;
            summary.quarantine = adoption.canary.and_then(|canary| mismatch(version, &canary));
            match &summary.quarantine {
                Some(reason) => tracing::warn!(%actor, reason, "actor in quarantine"),
                None => {
                    let more = u64::from(summary.version != Some(version));
                    self.adoptions.fetch_add(more, Ordering::Relaxed);
                    summary.adoptions += more;
                    summary.version = Some(version);
                }
            }
        });
    }

    /// Why an actor gets no leases and no hearing; `None` when it does.
    pub(crate) fn quarantine(&self, actor: &ActorId) -> Option<String> {
        self.actors.get(actor)?.summary.quarantine.clone()
    }

    /// An actor says what keeps it from leasing, or that nothing does.
    pub(crate) fn waits(&self, actor: &ActorId, now: Instant, waiting_for: Option<String>) {
        self.update(actor, now, |entry| {
            let before = std::mem::replace(&mut entry.summary.waiting_for, waiting_for);
            match (&before, &entry.summary.waiting_for) {
                (before, Some(what)) if before.as_ref() != Some(what) => {
                    tracing::warn!(%actor, waiting_for = what, "actor waits");
                }
                (Some(_), None) => tracing::info!(%actor, "actor waits no longer"),
                _ => {}
            }
        });
    }

    /// An actor's outcomes were taken in.
    pub(crate) fn submitted(&self, actor: &ActorId, now: Instant, outcomes: u64) {
        self.update(actor, now, |entry| entry.summary.outcomes += outcomes);
    }

    /// An actor tells how many seconds its compute threads, and reward models for it, have worked since it started; answers how many
    /// more those are than it had told of. What is no such number counts as none.
    pub(crate) fn computed(&self, actor: &ActorId, now: Instant, told: [f64; 2]) -> [f64; 2] {
        let mut more = [0.0; 2];
        self.update(actor, now, |entry| {
            for ((more, before), told) in more.iter_mut().zip(&mut entry.computed).zip(told) {
                if (*before..=MOST_SECONDS).contains(&told) {
                    *more = told - *before;
                    *before = told;
                }
            }
        });
        more
    }

    /// How many were heard from within `silence`, have not left and are not in quarantine.
    pub(crate) fn present(&self, now: Instant, silence: Duration) -> usize {
        let is_present = |entry: &Entry| {
            let silent_for = now.saturating_duration_since(entry.last_seen);
            entry.summary.quarantine.is_none() && !entry.has_left && silent_for <= silence
        };
        self.actors
            .iter()
            .filter(|entry| is_present(entry.value()))
            .count()
    }

    /// Versions that actors have adopted, those of actors that are no longer remembered included.
    pub(crate) fn adoptions(&self) -> u64 {
        self.adoptions.load(Ordering::Relaxed)
    }

    /// How many are remembered.
    pub(crate) fn known(&self) -> usize {
        self.actors.len()
    }

    /// Every actor, by name.
    pub(crate) fn summaries(&self) -> Vec<ActorSummary> {
        let mut all: Vec<_> = self.actors.iter().map(|entry| entry.summary.clone()).collect();
        all.sort_unstable_by(|a, b| a.actor_id.cmp(&b.actor_id));
        all
    }

    fn make_room(&self) {
        while self.actors.len() >= MOST {
            let oldest = self.actors.iter().min_by_key(|entry| entry.last_seen);
            let Some(oldest) = oldest.map(|entry| entry.key().clone()) else {
                return;
            };
            self.actors.remove(&oldest);
        }
    }

    fn update(&self, actor: &ActorId, now: Instant, change: impl FnOnce(&mut Entry)) {
        if !self.actors.contains_key(actor) {
            self.make_room();
        }
        let mut entry = self.actors.entry(actor.clone()).or_insert_with(|| {
            tracing::info!(actor = %actor, "actor joined");
            let summary = ActorSummary {
                actor_id: actor.clone(),
                version: None,
                adoptions: 0,
                adapter_bytes_received: 0,
                base_bytes_received: 0,
                relay_bytes_received: 0,
                outcomes: 0,
                waiting_for: None,
                canary: None,
                quarantine: None,
            };
            Entry {
                summary,
                last_seen: now,
                computed: [0.0; 2],
                has_followed: false,
                has_left: false,
            }
        });
        entry.last_seen = now;
        entry.has_left = false;
        entry.has_followed |= self.following.contains_key(actor);
        change(&mut entry);
    }
}

/// What there is to say of a version that does not take effect.
fn mismatch(version: PolicyVersion, canary: &CanaryReport) -> Option<String> {
    (canary.verdict == CanaryVerdict::Mismatch).then(|| {
        format!(
            "its weights of {version} do not do what the learner's do: log-probabilities {:.2e} nats apart where {:.2e} are \
             rounding",
            canary.deviation, canary.tolerance
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;

    fn adoption(number: u64, adapter_bytes: u64, base_bytes: u64) -> Adoption {
        Adoption {
            version: version(number),
            canary: None,
            adapter_bytes,
            base_bytes,
            relay_bytes: 0,
        }
    }

    #[test]
    fn i5_a_mismatch_is_quarantine_until_a_version_takes_effect() {
        let (registry, actor, now) = (
            ActorRegistry::default(),
            ActorId::new("a").unwrap(),
            Instant::now(),
        );
        let report = |number, verdict| {
            let canary = CanaryReport {
                verdict,
                deviation: 0.5,
                tolerance: 1e-4,
                separation: 0.5,
            };
            let canary = Some(canary);
            registry.adopted(
                &actor,
                now,
                &Adoption {
                    canary,
                    ..adoption(number, 1, 1)
                },
            );
            registry.summaries().remove(0)
        };
        assert_eq!(report(1, CanaryVerdict::Inconclusive).quarantine, None);
        let found = report(2, CanaryVerdict::Mismatch);
        let reason = found.quarantine.unwrap();
        assert!(reason.contains("v1.2") && reason.contains("5.00e-1"), "{reason}");
        // It does not sample from what it could not bind.
        assert_eq!((found.version, found.adoptions), (Some(version(1)), 1));
        assert_eq!(registry.quarantine(&actor), Some(reason));
        assert_eq!(report(3, CanaryVerdict::Ok).quarantine, None);
        assert_eq!(registry.quarantine(&actor), None);
    }

    #[test]
    fn compute_seconds_that_are_told_again_or_made_up_count_once_or_not_at_all() {
        let (registry, actor, now) = (
            ActorRegistry::default(),
            ActorId::new("a").unwrap(),
            Instant::now(),
        );
        let told = |own, scoring| registry.computed(&actor, now, [own, scoring]);
        assert_eq!(told(2.0, 1.0), [2.0, 1.0]);
        assert_eq!(told(2.0, 1.5), [0.0, 0.5]);
        for nonsense in [f64::NAN, f64::INFINITY, -1.0, 1.0, 1e300] {
            assert_eq!(told(nonsense, nonsense), [0.0, 0.0]);
        }
    }

    #[test]
    fn a_repeated_report_is_one_adoption() {
        let (registry, actor, now) = (
            ActorRegistry::default(),
            ActorId::new("a").unwrap(),
            Instant::now(),
        );
        for number in [0, 1, 1] {
            registry.adopted(&actor, now, &adoption(number, 10 * number, 500));
        }
        let summary = &registry.summaries()[0];
        assert_eq!((summary.adoptions, summary.adapter_bytes_received), (2, 10));
    }

    #[test]
    fn what_an_actor_waits_for_is_told_until_it_goes_on() {
        let (registry, actor, now) = (
            ActorRegistry::default(),
            ActorId::new("a").unwrap(),
            Instant::now(),
        );
        for waits in [Some("the reward-server".to_owned()), None] {
            registry.waits(&actor, now, waits.clone());
            assert_eq!(registry.summaries()[0].waiting_for, waits);
        }
    }

    #[test]
    fn made_up_names_cost_no_more_memory_than_the_bound_and_the_one_silent_for_longest_goes_first() {
        let (registry, start) = (ActorRegistry::default(), Instant::now());
        let name = |number: usize| ActorId::new(format!("a{number}")).unwrap();
        registry.adopted(&name(0), start, &adoption(1, 1, 1));
        for number in 0..MOST + 3 {
            registry.seen(&name(number), start + Duration::from_millis(number as u64));
        }
        assert_eq!(registry.summaries().len(), MOST);
        assert_eq!(
            registry.adoptions(),
            1,
            "a forgotten actor's adoptions stay counted"
        );
        let known = |number| registry.actors.contains_key(&name(number));
        assert!(!known(0) && !known(2) && known(3) && known(MOST + 2));
    }
}
