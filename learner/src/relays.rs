//! Who fetches from whom: a tree of the actors that follow the announcements, with the learner at its root.
//!
//! An actor takes the first free place and keeps it until it leaves; whoever stood below a place that is free fetches from the
//! next one above. So nothing is arranged anew when an actor joins or leaves, and the learner sends each version as often as
//! it has branches. A relay is named by the address it was seen at and the port it offers, never by what it says it is called.
//! One that has several places, since the learner does not know yet that an earlier stream of its is cut, stands at the first of
//! them: above any other it could be told to fetch from itself, or from one that fetches from it.

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
    /// Where whoever holds a place passes on what it has; `None` for those who do not.
    held: BTreeMap<usize, Option<SocketAddr>>,
    /// The places of each relay.
    of: BTreeMap<SocketAddr, BTreeSet<usize>>,
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tree: Arc<RelayTree>,
    number: usize,
}

impl RelayTree {
    /// A tree with so many branches at each place.
    pub(crate) fn new(branches: usize) -> Self {
        Self {
            branches,
            places: Mutex::default(),
        }
    }

    /// Takes the first free place for an actor that passes on what it has at `relay`, if it does.
    pub(crate) fn enter(self: &Arc<Self>, relay: Option<SocketAddr>) -> Place {
        let mut places = self.places();
        let number = places.first_free();
        places.held.insert(number, relay);
        if let Some(relay) = relay {
            places.of.entry(relay).or_default().insert(number);
        }
        Place {
            tree: self.clone(),
            number,
        }
    }

    /// Who to fetch from before the learner, for one that is not in the tree yet: the relay above the first free place, which it
    /// will probably take.
    pub(crate) fn for_newcomer(&self) -> Option<SocketAddr> {
        let places = self.places();
        self.above(&places, places.first_free())
    }

    /// The nearest relay above a place; `None`: the learner.
    fn above(&self, places: &Places, mut number: usize) -> Option<SocketAddr> {
        while self.branches > 0 && number >= self.branches {
            number = number / self.branches - 1;
            if let Some(Some(relay)) = places.held.get(&number) {
                return Some(*relay);
            }
        }
        None
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn first_free(&self) -> usize {
        // Places are in order: the first that is not the one of its rank is behind a free one.
        let behind = self
            .held
            .keys()
            .enumerate()
            .find(|(rank, number)| rank != *number);
        behind.map_or(self.held.len(), |(rank, _)| rank)
    }

    /// The first place of whoever holds one.
    fn first_of_holder(&self, number: usize) -> usize {
        let relay = self.held.get(&number).copied().flatten();
        let places = relay.and_then(|relay| self.of.get(&relay));
        places.and_then(BTreeSet::first).copied().unwrap_or(number)
    }

    fn leave(&mut self, number: usize) {
        let Some(relay) = self.held.remove(&number).flatten() else {
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
        self.tree.above(&places, places.first_of_holder(self.number))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tree.places().leave(self.number);
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
    fn one_that_passes_nothing_on_is_passed_over() {
        let tree = Arc::new(RelayTree::new(1));
        let places: Vec<Place> = [relay(0), None, relay(2), relay(3)]
            .into_iter()
            .map(|r| tree.enter(r))
            .collect();
        let found: Vec<_> = places.iter().map(Place::relay).collect();
        assert_eq!(found, [None, relay(0), relay(0), relay(2)]);
        let alone = Arc::new(RelayTree::new(0));
        let places: Vec<Place> = (0..3).map(|port| alone.enter(relay(port))).collect();
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
            steps in prop::collection::vec((any::<bool>(), 0usize..12), 1..60),
        ) {
            let tree = Arc::new(RelayTree::new(branches));
            let mut places: Vec<Place> = vec![];
            for (enters, which) in steps {
                if enters || places.is_empty() {
                    // Some are there already.
                    places.push(tree.enter(relay(which as u16)));
                } else {
                    places.swap_remove(which % places.len());
                }
                let all = tree.places().held.clone();
                let mut first: BTreeMap<SocketAddr, usize> = BTreeMap::new();
                for (number, relay) in &all {
                    first.entry(relay.unwrap()).or_insert(*number);
                }
                for place in &places {
                    let own = first[&all[&place.number].unwrap()];
                    prop_assert!(place.relay().is_none_or(|above| first[&above] < own));
                }
            }
        }
    }
}
