//! How many tasks may be leased now: the one rule that bounds staleness at its source. Pure.
//!
//! A pair sampled now is trained at the latest when everything ahead of it has been: the pairs that wait and the leases
//! that are open. If that would be more than `max_staleness` versions later, no lease is given. Only a straggler that later
//! leases overtake can still grow too stale; the pair buffer refuses it. At most as many tasks are in flight as the rest of
//! the run can still use.

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    /// Pairs one version is trained from, at least 1.
    pub(crate) pairs_per_version: usize,
    /// Versions the training policy may be ahead of the one that sampled a pair.
    pub(crate) max_staleness: u64,
    /// Versions the run publishes.
    pub(crate) versions: u64,
    /// Whether version n is trained from exactly the tasks of its block.
    pub(crate) deterministic: bool,
}

/// Where a run stands when an actor asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// The newest published version.
    pub(crate) version: u64,
    /// Whether the next version is being trained, so that no pair arriving now can be in it.
    pub(crate) training: bool,
    /// Pairs that wait to be trained.
    pub(crate) fresh: usize,
    /// Leases that are open.
    pub(crate) open: usize,
    /// The version the asking actor would sample from.
    pub(crate) behaviour: u64,
}

/// What an actor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// It may have up to this many tasks, at least 1.
    Tasks(usize),
    /// It may have up to `count` tasks numbered below `end`.
    Block {
        /// How many.
        count: usize,
        /// Where the version's block of tasks ends.
        end: u64,
    },
    /// Nothing now.
    Wait(Pause),
}

/// Why an actor waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// More pairs would grow too stale.
    Staleness,
    /// All that can be used is in somebody's hands.
    AllLeased,
    /// With a newer policy the actor would get tasks.
    PolicyBehind,
}

impl Admission {
    /// How many of `wanted` tasks may be leased.
    pub(crate) fn allow(&self, now: &Situation, wanted: usize) -> Allowance {
        if self.deterministic {
            return self.allow_block(now, wanted);
        }
        let usable = self.usable(now);
        let in_time = self.in_time(now);
        match wanted.min(usable).min(in_time) {
            0 if usable == 0 => Allowance::Wait(Pause::AllLeased),
            0 if self.in_time(&Situation {
                behaviour: now.version,
                ..*now
            }) > 0 =>
            {
                Allowance::Wait(Pause::PolicyBehind)
            }
            0 => Allowance::Wait(Pause::Staleness),
            count => Allowance::Tasks(count),
        }
    }

    /// Whether any task will be leased after those that are.
    pub(crate) fn leases_more(&self, now: &Situation) -> bool {
        self.usable(now) > 0
    }

    /// Strictly on-policy: the block of the next version, sampled by the newest.
    fn allow_block(&self, now: &Situation, wanted: usize) -> Allowance {
        if now.training {
            return Allowance::Wait(Pause::Staleness);
        }
        if now.behaviour < now.version {
            return Allowance::Wait(Pause::PolicyBehind);
        }
        Allowance::Block {
            count: wanted,
            end: (now.version + 1) * self.pairs_per_version as u64,
        }
    }

    /// The version the next batch of waiting pairs is trained at.
    fn next_training(now: &Situation) -> u64 {
        now.version + u64::from(now.training)
    }

    /// Leases after which a pair of the last one is still fresh enough, if every open lease gives a pair before it.
    fn in_time(&self, now: &Situation) -> usize {
        let latest = now.behaviour.saturating_add(self.max_staleness);
        let batches = (latest + 1).saturating_sub(Self::next_training(now));
        self.capacity(batches).saturating_sub(now.fresh + now.open)
    }

    /// Leases the rest of the run can still use, if every open lease gives a pair.
    fn usable(&self, now: &Situation) -> usize {
        let batches = self.versions.saturating_sub(Self::next_training(now));
        self.capacity(batches).saturating_sub(now.fresh + now.open)
    }

