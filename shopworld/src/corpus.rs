//! The pre-training corpus: the three task families of CAIG over every subset of image and text.

use crate::{
    Renderer,
    advertiser::write_description,
    description::{Description, Slot},
    stream::{Part, stream},
    truth::category_of,
    vocabulary::{BRANDS, CATEGORIES, COLOURS, PATTERNS, PROMPT_INSTRUCTIONS, SIZES, STYLES},
};
use data::{Corpus, CorpusImage, CorpusSample, ImageGenerator, Modality, Product, Split, TaskFamily};
use image::DynamicImage;
use rand::{Rng, RngExt};
use std::sync::Arc;

/// What a sample asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Picture and caption of the product: suggest a background. What reinforcement learning asks.
    SuggestForProduct,
    /// Caption only: suggest a background.
    SuggestForCaption,
    /// Caption and an incomplete description: complete it.
    Rewrite,
    /// Picture only: suggest a background.
    SuggestForPicture,
    /// A finished advertisement: describe its background.
    DescribeBackground,
    /// Picture only: describe the product.
    DescribeProduct,
    /// Picture and some attributes: write the caption.
    Title,
    /// A finished advertisement and the caption: describe the background.
    DescribeBackgroundOf,
}

/// Every task and its share, in hundredths: the measured mix of 45 image and text to prompt, 20 text to prompt, 15 image
/// to prompt and 20 to descriptions, the last two groups divided so that every family and modality occurs.
const MIX: [(Task, u32); 8] = [
    (Task::SuggestForProduct, 45),
    (Task::SuggestForCaption, 15),
    (Task::Rewrite, 5),
    (Task::SuggestForPicture, 15),
    (Task::DescribeBackground, 10),
    (Task::DescribeProduct, 5),
    (Task::Title, 3),
    (Task::DescribeBackgroundOf, 2),
];

/// How many samples the tokenizer's texts are taken from.
const TOKENIZER_SAMPLES: u64 = 2_000;

/// Pre-training samples about the training products.
#[derive(Debug, Clone)]
pub struct ShopCorpus {
    products: Arc<[Product]>,
    split: Split,
    native: f64,
    renderer: Renderer,
}

/// A sample before its picture is drawn.
struct Draft {
    task: Task,
    product: usize,
    description: Description,
    instruction: String,
    completion: String,
}

impl ShopCorpus {
    pub(crate) fn new(products: Arc<[Product]>, split: Split, native: f64, renderer: Renderer) -> Self {
        Self {
            products,
            split,
            native,
            renderer,
        }
    }

    fn draft(&self, rng: &mut impl Rng) -> Draft {
        let task = draw_task(rng);
        let index = rng.random_range(self.split.train.clone());
        let product = &self.products[index];
        let category = category_of(product).expect("the shop's products have its categories");
        let description = write_description(rng, category, self.native);
        let (instruction, completion) = texts_of(task, product, &description, rng);
        Draft {
            task,
            product: index,
            description,
            instruction,
            completion,
        }
    }

    fn image(&self, draft: &Draft, rng: &mut impl Rng) -> Option<CorpusImage> {
        match draft.task {
            Task::SuggestForCaption | Task::Rewrite => None,
            Task::SuggestForProduct | Task::SuggestForPicture | Task::DescribeProduct | Task::Title => {
                Some(CorpusImage::Product(draft.product))
            }
            Task::DescribeBackground | Task::DescribeBackgroundOf => {
                let cutout = &self.products[draft.product].image;
                let picture =
                    self.renderer
                        .generate_one(cutout, &draft.description.to_string(), rng.random());
                let image = picture.expect("the shop's products are visible").image;
                let picture = DynamicImage::ImageRgb8(image).into_rgba8();
                Some(CorpusImage::Picture(Arc::new(picture)))
            }
        }
    }
}

impl Corpus for ShopCorpus {
    fn sample(&self, index: u64, seed: u64) -> CorpusSample {
        let mut rng = stream(seed, Part::Corpus, index);
        let draft = self.draft(&mut rng);
        let image = self.image(&draft, &mut rng);
        let (family, modality) = kind(draft.task);
        let Draft {
            product,
            instruction,
            completion,
            ..
        } = draft;
        CorpusSample {
            family: Some(family),
            modality,
            product: Some(product),
            image,
            instruction,
            completion,
        }
    }

