//! What fits into the policy's context: every product's prompt with room for a completion, and every completion that is
//! handed in. Checked at the door, because a row that is too long would end the training.

use crate::assortment::filled;
use crate::error::LearnerError;
use data::{Catalogue, Product};
use models::policy::Policy;

/// How many products too long for the context are named.
const NAMED: usize = 5;

/// What a completion must respect so that it can be trained on under any product's prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletionLimits {
    /// Token ids are below this.
    pub vocab_size: usize,
    /// Longest completion, in tokens, end token included.
    pub tokens: usize,
}

/// A completion that cannot be trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidCompletion {
    /// The policy has no such token.
    #[error("token {found}, expected one below {vocab_size}")]
    Token {
        /// What was given.
        found: u32,
        /// Where the vocabulary ends.
        vocab_size: usize,
    },
    /// It does not fit behind the longest prompt.
    #[error("{found} tokens, the policy's context has room for {most} behind the longest prompt")]
    Length {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

impl CompletionLimits {
    /// Checks one completion.
    ///
    /// # Errors
    /// [`InvalidCompletion`] with what was found and what would be right.
    pub(crate) fn check(&self, token_ids: &[u32]) -> Result<(), InvalidCompletion> {
        let (vocab_size, most, found) = (self.vocab_size, self.tokens, token_ids.len());
        if found > most {
            return Err(InvalidCompletion::Length { found, most });
        }
        match token_ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&found) => Err(InvalidCompletion::Token { found, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Checks that every product's prompt, under every instruction, leaves room in the policy's context for a completion of
/// `completion_tokens` tokens. Returns what completions must respect.
///
/// # Errors
/// [`LearnerError::Catalogue`] naming the products whose captions are too long, [`LearnerError::Model`] when a caption
/// cannot be encoded.
pub fn check_prompts(
    catalogue: &dyn Catalogue,
    policy: &Policy,
    completion_tokens: usize,
) -> Result<CompletionLimits, LearnerError> {
    let limits = policy.config.row_limits();
    // The last token of a completion is predicted, never read.
    let most = (limits.max_length + 1).saturating_sub(completion_tokens);
    let (mut longest, mut too_long) = (0, vec![]);
    for product in catalogue.products() {
        let prompt = longest_prompt(product, catalogue.instructions(), policy)?;
        longest = longest.max(prompt);
        if prompt > most {
            let caption = policy.tokenizer.encode(&product.caption)?.len();
            too_long.push(format!(
                "product {}: its caption has {caption} tokens and its prompt {prompt}, the image included",
                product.id
            ));
        }
    }
    if too_long.is_empty() {
        return Ok(CompletionLimits {
            vocab_size: limits.vocab_size,
            tokens: limits.max_length + 1 - longest,
        });
    }
    let unnamed = too_long.len().saturating_sub(NAMED);
    too_long.truncate(NAMED);
    if unnamed > 0 {
        too_long.push(format!("and {unnamed} more"));
    }
    let context = limits.max_length;
    let reason = format!(
        "a prompt may have at most {most} tokens, for the policy's context has {context} and a completion takes up to \
         {completion_tokens}; shorten the caption: {}",
        too_long.join("; ")
    );
    let name = catalogue.name().to_owned();
    Err(LearnerError::Catalogue { name, reason })
}

/// Positions that a product's longest prompt takes, its image expanded.
fn longest_prompt(
    product: &Product,
    instructions: &[String],
    policy: &Policy,
) -> Result<usize, LearnerError> {
    let (width, height) = product.image.dimensions();
    let (image, mut longest) = (policy.image_tokens(width, height), 0);
    for instruction in instructions {
        let ids = policy.prompt_ids(&filled(instruction, &product.caption), true)?;
        longest = longest.max(ids.len() - 1 + image);
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{catalogue, with_captions};
    use crate::test_policy::policy;

    #[test]
    fn a_completion_within_the_limits_fits_behind_every_prompt_and_a_longer_one_does_not() {
        let (policy, catalogue) = (policy(), catalogue(&[None; 3]));
        let limits = check_prompts(&catalogue, &policy, 8).unwrap();
        let context = policy.config.row_limits();
        let prompt = longest_prompt(&catalogue.products()[0], catalogue.instructions(), &policy).unwrap();
        assert_eq!(prompt + limits.tokens - 1, context.max_length);
        assert_eq!(limits.check(&vec![5; limits.tokens]), Ok(()));
        let refusal = limits.check(&vec![5; limits.tokens + 1]).unwrap_err();
        assert!(
            refusal.to_string().contains("tokens, the policy's context"),
            "{refusal}"
        );
        let foreign = context.vocab_size as u32;
        let refusal = limits.check(&[5, foreign]).unwrap_err();
        assert!(refusal.to_string().contains(&foreign.to_string()), "{refusal}");
    }

    #[test]
    fn products_whose_captions_are_too_long_are_named_with_their_length_and_the_limit() {
        let policy = policy();
        let long = "№".repeat(60);
        let catalogue = with_captions(&["the lamp", &long, "the desk"]);
        let error = check_prompts(&catalogue, &policy, 8).unwrap_err();
        assert!(error.is_configuration());
        let (text, tokens) = (error.to_string(), policy.tokenizer.encode(&long).unwrap().len());
        let context = policy.config.row_limits().max_length;
        for word in [
            "product p1".into(),
            format!("{tokens} tokens"),
            format!("at most {} tokens", context + 1 - 8),
        ] {
            assert!(text.contains(&word), "{word:?} is not in {text}");
        }
        assert!(
            !text.contains("product p0") && !text.contains("product p2"),
            "{text}"
        );
    }
}
