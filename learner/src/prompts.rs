//! What fits into the policy's context: every product's prompt with room for a completion, and every completion that is
//! handed in. Checked at the door, because a row that is too long would end the training.

use crate::assortment::filled;
use crate::error::LearnerError;
use common::{InvalidConfig, InvalidSetting};
use data::{Catalogue, Product};
use models::ModelError;
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
/// `completion_tokens` tokens, which `actor.max_new_tokens` says. Returns what completions must respect.
///
/// # Errors
/// [`LearnerError::Config`] when completions leave no room for any product's prompt, be it without its caption;
/// [`LearnerError::Rows`] or [`LearnerError::Catalogue`] naming the products whose prompts are too long or cannot be encoded.
pub fn check_prompts(
    catalogue: &dyn Catalogue,
    policy: &Policy,
    completion_tokens: usize,
) -> Result<CompletionLimits, LearnerError> {
    let limits = policy.config.row_limits();
    let prompts = Prompts {
        instructions: catalogue.instructions(),
        policy,
    };
    let room = |prompt: usize| (limits.max_length + 1).saturating_sub(prompt);
    let (mut longest, mut barest) = (0, usize::MAX);
    let (mut unreadable, mut too_long) = (vec![], vec![]);
    for (index, product) in catalogue.products().iter().enumerate() {
        let prompt = match prompts.longest(product, &product.caption) {
            Ok(prompt) => prompt,
            Err(error) => {
                unreadable.push((index, format!("product {}: {error}", product.id)));
                continue;
            }
        };
        longest = longest.max(prompt);
        if room(prompt) < completion_tokens {
            barest = barest.min(prompts.longest(product, "")?);
            too_long.push((index, told(product, prompt, policy)));
        }
    }
    if !unreadable.is_empty() {
        return Err(refusal(
            catalogue,
            unreadable,
            "the policy's tokenizer cannot encode it",
        ));
    }
    if too_long.is_empty() {
        return Ok(CompletionLimits {
            vocab_size: limits.vocab_size,
            tokens: room(longest),
        });
    }
    let (context, bare) = (limits.max_length, room(barest));
    let no_caption_fits = bare < completion_tokens;
    if no_caption_fits && bare > 0 && too_long.len() == catalogue.products().len() {
        // A caption may be too long for any completion as well.
        let (most, prompt) = match room(longest) {
            0 => (
                bare,
                format!("a prompt takes {barest} of them without any caption"),
            ),
            most => (most, format!("the longest prompt takes {longest} of them")),
        };
        return Err(too_many_tokens(completion_tokens, most, context, &prompt));
    }
    let shorter = match no_caption_fits {
        true => "no caption leaves room: shorten the instruction, or use smaller pictures",
        false => "shorten the caption",
    };
    let or_fewer = match room(longest) {
        0 => String::new(),
        most => format!(", or set actor.max_new_tokens to at most {most}"),
    };
    let remedy = format!(
        "a prompt may have at most {} tokens, for the policy's context has {context} and a completion takes up to \
         {completion_tokens}; {shorter}{or_fewer}",
        (context + 1).saturating_sub(completion_tokens)
    );
    Err(refusal(catalogue, too_long, &remedy))
}

/// What is asked about products, and by which policy it is read.
struct Prompts<'a> {
    instructions: &'a [String],
    policy: &'a Policy,
}

impl Prompts<'_> {
    /// Positions of the longest prompt about `product` under this caption, its image expanded.
    fn longest(&self, product: &Product, caption: &str) -> Result<usize, ModelError> {
        let mut longest = 0;
        for instruction in self.instructions {
            let ids = self.policy.prompt_ids(&filled(instruction, caption), true)?;
            longest = longest.max(self.policy.positions(&ids, Some(product.image.dimensions())));
        }
        Ok(longest)
    }
}

fn told(product: &Product, prompt: usize, policy: &Policy) -> String {
    let caption = policy
        .tokenizer
        .encode(&product.caption)
        .map_or(0, |ids| ids.len());
    format!(
        "product {}: its caption has {caption} tokens and its prompt {prompt}, the image included",
        product.id
    )
}

/// About no product is a caption so short that it would leave room: the completions are at fault. `prompt` says what leaves room for `most`.
fn too_many_tokens(given: usize, most: usize, context: usize, prompt: &str) -> LearnerError {
    let reason = format!(
        "expected at most {most}, for the policy's context has {context} tokens and {prompt}, the image included"
    );
    let problems = vec![InvalidSetting {
        key: "actor.max_new_tokens".into(),
        value: given.to_string(),
        reason,
    }];
    LearnerError::Config(InvalidConfig { problems })
}