    fn products(&self) -> &[Product] {
        &self.products
    }

    fn texts(&self) -> Vec<String> {
        let drafts = (0..TOKENIZER_SAMPLES).map(|index| self.draft(&mut stream(0, Part::Corpus, index)));
        let mut texts: Vec<String> = drafts
            .flat_map(|draft| [draft.instruction, draft.completion])
            .collect();
        texts.extend(Slot::ALL.iter().map(|slot| slot.values().join(", ")));
        texts.extend(CATEGORIES.iter().map(|category| category.nouns.join(" ")));
        texts.extend([&BRANDS[..], &PATTERNS, &STYLES, &SIZES].map(|words| words.join(" ")));
        texts.push(COLOURS.map(|(name, _)| name).join(" "));
        texts
    }
}

fn draw_task(rng: &mut impl Rng) -> Task {
    let mut ticket = rng.random_range(0..MIX.iter().map(|(_, share)| share).sum());
    for (task, share) in MIX {
        if ticket < share {
            return task;
        }
        ticket -= share;
    }
    Task::SuggestForProduct
}

fn kind(task: Task) -> (TaskFamily, Modality) {
    match task {
        Task::SuggestForProduct => (TaskFamily::PromptGeneration, Modality::ImageText),
        Task::SuggestForCaption | Task::Rewrite => (TaskFamily::PromptGeneration, Modality::Text),
        Task::SuggestForPicture => (TaskFamily::PromptGeneration, Modality::Image),
        Task::DescribeBackground | Task::DescribeProduct => (TaskFamily::Understanding, Modality::Image),
        Task::Title | Task::DescribeBackgroundOf => (TaskFamily::Comprehension, Modality::ImageText),
    }
}

