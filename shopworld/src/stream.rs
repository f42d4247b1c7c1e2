//! The random streams of the world: one for each part and item, so that changing one part leaves the others as they were.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Part {
    /// Appeal of slot values.
    Utility = 1,
    /// One product's caption and looks.
    Product = 2,
    /// One product's base rate.
    BaseRate = 3,
    /// One creative of the click log.
    Creative = 4,
    /// One sample of the corpus.
    Corpus = 5,
    /// Pixel noise of one picture.
    PixelNoise = 6,
}

/// The stream of item `index` of `part` in the world `seed`.
pub(crate) fn stream(seed: u64, part: Part, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, part as u64, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number for a name: FNV-1a with 64 bits (Fowler, Noll, Vo).
pub(crate) fn name_index(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use std::collections::BTreeSet;

    #[test]
    fn seeds_parts_and_items_have_streams_of_their_own() {
        let mut first = BTreeSet::new();
        for seed in 0..4 {
            for part in [
                Part::Utility,
                Part::Product,
                Part::BaseRate,
                Part::Creative,
                Part::Corpus,
            ] {
                for index in 0..8 {
                    first.insert(stream(seed, part, index).random::<u64>());
                }
            }
        }
        assert_eq!(first.len(), 4 * 5 * 8);
    }

    #[test]
    fn name_indices_follow_the_published_test_vector() {
        assert_eq!(name_index("foobar"), 0x8594_4171_f739_67e8);
    }
}
