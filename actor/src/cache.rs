//! A cache by content digest, bounded in bytes.

use common::Digest;
use lru::LruCache;

/// Keeps the values used last, at most so many bytes of them.
#[derive(Debug)]
pub(crate) struct DigestCache<V> {
    kept: LruCache<Digest, (V, usize)>,
    kept_bytes: usize,
    most_bytes: usize,
}

impl<V: Clone> DigestCache<V> {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            kept: LruCache::unbounded(),
            kept_bytes: 0,
            most_bytes,
        }
    }

    /// The value of a digest, which thereby becomes the one used last.
    pub(crate) fn get(&mut self, digest: &Digest) -> Option<V> {
        self.kept.get(digest).map(|(value, _)| value.clone())
    }

    /// Keeps a value of so many bytes, dropping those that were not used for longest while there are too many bytes.
    pub(crate) fn insert(&mut self, digest: Digest, value: V, bytes: usize) {
        if let Some((_, before)) = self.kept.put(digest, (value, bytes)) {
            self.kept_bytes -= before;
        }
        self.kept_bytes += bytes;
        while self.kept_bytes > self.most_bytes {
            let Some((_, (_, bytes))) = self.kept.pop_lru() else {
                break;
            };
            self.kept_bytes -= bytes;
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
        let mut cache = DigestCache::new(10);
        cache.insert(digest(1), 'a', 5);
        cache.insert(digest(2), 'b', 5);
        assert_eq!(cache.get(&digest(1)), Some('a'));
        cache.insert(digest(3), 'c', 4);
        let kept = [1, 2, 3].map(|byte| cache.get(&digest(byte)));
        assert_eq!(kept, [Some('a'), None, Some('c')]);
    }

    #[test]
    fn it_never_holds_more_bytes_than_it_may_and_nothing_that_is_larger() {
        let mut cache = DigestCache::new(30);
        for round in 0..200u8 {
            cache.insert(digest(round % 7), round, usize::from(round % 13));
            let _ = cache.get(&digest(round % 5));
            let held: usize = cache.kept.iter().map(|(_, (_, bytes))| bytes).sum();
            assert!(cache.kept_bytes <= 30 && cache.kept_bytes == held);
        }
        cache.insert(digest(9), 0, 31);
        assert_eq!((cache.get(&digest(9)), cache.kept_bytes), (None, 0));
    }
}
