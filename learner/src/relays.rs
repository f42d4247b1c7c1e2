//! Who fetches from whom: a tree of the actors that follow the announcements, with the learner at its root.
//!
//! An actor takes the first free place and keeps it until it leaves; whoever stood below a place that is free fetches from the
//! next one above. So nothing is arranged anew when an actor joins or leaves, and the learner sends each version as often as
//! it has branches. A relay is named by the address it was seen at and the port it offers, never by what it says it is called.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a run.
#[derive(Debug)]
pub(crate) struct RelayTree {
    /// How many fetch from the learner, and from each relay; 0: everybody fetches from the learner.
    branches: usize,
    /// Where whoever holds a place passes on what it has; `None` for those who do not.
    places: Mutex<BTreeMap<usize, Option<SocketAddr>>>,
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
        let number = first_free(&places);
        places.insert(number, relay);
        Place {
            tree: self.clone(),
            number,
        }
    }

    /// Who to fetch from before the learner, for one that is not in the tree yet: the relay above the first free place, which it
    /// will probably take.
    pub(crate) fn for_newcomer(&self) -> Option<SocketAddr> {
        let places = self.places();
        self.above(&places, first_free(&places))
    }

    /// The nearest relay above a place; `None`: the learner.
    fn above(&self, places: &BTreeMap<usize, Option<SocketAddr>>, mut number: usize) -> Option<SocketAddr> {
        while self.branches > 0 && number >= self.branches {
            number = number / self.branches - 1;
            if let Some(Some(relay)) = places.get(&number) {
                return Some(*relay);
            }
        }
        None
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<usize, Option<SocketAddr>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first_free(places: &BTreeMap<usize, Option<SocketAddr>>) -> usize {
    // Places are in order: the first that is not the one of its rank is behind a free one.
    let behind = places.keys().enumerate().find(|(rank, number)| rank != *number);
    behind.map_or(places.len(), |(rank, _)| rank)
}

impl Place {
    /// Who to fetch from before the learner, as things are now; `None`: the learner itself.
    pub(crate) fn relay(&self) -> Option<SocketAddr> {
        self.tree.above(&self.tree.places(), self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tree.places().remove(&self.number);
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
        fn nobody_fetches_from_itself_or_from_one_below_whoever_comes_and_goes(
            branches in 1usize..4,
            steps in prop::collection::vec((any::<bool>(), 0usize..12), 1..60),
        ) {
            let tree = Arc::new(RelayTree::new(branches));
            let mut places: Vec<Place> = vec![];
            let mut port = 0;
            for (enters, which) in steps {
                if enters || places.is_empty() {
                    places.push(tree.enter(relay(port)));
                    port += 1;
                } else {
                    places.swap_remove(which % places.len());
                }
                let numbers: BTreeMap<SocketAddr, usize> = tree
                    .places()
                    .iter()
                    .map(|(number, relay)| (relay.unwrap(), *number))
                    .collect();
                for place in &places {
                    prop_assert!(place.relay().is_none_or(|above| numbers[&above] < place.number));
                }
            }
        }
    }
}
