//! What the prompt model is pre-trained on (stage A): instructions and completions over every subset of image and text.

mod llava;

pub use llava::LlavaCorpus;

use crate::{FilePlaces, Product};
use image::RgbaImage;
use std::sync::Arc;

/// The three families of pre-training tasks of CAIG, section "pre-training".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskFamily {
    /// Describe the product, or its background, from an image.
    Understanding,
    /// Join image and attributes: write a title, or describe a background knowing the product.
    Comprehension,
    /// Write a background description for a product, or improve one.
    PromptGeneration,
}

/// What a sample shows besides its instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// An image; the instruction names no product.
    Image,
    /// No image; the instruction carries the product's text.
    Text,
    /// Both.
    ImageText,
}

/// The image of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum CorpusImage {
    /// The cut-out of the product with this index in [`Corpus::products`].
    Product(usize),
    /// A picture of its own, such as a finished advertisement.
    Picture(Arc<RgbaImage>),
}

/// One pre-training sample.
#[derive(Debug, Clone, PartialEq)]
pub struct CorpusSample {
    /// Its task family, where that is known.
    pub family: Option<TaskFamily>,
    /// What it shows; [`CorpusSample::image`] is `None` exactly for [`Modality::Text`].
    pub modality: Modality,
    /// The product it is about, as an index into [`Corpus::products`], where that is known.
    pub product: Option<usize>,
    /// Its image.
    pub image: Option<CorpusImage>,
    /// What is asked.
    pub instruction: String,
    /// The right answer; the loss is on these tokens only.
    pub completion: String,
}

/// An endless, seeded stream of pre-training samples.
pub trait Corpus: Send + Sync {
    /// Sample `index` of the stream `seed`. Equal arguments give equal samples, in any order of calls. Samples are about
    /// training products only.
    fn sample(&self, index: u64, seed: u64) -> CorpusSample;

    /// The products that samples refer to.
    fn products(&self) -> &[Product];

    /// Where rows stand in the file that samples are drawn from; none where they are made.
    fn places(&self) -> Option<&FilePlaces> {
        None
    }

    /// The sample of a row of that file, by its index in [`places`](Self::places): there is one for every place, and no other.
    fn row(&self, _index: usize) -> Option<CorpusSample> {
        None
    }

    /// The texts a tokenizer for this corpus is trained on: every word occurs, frequent ones more often.
    fn texts(&self) -> Vec<String>;
}
