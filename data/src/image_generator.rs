//! What turns a description into an advertising image.

use image::{RgbImage, RgbaImage};

/// Renders a product onto the background that a description asks for: the simulated shop's renderer, or a diffusion
/// model.
pub trait ImageGenerator: Send + Sync {
    /// The name it is known by in reports.
    fn name(&self) -> &str;

    /// Renders `product` (a cut-out of any size) on the background that `description` asks for. Equal arguments give
    /// equal images; candidates of one group share `noise_seed`, so that they differ by their descriptions only.
    ///
    /// # Errors
    /// [`GenerateError`] when no image came out. A description that cannot be understood is no error: it is counted in
    /// [`GeneratedImage::defects`].
    fn generate(
        &self,
        product: &RgbaImage,
        description: &str,
        noise_seed: u64,
    ) -> Result<GeneratedImage, GenerateError>;
}

/// A rendered advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedImage {
    /// The picture.
    pub image: RgbImage,
    /// Parts of the description that the generator could not render; 0 means clean.
    pub defects: u32,
}

/// Why no image was generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The cut-out shows nothing.
    #[error("the product's cut-out cannot be placed")]
    Product(#[from] crate::CutoutError),
    /// The generator itself failed.
    #[error("image generator {generator} failed")]
    Generator {
        /// Its name.
        generator: String,
        /// What went wrong inside.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
