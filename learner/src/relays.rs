//! Who fetches from whom: a tree of the actors that follow the announcements, with the learner at its root.
//!
//! An actor takes the first free place and keeps it until it leaves; whoever stood below a place that is free fetches from the
//! next one above. So nothing is arranged anew when an actor joins or leaves, and the learner sends each version as often as
//! it has branches. A relay is named by the address it was seen at and the port it offers, never by what it says it is called.
//! One that has several places, since the learner does not know yet that an earlier stream of its is cut, stands at the first of
//! them: above any other it could be told to fetch from itself, or from one that fetches from it.
//!
//! Who passes nothing on, an evaluator, an actor that only waits for a run's end or is told not to relay, has none of these places: below
//! it nobody could stand. Each of those fetches from another relay, as far as there are enough.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a run.
#[derive(Debug)]
pub(crate) struct RelayTree {
    /// How many fetch from the learner, and from each relay; 0: everybody fetches from the learner.
    branches: usize,
    places: Mutex<Places>,
}

/// Who holds which place.
#[derive(Debug, Default)]
struct Places {
    /// Where whoever holds a place passes on what it has.
    held: BTreeMap<usize, SocketAddr>,
    /// The places of each relay.
    of: BTreeMap<SocketAddr, BTreeSet<usize>>,
    /// The numbers of those who pass nothing on.
    leaves: BTreeSet<usize>,
}

/// A place, or a leaf's number, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tree: Arc<RelayTree>,
    number: usize,
    is_leaf: bool,
}

impl RelayTree {
    /// A tree with so many branches at each place.
    pub(crate) fn new(branches: usize) -> Self {
        Self {
            branches,
            places: Mutex::default(),
        }
    }

    /// Takes the first free place for an actor that passes on what it has at `relay`; a leaf's for one that does not.
    pub(crate) fn enter(self: &Arc<Self>, relay: Option<SocketAddr>) -> Place {
        let mut places = self.places();
        let number = match relay {
            Some(relay) => {
                let number = first_free(places.held.keys());
                places.held.insert(number, relay);
                places.of.entry(relay).or_default().insert(number);
                number
            }
            None => {
                let number = first_free(places.leaves.iter());
                places.leaves.insert(number);
                number
            }
        };
        Place {
            tree: self.clone(),
            number,
            is_leaf: relay.is_none(),
        }
    }

    /// Who to fetch from before the learner, for one that is not in the tree yet: the relay above the first free place, which it
    /// will probably take.
    pub(crate) fn for_newcomer(&self) -> Option<SocketAddr> {
        let places = self.places();
        self.above(&places, first_free(places.held.keys()))
    }

    /// The nearest relay above a place; `None`: the learner.
    fn above(&self, places: &Places, mut number: usize) -> Option<SocketAddr> {
        while self.branches > 0 && number >= self.branches {
            number = number / self.branches - 1;
            if let Some(relay) = places.held.get(&number) {
                return Some(*relay);
            }
        }
        None
    }

    /// The relay of a leaf; `None`: the learner.
    fn of_leaf(&self, places: &Places, number: usize) -> Option<SocketAddr> {
        let relays = places.held.len();
        if self.branches == 0 || relays == 0 {
            return None;
        }
        places.held.values().nth(number % relays).copied()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first number that is not among those, which are in order: the first that is not the one of its rank is behind a free one.
fn first_free<'a>(numbers: impl ExactSizeIterator<Item = &'a usize>) -> usize {
    let count = numbers.len();
    let behind = numbers.enumerate().find(|(rank, number)| rank != *number);
    behind.map_or(count, |(rank, _)| rank)
}

impl Places {
    /// The first place of whoever holds one.
    fn first_of_holder(&self, number: usize) -> usize {
        let relay = self.held.get(&number);
        let places = relay.and_then(|relay| self.of.get(relay));
        places.and_then(BTreeSet::first).copied().unwrap_or(number)
    }

