//! Whom a complete run still waits for: actors that lack its last version, unless they have left or are silent.

use super::{ActorRegistry, Entry};
use common::{ActorId, PolicyVersion};
use std::time::{Duration, Instant};

impl ActorRegistry {
    /// An actor says that it takes no further part. One that is not known need not be remembered for it.
    pub(crate) fn left(&self, actor: &ActorId) {
        if let Some(mut entry) = self.actors.get_mut(actor) {
            tracing::info!(%actor, "actor left");
            entry.has_left = true;
        }
    }

    /// Whether every actor that has not left and was heard from within `silence` has adopted `last`; its manifest says that the run is
    /// over.
    pub(crate) fn all_done(&self, last: PolicyVersion, now: Instant, silence: Duration) -> bool {
        let is_silent = |entry: &Entry| now.saturating_duration_since(entry.last_seen) > silence;
        self.actors
            .iter()
            .all(|entry| entry.has_left || is_silent(&entry) || entry.summary.version == Some(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::Adoption;
    use crate::test_outcomes::version;

    const SILENCE: Duration = Duration::from_secs(2);

    fn actor(name: &str) -> ActorId {
        ActorId::new(name).unwrap()
    }

    #[test]
    fn a_run_waits_for_actors_that_lack_the_last_version_but_not_for_silent_ones() {
        let (registry, now) = (ActorRegistry::default(), Instant::now());
        assert!(registry.all_done(version(8), now, SILENCE));
        registry.seen(&actor("b"), now);
        let later = now + Duration::from_secs(1);
        let adoption = Adoption {
            version: version(8),
            canary: None,
            adapter_bytes: 1,
            base_bytes: 1,
            relay_bytes: 0,
        };
        registry.adopted(&actor("a"), later, &adoption);
        assert!(!registry.all_done(version(8), later, SILENCE));
        assert!(registry.all_done(version(8), later + SILENCE, SILENCE));
    }

    #[test]
    fn a_run_waits_for_nobody_who_has_left_unless_it_comes_back() {
        let (registry, now) = (ActorRegistry::default(), Instant::now());
        registry.left(&actor("stranger"));
        assert_eq!(registry.known(), 0);
        registry.seen(&actor("a"), now);
        registry.left(&actor("a"));
        assert!(registry.all_done(version(8), now, SILENCE));
        assert_eq!(registry.present(now, SILENCE), 0);
        registry.seen(&actor("a"), now);
        assert!(!registry.all_done(version(8), now, SILENCE));
        assert_eq!(registry.present(now, SILENCE), 1);
    }
}
