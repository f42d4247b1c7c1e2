//! What was used last, at most so many bytes of it.
//!
//! How many bytes a value takes is its owner's to say, and so is what is done about one that was not kept.

use lru::LruCache;
use std::hash::Hash;

/// Values by key. The ones that were not used for longest make room for new ones.
#[derive(Debug)]
pub struct LastUsed<K: Hash + Eq, V> {
    /// Each with its bytes.
    kept: LruCache<K, (V, usize)>,
    bytes: usize,
    most_bytes: usize,
}

impl<K: Hash + Eq, V> LastUsed<K, V> {
    /// Nothing yet, and never more than `most_bytes`. With 0 only values of no bytes are kept.
    pub fn within(most_bytes: usize) -> Self {
        Self {
            kept: LruCache::unbounded(),
            bytes: 0,
            most_bytes,
        }
    }

    /// The value of a key, which thereby becomes the one used last.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.kept.get(key).map(|(value, _)| value)
    }

    /// Keeps a value of so many `bytes` in the place of the key's earlier one. One that is larger than the bound is not kept, and
    /// takes nothing else's place.
    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        if let Some((_, before)) = self.kept.pop(&key) {
            self.bytes -= before;
        }
        if bytes > self.most_bytes {
            return;
        }
        while self.bytes > self.most_bytes - bytes {
            let Some((_, (_, oldest))) = self.kept.pop_lru() else {
                break;
            };
            self.bytes -= oldest;
        }
        self.bytes += bytes;
        self.kept.put(key, (value, bytes));
    }

    /// Bytes of all values that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many values are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_not_used_for_longest_makes_room() {
        let mut kept = LastUsed::within(10);
        kept.put(1, 'a', 5);
        kept.put(2, 'b', 5);
        assert_eq!(kept.get(&1), Some(&'a'));
        kept.put(3, 'c', 4);
        assert_eq!(
            [1, 2, 3].map(|key| kept.get(&key).copied()),
            [Some('a'), None, Some('c')]
        );
        assert_eq!((kept.len(), kept.bytes()), (2, 9));
    }

    #[test]
    fn it_never_holds_more_bytes_than_it_may() {
        let mut kept = LastUsed::within(30);
        for round in 0..200_usize {
            kept.put(round % 7, round, round % 13);
            let _ = kept.get(&(round % 5));
            let held: usize = kept.kept.iter().map(|(_, (_, bytes))| bytes).sum();
            assert!(kept.bytes() <= 30 && kept.bytes() == held && kept.get(&(round % 7)) == Some(&round));
        }
        assert!(!kept.is_empty());
    }

    #[test]
    fn a_value_larger_than_the_bound_takes_no_place_but_that_of_its_own_key() {
        let mut kept = LastUsed::within(10);
        kept.put(1, 'a', 5);
        kept.put(2, 'b', 11);
        assert_eq!(kept.get(&1), Some(&'a'));
        assert_eq!(kept.get(&2), None);
        kept.put(1, 'c', 11);
        assert!(kept.is_empty() && kept.bytes() == 0);
    }
}
