//! Which next tokens a model holds possible, position by position, on the host.
//!
//! A distribution over tens of thousands of tokens puts nearly all of its mass on some dozens; only their ids are kept.

use burn::tensor::{Device, Tensor, TensorData};

/// The possible tokens at every position of one completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSupport {
    /// By completion token, ids in ascending order; at least one each.
    tokens: Vec<Vec<u32>>,
}

impl TokenSupport {
    /// Of one completion's next-token log-probabilities `[length, vocabulary]`: the tokens of at least `log(threshold)` and
    /// the likeliest one.
    pub(crate) fn of(log_probs: &[f32], length: usize, threshold: f64) -> Self {
        let least = threshold.ln() as f32;
        let vocabulary = log_probs.len() / length.max(1);
        let possible = |row: &[f32]| -> Vec<u32> {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let possible = row
                .iter()
                .zip(0..)
                .filter(|&(&value, _)| value >= least.min(most));
            possible.map(|(_, token)| token).collect()
        };
        Self {
            tokens: log_probs.chunks(vocabulary.max(1)).map(possible).collect(),
        }
    }

    /// Of these ids a position.
    #[cfg(test)]
    pub(crate) fn of_tokens(tokens: &[Vec<u32>]) -> Self {
        Self {
            tokens: tokens.to_vec(),
        }
    }

    /// What is added to the logits of some completions so that only possible tokens are left: 0 for them and behind a
    /// completion's end, a huge negative number for all others.
    ///
    /// # Shapes
    /// `[supports * length, vocabulary]`
    pub(crate) fn bias(supports: &[&Self], length: usize, vocabulary: usize, device: &Device) -> Tensor<2> {
        const IMPOSSIBLE: f32 = -1e30;
        let mut bias = vec![0.0; supports.len() * length * vocabulary];
        for (support, cells) in supports.iter().zip(bias.chunks_mut(length * vocabulary)) {
            for (tokens, row) in support.tokens.iter().zip(cells.chunks_mut(vocabulary)) {
                row.fill(IMPOSSIBLE);
                for &token in tokens {
                    row[token as usize] = 0.0;
                }
            }
        }
        let shape = [supports.len() * length, vocabulary];
        Tensor::from_data(TensorData::new(bias, shape), device)
    }
}
