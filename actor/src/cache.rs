//! A bounded cache by content digest.

use common::Digest;
use std::collections::BTreeMap;

/// Keeps the values used last, at most `bound` of them.
#[derive(Debug)]
pub(crate) struct DigestCache<V> {
    bound: usize,
    clock: u64,
    entries: BTreeMap<Digest, (u64, V)>,
    by_age: BTreeMap<u64, Digest>,
}

impl<V: Clone> DigestCache<V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            clock: 0,
            entries: BTreeMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// The value of a digest, which thereby becomes the one used last.
    pub(crate) fn get(&mut self, digest: &Digest) -> Option<V> {
        let (age, value) = self.entries.get_mut(digest)?;
        self.by_age.remove(age);
        self.clock += 1;
        *age = self.clock;
        self.by_age.insert(self.clock, *digest);
        Some(value.clone())
    }

    /// Keeps a value, dropping the one that was not used for longest when there are too many.
    pub(crate) fn insert(&mut self, digest: Digest, value: V) {
        self.clock += 1;
        if let Some((age, _)) = self.entries.insert(digest, (self.clock, value)) {
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.clock, digest);
        while self.entries.len() > self.bound {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn the_value_not_used_for_longest_makes_room() {
        let mut cache = DigestCache::new(2);
        cache.insert(digest(1), 'a');
        cache.insert(digest(2), 'b');
        assert_eq!(cache.get(&digest(1)), Some('a'));
        cache.insert(digest(3), 'c');
        let kept = [1, 2, 3].map(|byte| cache.get(&digest(byte)));
        assert_eq!(kept, [Some('a'), None, Some('c')]);
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let mut cache = DigestCache::new(3);
        for round in 0..200u8 {
            cache.insert(digest(round % 7), round);
            let _ = cache.get(&digest(round % 5));
            assert!(cache.entries.len() <= 3 && cache.entries.len() == cache.by_age.len());
        }
    }
}
