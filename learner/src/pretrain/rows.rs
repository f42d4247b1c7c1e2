//! Whether every row of a corpus's file fits the policy's context: seen before the first step, because one that does not would end
//! the training when its turn comes.

use crate::error::LearnerError;
use data::{Corpus, CorpusImage, CorpusSample};
use image::RgbaImage;
use models::policy::Policy;

/// Checks that every row of a corpus's file fits the context of the policy that is to be trained on it, of which no weight is looked at.
/// A corpus that is made has no rows: its samples are seen when they are drawn.
///
/// # Errors
/// [`LearnerError::Rows`] with every row that does not.
pub fn check_corpus(policy: &Policy, corpus: &dyn Corpus) -> Result<(), LearnerError> {
    let Some(places) = corpus.places() else {
        return Ok(());
    };
    let faults = (0..places.len()).filter_map(|index| {
        let row = corpus.row(index).expect("there is a row for every place");
        Some((index, fault(policy, corpus, &row)?))
    });
    let faults: Vec<_> = faults.collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(places.refusal(faults).into()),
    }
}

fn fault(policy: &Policy, corpus: &dyn Corpus, sample: &CorpusSample) -> Option<String> {
    let image = sample.image.as_ref().map(|image| picture(corpus, image));
    let prompt = policy.prompt_ids(&sample.instruction, image.is_some());
    let (prompt, completion) = match (prompt, policy.completion_ids(&sample.completion)) {
        (Ok(prompt), Ok(completion)) => (prompt, completion),
        (Err(error), _) | (_, Err(error)) => return Some(error.to_string()),
    };
    let prompt = policy.positions(&prompt, image.map(RgbaImage::dimensions));
    let fits = policy.config.row_limits().check(prompt, completion.len());
    fits.err().map(|error| error.to_string())
}

/// What an image of a corpus shows.
pub(super) fn picture<'a>(corpus: &'a dyn Corpus, image: &'a CorpusImage) -> &'a RgbaImage {
    match image {
        CorpusImage::Product(index) => &corpus.products()[*index].image,
        CorpusImage::Picture(picture) => picture,
    }
}