    fn leave(&mut self, number: usize) {
        let Some(relay) = self.held.remove(&number) else {
            return;
        };
        if let Some(places) = self.of.get_mut(&relay) {
            places.remove(&number);
        }
        if self.of.get(&relay).is_some_and(BTreeSet::is_empty) {
            self.of.remove(&relay);
        }
    }
}

impl Place {
    /// Who to fetch from before the learner, as things are now; `None`: the learner itself.
    pub(crate) fn relay(&self) -> Option<SocketAddr> {
        let places = self.tree.places();
        match self.is_leaf {
            true => self.tree.of_leaf(&places, self.number),
            false => self.tree.above(&places, places.first_of_holder(self.number)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.tree.places();
        match self.is_leaf {
            true => _ = places.leaves.remove(&self.number),
            false => places.leave(self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relay(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn two_fetch_from_the_learner_and_two_from_each_of_those() {
        let tree = Arc::new(RelayTree::new(2));
        let places: Vec<Place> = (0..6).map(|port| tree.enter(relay(port))).collect();
        let found: Vec<_> = places.iter().map(Place::relay).collect();
        assert_eq!(found, [None, None, relay(0), relay(0), relay(1), relay(1)]);
        assert_eq!(tree.for_newcomer(), relay(2));
    }

    #[test]
    fn who_loses_a_relay_turns_to_the_next_above_and_others_keep_theirs() {
        let tree = Arc::new(RelayTree::new(2));
        let mut places: Vec<Option<Place>> = (0..8).map(|port| Some(tree.enter(relay(port)))).collect();
        let of = |place: &Option<Place>| place.as_ref().unwrap().relay();
        assert_eq!(of(&places[6]), relay(2));
        places[2] = None;
        assert_eq!((of(&places[6]), of(&places[4])), (relay(0), relay(1)));
        places[0] = None;
        assert_eq!(of(&places[6]), None);
        // The next to come fills the gap.
        let filled = tree.enter(relay(9));
        assert_eq!((filled.relay(), of(&places[3])), (None, relay(9)));
    }

    #[test]
    fn one_whose_earlier_stream_is_still_open_is_not_told_to_fetch_from_itself() {
        let tree = Arc::new(RelayTree::new(1));
        let earlier = tree.enter(relay(0));
        let below = tree.enter(relay(1));
        let again = tree.enter(relay(0));
        assert_eq!(
            [&earlier, &below, &again].map(Place::relay),
            [None, relay(0), None]
        );
        drop(earlier);
        assert_eq!([&below, &again].map(Place::relay), [None, relay(1)]);
        drop((below, again));
        assert!(tree.places().of.is_empty());
    }

    #[test]
    fn who_passes_nothing_on_takes_no_place_from_those_who_do_and_each_has_another_relay() {
        let tree = Arc::new(RelayTree::new(1));
        let waits = tree.enter(None);
        assert_eq!(waits.relay(), None);
        let first = tree.enter(relay(0));
        let evaluates = tree.enter(None);
        let second = tree.enter(relay(1));
        let found = [&first, &second, &waits, &evaluates].map(Place::relay);
        assert_eq!(found, [None, relay(0), relay(0), relay(1)]);
        drop(waits);
        let third = tree.enter(None);
        let fourth = tree.enter(None);
        assert_eq!([&third, &fourth].map(Place::relay), [relay(0), relay(0)]);
        drop((third, fourth, evaluates));
        assert!(tree.places().leaves.is_empty());
    }

    #[test]
    fn without_branches_everybody_fetches_from_the_learner() {
        let alone = Arc::new(RelayTree::new(0));
        let places = [relay(0), None, relay(1)].map(|relay| alone.enter(relay));
        assert!(places.iter().all(|place| place.relay().is_none()));
    }

    proptest! {
        #[test]
        fn the_learner_and_every_relay_serve_no_more_than_their_branches_while_everybody_relays(
            branches in 1usize..4,
            actors in 1usize..40,
        ) {
            let tree = Arc::new(RelayTree::new(branches));
            let places: Vec<Place> = (0..actors).map(|port| tree.enter(relay(port as u16))).collect();
            let mut served: BTreeMap<Option<SocketAddr>, usize> = BTreeMap::new();
            for place in &places {
                *served.entry(place.relay()).or_default() += 1;
            }
            prop_assert!(served.values().all(|&count| count <= branches));
        }

        #[test]
        fn nobody_fetches_from_itself_or_from_one_below_whoever_comes_and_goes_or_comes_twice(
            branches in 1usize..4,
            steps in prop::collection::vec((any::<bool>(), 0usize..12, any::<bool>()), 1..60),
        ) {
            let tree = Arc::new(RelayTree::new(branches));
            let mut places: Vec<Place> = vec![];
            for (enters, which, relays) in steps {
                if enters || places.is_empty() {
                    // Some are there already.
                    places.push(tree.enter(relay(which as u16).filter(|_| relays)));
                } else {
                    places.swap_remove(which % places.len());
                }
                let all = tree.places().held.clone();
                let mut first: BTreeMap<SocketAddr, usize> = BTreeMap::new();
                for (number, relay) in &all {
                    first.entry(*relay).or_insert(*number);
                }
                for place in places.iter().filter(|place| !place.is_leaf) {
                    let own = first[&all[&place.number]];
                    prop_assert!(place.relay().is_none_or(|above| first[&above] < own));
                }
            }
        }
    }
}
