//! What a row of a batch has drawn so far, and from which stream.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::draw::draw;
use super::{Finish, SampledTokens, SamplingParams};
use crate::error::ModelError;

/// One row on the host: its random stream and what it has drawn.
pub(super) struct Row {
    rng: ChaCha8Rng,
    end_id: u32,
    max_new_tokens: usize,
    token_ids: Vec<u32>,
    log_probs: Vec<f32>,
    pub(super) finish: Option<Finish>,
}

impl Row {
    pub(super) fn new(seed: u64, end_id: u32, params: &SamplingParams) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let max_new_tokens = params.max_new_tokens;
        Self {
            rng,
            end_id,
            max_new_tokens,
            token_ids: vec![],
            log_probs: vec![],
            finish: None,
        }
    }

    /// Draws the row's next token, unless it has ended.
    ///
    /// # Errors
    /// [`ModelError::Row`] when `logits` are not finite.
    pub(super) fn take(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        row: usize,
    ) -> Result<(), ModelError> {
        if self.finish.is_some() {
            return Ok(());
        }
        let drawn = draw(logits, params, &mut self.rng).ok_or_else(|| ModelError::Row {
            row,
            reason: format!("logits of token {} are not finite numbers", self.token_ids.len()),
        })?;
        self.token_ids.push(drawn.token);
        self.log_probs.push(drawn.log_prob);
        if drawn.token == self.end_id {
            self.finish = Some(Finish::Stop);
        } else if self.token_ids.len() == self.max_new_tokens {
            self.finish = Some(Finish::Length);
        }
        Ok(())
    }

    /// The token that the next step continues with.
    pub(super) fn last(&self) -> u32 {
        self.token_ids.last().copied().unwrap_or(self.end_id)
    }

    pub(super) fn into_tokens(self) -> SampledTokens {
        let finish = self.finish.unwrap_or(Finish::Length);
        SampledTokens {
            token_ids: self.token_ids,
            log_probs: self.log_probs,
            finish,
        }
    }
}
