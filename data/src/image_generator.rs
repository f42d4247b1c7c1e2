//! What turns descriptions into advertising images.

use crate::CutoutError;
use image::{RgbImage, RgbaImage};
use std::time::Instant;

/// Renders a product onto the backgrounds that descriptions ask for: the simulated shop's renderer, a diffusion model, or a
/// service of somebody else's.
pub trait ImageGenerator: Send + Sync {
    /// The name it is known by in reports.
    fn name(&self) -> &str;

    /// Renders `product` (a cut-out of any size) on the background that each of `descriptions` asks for: one result a
    /// description, in their order. Equal arguments give equal images. All of a group start from one `noise_seed`, so that they
    /// differ by their descriptions only; together, so that a model can compute them as one batch.
    ///
    /// # Errors
    /// [`GenerateError`] when the group as a whole gave nothing. A description that cannot be understood is no error: it is
    /// counted in [`GeneratedImage::defects`]; one that gave no image, while others may have, is a [`NoImage`] in its place.
    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError>;

    /// The same, where nobody waits for it after `_end`, if there is one: one that is outside is asked for no longer than that, and has
    /// then said whether it was away or had no room.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    fn generate_by(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
        _end: Option<Instant>,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        self.generate(product, descriptions, noise_seed)
    }

    /// Whether it is outside this process: then waiting for it can be given up, and no work is lost by that.
    fn is_outside(&self) -> bool {
        false
    }

    /// Returns once it can generate; asked before the first group, and again after one that was [`GenerateError::Unavailable`].
    /// May block.
    ///
    /// # Errors
    /// [`GenerateError::Unavailable`] when it cannot for longer than the generator bears.
    fn ready(&self) -> Result<(), GenerateError> {
        Ok(())
    }

    /// The same as [`generate`](Self::generate) for one description, for whoever has no group.
    ///
    /// # Errors
    /// [`GenerateError`], also when it is this description that gave no image.
    fn generate_one(
        &self,
        product: &RgbaImage,
        description: &str,
        noise_seed: u64,
    ) -> Result<GeneratedImage, GenerateError> {
        let mut images = self.generate(product, &[description.to_owned()], noise_seed)?;
        match (images.pop(), images.len()) {
            (Some(image), 0) => Ok(image?),
            (last, others) => Err(GenerateError::Count {
                generator: self.name().to_owned(),
                images: others + usize::from(last.is_some()),
                descriptions: 1,
            }),
        }
    }
}

/// A rendered advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedImage {
    /// The picture.
    pub image: RgbImage,
    /// The product as it stands in the picture: a cut-out of the picture's size, transparent around it. What compares picture
    /// and product needs it; `None` where the generator does not tell.
    pub placed: Option<RgbaImage>,
    /// Parts of the description that the generator could not render; 0 means clean.
    pub defects: u32,
}

/// Why one description of a group gave no image. It would give none again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// The generator does not take the description: it is too long, or empty.
    #[error("the description is refused: {0}")]
    Description(String),
    /// A guardrail of the generator's own withheld the image.
    #[error("a guardrail of the image generator withheld the image: {0}")]
    Withheld(String),
    /// What came out is no picture that can be read.
    #[error("what was generated is no picture: {0}")]
    Invalid(String),
}

/// Why no image was generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The cut-out shows nothing.
    #[error("the product's cut-out cannot be placed")]
    Product(#[from] CutoutError),
    /// The one description that was asked for gave no image.
    #[error(transparent)]
    Description(#[from] NoImage),
    /// The generator takes no such request, now or later.
    #[error("image generator {generator} refused: {reason}")]
    Refused {
        /// Its name.
        generator: String,
        /// Its reason.
        reason: String,
    },
    /// The generator itself failed.
    #[error("image generator {generator} failed")]
    Generator {
        /// Its name.
        generator: String,
        /// What went wrong inside.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The generator is away, has no room or does not answer as it should, whatever it is asked for: the group is not to blame.
    #[error("image generator {generator} does not serve")]
    Unavailable {
        /// Its name.
        generator: String,
        /// Whether it answers, and has no room.
        full: bool,
        /// What came of asking.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The generator gave another number of results than it was given descriptions.
    #[error("image generator {generator} gave {images} images for {descriptions} descriptions")]
    Count {
        /// Its name.
        generator: String,
        /// Results given.
        images: usize,
        /// Descriptions asked for.
        descriptions: usize,
    },
}

impl GenerateError {
    /// Whether the same request would fail again, whenever and wherever it is made.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Product(_) | Self::Description(_) | Self::Refused { .. } => true,
            Self::Generator { .. } | Self::Unavailable { .. } | Self::Count { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives as many images as it is told.
    struct Counted(usize);

    impl ImageGenerator for Counted {
        fn name(&self) -> &str {
            "counted"
        }

        fn generate(
            &self,
            _: &RgbaImage,
            descriptions: &[String],
            _: u64,
        ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
            let result = match descriptions[0].as_str() {
                "" => Err(NoImage::Description("it is empty".into())),
                _ => Ok(GeneratedImage {
                    image: RgbImage::new(2, 2),
                    placed: None,
                    defects: 0,
                }),
            };
            Ok(vec![result; self.0])
        }
    }

    #[test]
    fn one_description_gives_one_image_or_an_error_that_says_why() {
        let product = RgbaImage::new(2, 2);
        let one = |count, text: &str| Counted(count).generate_one(&product, text, 7);
        assert_eq!(one(1, "oak").unwrap().image.dimensions(), (2, 2));
        let refused = one(1, "").unwrap_err();
        assert!(
            refused.is_lasting() && refused.to_string().contains("empty"),
            "{refused}"
        );
        for count in [0, 2, 5] {
            let error = one(count, "oak").unwrap_err();
            assert!(!error.is_lasting());
            assert!(
                error.to_string().contains(&format!("{count} images for 1")),
                "{error}"
            );
        }
    }
}