    fn capacity(&self, batches: u64) -> usize {
        usize::try_from(batches)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.pairs_per_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn admission(max_staleness: u64) -> Admission {
        Admission {
            pairs_per_version: 4,
            max_staleness,
            versions: 6,
            deterministic: false,
        }
    }

    fn at(version: u64, training: bool, fresh: usize, open: usize, behaviour: u64) -> Situation {
        Situation {
            version,
            training,
            fresh,
            open,
            behaviour,
        }
    }

    #[test]
    fn on_policy_sampling_stops_while_training_and_at_one_batch() {
        let rule = admission(0);
        assert_eq!(rule.allow(&at(2, false, 1, 1, 2), 16), Allowance::Tasks(2));
        assert_eq!(
            rule.allow(&at(2, false, 2, 2, 2), 16),
            Allowance::Wait(Pause::Staleness)
        );
        assert_eq!(
            rule.allow(&at(2, true, 0, 0, 2), 16),
            Allowance::Wait(Pause::Staleness)
        );
    }

    #[test]
    fn one_version_of_staleness_lets_the_next_batch_be_sampled_during_training() {
        let rule = admission(1);
        assert_eq!(rule.allow(&at(2, true, 0, 0, 2), 16), Allowance::Tasks(4));
        assert_eq!(
            rule.allow(&at(2, true, 1, 3, 2), 16),
            Allowance::Wait(Pause::Staleness)
        );
        assert_eq!(
            rule.allow(&at(3, true, 0, 0, 2), 16),
            Allowance::Wait(Pause::PolicyBehind)
        );
    }

    #[test]
    fn the_end_of_a_run_leases_no_more_than_it_can_use() {
        let rule = admission(5);
        assert_eq!(rule.allow(&at(5, false, 1, 1, 5), 16), Allowance::Tasks(2));
        assert_eq!(
            rule.allow(&at(5, false, 1, 3, 5), 16),
            Allowance::Wait(Pause::AllLeased)
        );
    }

    #[test]
    fn a_deterministic_block_is_sampled_by_its_own_version_only() {
        let rule = Admission {
            deterministic: true,
            ..admission(3)
        };
        assert_eq!(
            rule.allow(&at(1, false, 0, 0, 1), 3),
            Allowance::Block { count: 3, end: 8 }
        );
        assert_eq!(
            rule.allow(&at(1, false, 0, 0, 0), 3),
            Allowance::Wait(Pause::PolicyBehind)
        );
        assert_eq!(
            rule.allow(&at(1, true, 0, 0, 1), 3),
            Allowance::Wait(Pause::Staleness)
        );
    }

    /// What may happen next in a run.
    #[derive(Debug, Clone)]
    enum Event {
        Lease { behind: u64, wanted: usize },
        Finish { pair: bool },
        Train,
        Publish,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0u64..3, 1usize..6).prop_map(|(behind, wanted)| Event::Lease { behind, wanted }),
            9 => any::<bool>().prop_map(|pair| Event::Finish { pair }),
            1 => Just(Event::Train),
            1 => Just(Event::Publish),
        ]
    }

    proptest! {
        #[test]
        fn no_pair_is_too_stale_when_none_is_overtaken(
            max_staleness in 0u64..3, events in prop::collection::vec(event(), 0..300)
        ) {
            let rule = admission(max_staleness);
            let (mut version, mut training) = (0u64, false);
            let (mut open, mut fresh) = (VecDeque::<u64>::new(), VecDeque::<u64>::new());
            for event in events {
                match event {
                    Event::Lease { behind, wanted } => {
                        let behaviour = version.saturating_sub(behind);
                        let now = Situation { version, training, fresh: fresh.len(), open: open.len(), behaviour };
                        if let Allowance::Tasks(count) = rule.allow(&now, wanted) {
                            prop_assert!(count >= 1 && count <= wanted);
                            open.extend(std::iter::repeat_n(behaviour, count));
                        }
                    }
                    Event::Finish { pair } => fresh.extend(open.pop_front().filter(|_| pair)),
                    Event::Train if !training && fresh.len() >= rule.pairs_per_version => {
                        training = true;
                        for sampled_by in fresh.drain(..rule.pairs_per_version) {
                            prop_assert!(version - sampled_by <= max_staleness);
                        }
                    }
                    Event::Publish if training => (version, training) = (version + 1, false),
                    _ => {}
                }
            }
            prop_assert!(version <= rule.versions);
        }

        #[test]
        fn an_idle_run_that_is_not_complete_always_leases_to_an_up_to_date_actor(
            max_staleness in 0u64..3, version in 0u64..6, fresh in 0usize..4
        ) {
            let now = at(version, false, fresh, 0, version);
            prop_assert!(matches!(admission(max_staleness).allow(&now, 8), Allowance::Tasks(_)));
        }
    }
}
