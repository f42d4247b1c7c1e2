//! What a run advertises, and what turns descriptions into pictures: the simulated shop, or a user's own products on the
//! simulated shop's backgrounds.

use crate::config::{CatalogueConfig, Config};
use crate::failure::{OrConfiguration as _, Outcome};
use common::{LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use data::{CaigCatalogue, Catalogue, ClickOracle, ImageGenerator};
use shopworld::ShopWorld;
use std::path::Path;
use std::sync::Arc;

/// The products of a run and what is known of them. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Shop {
    /// The products.
    pub(crate) catalogue: Arc<dyn Catalogue>,
    /// Renders candidates at the size that the reward model sees.
    pub(crate) generator: Arc<dyn ImageGenerator>,
    /// The truth; none for a user's products.
    pub(crate) oracle: Option<Arc<dyn ClickOracle>>,
}

impl Shop {
    /// Opens the configured catalogue.
    ///
    /// # Errors
    /// A mistake of configuration: all faulty rows of a catalogue file at once.
    pub(crate) fn open(config: &Config) -> Outcome<Self> {
        let world = world(config)?;
        let generator = Arc::new(world.renderer());
        let shop = world.catalogue();
        if config.catalogue.source == CatalogueConfig::SHOPWORLD {
            return Ok(Self {
                catalogue: Arc::new(shop),
                generator,
                oracle: Some(Arc::new(world.oracle())),
            });
        }
        let instructions = shop.instructions().to_vec();
        let products = CaigCatalogue::load(Path::new(&config.catalogue.source)).or_configuration()?;
        Ok(Self {
            catalogue: Arc::new(products.with_instructions(instructions)),
            generator,
            oracle: None,
        })
    }
}

/// The simulated shop of this configuration.
///
/// # Errors
/// A mistake of configuration.
pub(crate) fn world(config: &Config) -> Outcome<ShopWorld> {
    ShopWorld::new(config.shopworld.clone(), seed(config, Purpose::World, 0)).or_configuration()
}

/// A renderer of the same scenes with `size` pixels a side.
///
/// # Errors
/// A mistake of configuration when the size is out of range.
pub(crate) fn renderer(size: u32) -> Outcome<impl ImageGenerator> {
    let config = shopworld::RendererConfig {
        size,
        ..shopworld::RendererConfig::default()
    };
    shopworld::Renderer::new(config).or_configuration()
}

/// The seed of draw `index` for `purpose`, outside any policy version.
pub(crate) fn seed(config: &Config, purpose: Purpose, index: u64) -> u64 {
    derive_seed(
        config.run.seed,
        TaskId(index),
        PolicyVersion::initial(LearnerEpoch(0)),
        purpose,
    )
}
