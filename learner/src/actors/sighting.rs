//! Actors as they were seen last, for whoever looks on: who takes part, who has gone, and who has left as it should.

use super::{ActorRegistry, ActorSummary, Entry};
use common::Presence;
use std::time::{Duration, Instant};

/// What is known of an actor at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    /// What it has said and done.
    pub(crate) summary: ActorSummary,
    /// Since when it has not called.
    pub(crate) silent: Duration,
    /// Whether it takes part.
    pub(crate) presence: Presence,
}

impl ActorRegistry {
    /// Every actor, by name; one that has not called for longer than `patience` is silent.
    pub(crate) fn sightings(&self, now: Instant, patience: Duration) -> Vec<Sighting> {
        let sighting = |entry: &Entry| {
            let silent = now.saturating_duration_since(entry.last_seen);
            Sighting {
                summary: entry.summary.clone(),
                silent,
                presence: self.presence(entry, silent > patience),
            }
        };
        let mut all: Vec<_> = self.actors.iter().map(|entry| sighting(&entry)).collect();
        all.sort_unstable_by(|a, b| a.summary.actor_id.cmp(&b.summary.actor_id));
        all
    }

    fn presence(&self, entry: &Entry, is_silent: bool) -> Presence {
        // One that never followed the announcements has no connection that could be seen to close.
        let follows = || self.following.contains_key(&entry.summary.actor_id);
        match entry.has_left {
            true => Presence::Left,
            false if entry.has_followed && !follows() => Presence::Gone,
            false if is_silent => Presence::Silent,
            false => Presence::Here,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ActorId;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn one_that_has_left_is_told_from_one_that_is_gone_and_from_one_that_is_silent() {
        let (registry, now) = (ActorRegistry::default(), Instant::now());
        let names = ["gone", "here", "left", "silent"].map(|name| ActorId::new(name).unwrap());
        let [gone, here, left, _silent] = &names;
        for actor in [gone, here, left] {
            registry.following.entry(actor.clone()).or_default();
        }
        names.iter().for_each(|actor| registry.seen(actor, now));
        let presences = |later: Duration| {
            let all = registry.sightings(now + later, PATIENCE);
            all.into_iter().map(|seen| seen.presence).collect::<Vec<_>>()
        };
        assert_eq!(presences(PATIENCE), [Presence::Here; 4]);
        registry.left(left);
        for actor in [gone, left] {
            registry.following.remove(actor);
        }
        let later = PATIENCE + Duration::from_millis(1);
        registry.seen(here, now + later);
        assert_eq!(
            presences(later),
            [Presence::Gone, Presence::Here, Presence::Left, Presence::Silent]
        );
        registry.following.entry(left.clone()).or_default();
        registry.seen(left, now + later);
        assert_eq!(presences(later)[2], Presence::Here, "it has come back");
    }
}