/// Instruction and completion of a sample.
fn texts_of(
    task: Task,
    product: &Product,
    description: &Description,
    rng: &mut impl Rng,
) -> (String, String) {
    let caption = product.caption.as_str();
    let words = |keys: &[&str]| {
        keys.iter()
            .map(|key| product.attributes[*key].as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let prompt = PROMPT_INSTRUCTIONS[rng.random_range(0..PROMPT_INSTRUCTIONS.len())];
    match task {
        Task::SuggestForProduct | Task::SuggestForCaption => {
            (prompt.replace("{caption}", caption), description.to_string())
        }
        Task::Rewrite => (
            format!("rewrite for {caption}: {}", incomplete(description, rng)),
            description.to_string(),
        ),
        Task::SuggestForPicture => ("suggest a background".to_owned(), description.to_string()),
        Task::DescribeBackground => ("describe the background".to_owned(), description.to_string()),
        Task::DescribeProduct => (
            "describe the product".to_owned(),
            words(&["colour", "pattern", "noun"]),
        ),
        Task::Title => (
            format!("write a title with {}", words(&["brand", "style", "size"])),
            words(&["brand", "colour", "pattern", "style", "noun", "size"]),
        ),
        Task::DescribeBackgroundOf => (
            format!("describe the background of {caption}"),
            description.to_string(),
        ),
    }
}

/// The description without one of its slots.
fn incomplete(description: &Description, rng: &mut impl Rng) -> String {
    let text = description.to_string();
    let lost = rng.random_range(0..Slot::ALL.len());
    let kept = text
        .split(", ")
        .enumerate()
        .filter(|(slot, _)| *slot != lost)
        .map(|(_, part)| part);
    kept.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParsedDescription, ShopWorld, ShopWorldConfig};
    use data::{Catalogue, ClickOracle};
    use std::collections::BTreeSet;

    fn world(seed: u64) -> ShopWorld {
        let config = ShopWorldConfig {
            products: 40,
            product_size: 16,
            creative_size: 8,
            ..ShopWorldConfig::default()
        };
        ShopWorld::new(config, seed).unwrap()
    }

    fn samples(world: &ShopWorld, count: u64) -> Vec<CorpusSample> {
        let corpus = world.corpus();
        (0..count).map(|index| corpus.sample(index, 9)).collect()
    }

    #[test]
    fn a_sample_depends_on_index_and_seed_only() {
        let corpus = world(1).corpus();
        let late_first = corpus.sample(5, 2);
        assert_eq!(corpus.sample(5, 2), late_first);
        assert_eq!(world(1).corpus().sample(5, 2), late_first);
        assert_ne!(corpus.sample(6, 2), late_first);
        assert_ne!(corpus.sample(5, 3), late_first);
    }

    #[test]
    fn all_families_and_modalities_occur_in_the_measured_mix() {
        let samples = samples(&world(2), 4_000);
        let share = |wanted: &dyn Fn(&CorpusSample) -> bool| {
            samples.iter().filter(|sample| wanted(sample)).count() as f64 / samples.len() as f64
        };
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 0.03, "{found} is not {expected}");
        let prompts = |modality| {
            move |s: &CorpusSample| (s.family, s.modality) == (Some(TaskFamily::PromptGeneration), modality)
        };
        near(share(&prompts(Modality::ImageText)), 0.45);
        near(share(&prompts(Modality::Text)), 0.20);
        near(share(&prompts(Modality::Image)), 0.15);
        near(
            share(&|s: &CorpusSample| s.family != Some(TaskFamily::PromptGeneration)),
            0.20,
        );
        assert!(share(&|s: &CorpusSample| s.family == Some(TaskFamily::Comprehension)) > 0.02);
    }

    #[test]
    fn images_are_there_exactly_when_the_modality_has_one() {
        for sample in samples(&world(3), 300) {
            assert_eq!(sample.image.is_none(), sample.modality == Modality::Text);
        }
    }

    #[test]
    fn held_out_products_never_occur() {
        let world = world(4);
        let train = world.catalogue().split().train;
        assert!(
            samples(&world, 500)
                .iter()
                .all(|sample| sample.product.is_some_and(|product| train.contains(&product)))
        );
    }

    #[test]
    fn prompts_are_valid_and_match_as_often_as_configured() {
        let world = world(5);
        let (corpus, oracle) = (world.corpus(), world.oracle());
        let prompts: Vec<_> = samples(&world, 3_000)
            .into_iter()
            .filter(|s| s.family == Some(TaskFamily::PromptGeneration))
            .collect();
        assert!(
            prompts
                .iter()
                .all(|s| ParsedDescription::parse(&s.completion).defects() == 0)
        );
        let matching = prompts
            .iter()
            .filter(|s| oracle.matches_product(&corpus.products()[s.product.unwrap()], &s.completion))
            .count();
        assert!((matching as f64 / prompts.len() as f64 - 0.8).abs() < 0.03);
    }

    #[test]
    fn what_reinforcement_learning_asks_is_trained_with_picture_and_caption() {
        let world = world(6);
        let catalogue = world.catalogue();
        let asked = catalogue.instructions().to_vec();
        let mut trained = BTreeSet::new();
        for sample in samples(&world, 1_000) {
            let product = sample.product.unwrap();
            let caption = &catalogue.products()[product].caption;
            let kind = (sample.family, sample.modality);
            if kind == (Some(TaskFamily::PromptGeneration), Modality::ImageText) {
                trained.insert(sample.instruction.replace(caption, "{caption}"));
                assert_eq!(sample.image, Some(CorpusImage::Product(product)));
            }
        }
        assert_eq!(trained, asked.into_iter().collect());
    }

    #[test]
    fn the_tokenizer_sees_every_word_of_the_samples() {
        let world = world(7);
        let texts = world.corpus().texts();
        let known: BTreeSet<&str> = texts
            .iter()
            .flat_map(|text| text.split([' ', ',', ':']))
            .collect();
        for sample in samples(&world, 500) {
            for word in sample
                .instruction
                .split([' ', ',', ':'])
                .chain(sample.completion.split([' ', ',']))
            {
                assert!(known.contains(word), "{word}");
            }
        }
    }
}