/// The error of a catalogue some of whose products are at fault, by index: its file's rows where it has a file.
fn refusal(catalogue: &dyn Catalogue, faults: Vec<(usize, String)>, remedy: &str) -> LearnerError {
    if let Some(places) = catalogue.places() {
        let faults = faults.into_iter();
        return places
            .refusal(faults.map(|(index, fault)| (index, format!("{fault}; {remedy}"))))
            .into();
    }
    let unnamed = faults.len().saturating_sub(NAMED);
    let mut named: Vec<String> = faults.into_iter().take(NAMED).map(|(_, fault)| fault).collect();
    if unnamed > 0 {
        named.push(format!("and {unnamed} more"));
    }
    LearnerError::Catalogue {
        name: catalogue.name().to_owned(),
        reason: format!("{remedy}: {}", named.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{catalogue, with_captions};
    use crate::test_policy::policy;
    use models::processor::{AnyRes, Fit, Unpad};

    fn longest(catalogue: &dyn Catalogue, product: usize, policy: &Policy) -> usize {
        longest_under(&catalogue.products()[product].caption, catalogue, product, policy)
    }

    fn longest_under(caption: &str, catalogue: &dyn Catalogue, product: usize, policy: &Policy) -> usize {
        let prompts = Prompts {
            instructions: catalogue.instructions(),
            policy,
        };
        let product = &catalogue.products()[product];
        prompts.longest(product, caption).unwrap()
    }

    /// A policy that reads a picture as one tile, or as so many beside each other, whichever fits it better.
    fn with_tiles(beside: usize) -> Policy {
        let mut policy = policy();
        let side = policy.processor.size;
        policy.processor.fit = Fit::AnyRes(AnyRes {
            shapes: vec![[side, side], [side, beside * side]],
            unpad: Unpad::Transformers,
        });
        policy
    }

    fn told(catalogue: &dyn Catalogue, policy: &Policy, asked: usize) -> String {
        let refusal = check_prompts(catalogue, policy, asked).unwrap_err();
        assert!(refusal.is_configuration());
        refusal.to_string()
    }

    #[test]
    fn a_completion_within_the_limits_fits_behind_every_prompt_and_a_longer_one_does_not() {
        let (policy, catalogue) = (policy(), catalogue(&[None; 3]));
        let limits = check_prompts(&catalogue, &policy, 8).unwrap();
        let context = policy.config.row_limits();
        let prompt = longest(&catalogue, 0, &policy);
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
        let longest = longest(&catalogue, 1, &policy);
        assert!(longest > policy.config.row_limits().max_length, "{longest}");
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
        assert!(
            !text.contains("actor.max_new_tokens"),
            "no completion fits: {text}"
        );
    }

    #[test]
    fn completions_that_fit_behind_no_caption_blame_their_length_and_others_both() {
        let policy = policy();
        let catalogue = with_captions(&["the lamp", "the lamp beside the oak desk"]);
        let context = policy.config.row_limits().max_length;
        let most = context + 1 - longest(&catalogue, 1, &policy);
        assert!(check_prompts(&catalogue, &policy, most).is_ok());
        let (text, blamed) = (
            told(&catalogue, &policy, most + 1),
            format!(
                "shorten the caption, or set actor.max_new_tokens to at most {most}: product p1: its caption has"
            ),
        );
        assert!(text.contains(&blamed), "{text}");
        for asked in [context, 100_000] {
            let (text, blamed) = (
                told(&catalogue, &policy, asked),
                format!("actor.max_new_tokens = {asked}: expected at most {most}"),
            );
            assert!(text.contains(&blamed) && !text.contains("product"), "{text}");
            let prompt = format!("the longest prompt takes {} of them", context + 1 - most);
            assert!(text.contains(&prompt), "{text}");
        }
    }

    #[test]
    fn where_a_caption_leaves_no_room_the_prompt_without_one_says_how_long_completions_may_be() {
        let (policy, long) = (policy(), "№".repeat(60));
        let catalogue = with_captions(&["the lamp", &long]);
        let bare = longest_under("", &catalogue, 0, &policy);
        let most = policy.config.row_limits().max_length + 1 - bare;
        let text = told(&catalogue, &policy, 100_000);
        for words in [
            format!("expected at most {most}, "),
            format!("a prompt takes {bare} of them without any caption"),
        ] {
            assert!(text.contains(&words), "{words:?} is not in {text}");
        }
    }

    #[test]
    fn a_product_whose_picture_leaves_no_room_is_named_though_no_caption_would() {
        let policy = with_tiles(10);
        let catalogue = with_captions(&["the lamp", "the desk"]).pictured(&[(64, 64), (160, 16)]);
        let room = |prompt: usize| policy.config.row_limits().max_length + 1 - prompt;
        let asked = room(longest_under("", &catalogue, 1, &policy)) + 1;
        let most = room(longest(&catalogue, 1, &policy));
        let text = told(&catalogue, &policy, asked);
        let blamed = format!(
            "no caption leaves room: shorten the instruction, or use smaller pictures, or set actor.max_new_tokens to at most {most}: \
             product p1"
        );
        assert!(text.contains(&blamed) && !text.contains("product p0"), "{text}");
    }

    #[test]
    fn pictures_that_leave_no_completion_room_are_told_as_such() {
        let policy = with_tiles(50);
        let catalogue = with_captions(&["the lamp", "the desk"]).pictured(&[(800, 16); 2]);
        let text = told(&catalogue, &policy, 8);
        let blamed = "no caption leaves room: shorten the instruction, or use smaller pictures: product p0";
        assert!(text.contains(blamed) && text.contains("product p1"), "{text}");
    }
}
