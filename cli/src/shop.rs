//! What a run advertises and learns from, and what turns descriptions into pictures: the simulated shop, or a user's own
//! products on the simulated shop's backgrounds and a user's own click log.

use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{diffusion, node_cache};
use actor::{DiffusionFiles, DiffusionGenerator, Generator, RemoteGenerator};
use anyhow::anyhow;
use common::{ActorId, DecidingSettings, LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use data::{
    CaigCatalogue, Catalogue, ClickLog, ClickOracle, Corpus, FileClickLog, ImageGenerator, ImportError,
    LlavaCorpus,
};
use proto::Network;
use proto::observe::Pulse;
use shopworld::ShopWorld;
use std::sync::Arc;
use tokio::runtime::Handle;

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
        let own = own_products(config)?.transpose().or_configuration()?;
        Self::with_products(config, own)
    }

    /// The same, whose descriptions are rendered by what actors render with, for whoever calls itself `caller`.
    ///
    /// # Errors
    /// A mistake of configuration; an image service that does not serve.
    pub(crate) fn with_actors_generator(
        self,
        config: &Config,
        caller: &str,
        network: Arc<dyn Network>,
        runtime: Handle,
    ) -> Outcome<Self> {
        let caller = ActorId::new(caller).or_configuration()?;
        let generator = image_generator(config, &caller, network, runtime)?;
        generator.ready().map_err(anyhow::Error::from)?;
        Ok(Self { generator, ..self })
    }

    /// The simulated shop, which advertises a user's own products where there are some.
    ///
    /// # Errors
    /// A mistake of configuration.
    pub(crate) fn with_products(config: &Config, own: Option<CaigCatalogue>) -> Outcome<Self> {
        let world = world(config)?;
        let generator = Arc::new(world.renderer());
        let shop = world.catalogue();
        let Some(own) = own else {
            return Ok(Self {
                catalogue: Arc::new(shop),
                generator,
                oracle: Some(Arc::new(world.oracle())),
            });
        };
        let instructions = shop.instructions().to_vec();
        Ok(Self {
            catalogue: Arc::new(own.with_instructions(instructions)),
            generator,
            oracle: None,
        })
    }
}

/// The catalogue of a user's own products, where one is configured, from a file or from the URL it was pushed to.
///
/// # Errors
/// When nothing can be brought from that URL.
pub(crate) fn own_products(config: &Config) -> Outcome<Option<Result<CaigCatalogue, ImportError>>> {
    let file = node_cache::catalogue(config)?;
    let load = |file| CaigCatalogue::load(file, config.catalogue.test_share);
    Ok(file.as_deref().map(load))
}

/// A user's own questions and answers, where they are configured.
pub(crate) fn own_corpus(config: &Config) -> Option<Result<LlavaCorpus, ImportError>> {
    config.corpus.file().map(LlavaCorpus::load)
}

/// What stage A learns from: a user's own, where there is one.
///
/// # Errors
/// A mistake of configuration.
pub(crate) fn corpus_with(config: &Config, own: Option<LlavaCorpus>) -> Outcome<Box<dyn Corpus>> {
    match own {
        Some(own) => Ok(Box::new(own)),
        None => Ok(Box::new(world(config)?.corpus())),
    }
}

/// A user's own click log, where one is configured.
pub(crate) fn own_click_log(config: &Config) -> Option<Result<FileClickLog, ImportError>> {
    let load = |path| FileClickLog::load(path, config.click_log.test_share);
    config.click_log.file().map(load)
}

/// The configured click log, which has what a reward model needs to be trained and measured: a user's own, where there is one, was read
/// already.
///
/// # Errors
/// A mistake of configuration: that no creatives can be compared.
pub(crate) fn click_log_with(config: &Config, own: Option<FileClickLog>) -> Outcome<Box<dyn ClickLog>> {
    let log: Box<dyn ClickLog> = match own {
        Some(own) => Box::new(own),
        None => Box::new(world(config)?.click_log()),
    };
    let split = log.split();
    if split.train.is_empty() || split.test.is_empty() {
        let (share, products) = (config.click_log.test_share, log.products().len());
        let both = "expected a share that leaves some on both sides, or more products";
        return Err(anyhow!(
            "click_log.test_share = {share}: of {products} products; {both}"
        ))
        .or_configuration();
    }
    reward_server::check_log(log.as_ref(), config.reward.min_impressions).or_configuration()?;
    Ok(log)
}

/// The simulated shop of this configuration.
///
/// # Errors
/// A mistake of configuration.
pub(crate) fn world(config: &Config) -> Outcome<ShopWorld> {
    ShopWorld::new(config.shopworld.clone(), seed(config, Purpose::World, 0)).or_configuration()
}

/// What the actor of this name renders with; others who render so take a name of their own. `runtime` drives its connections over `network`, where it has some.
///
/// # Errors
/// A mistake of configuration.
pub(crate) fn image_generator(
    config: &Config,
    actor: &ActorId,
    network: Arc<dyn Network>,
    runtime: Handle,
) -> Outcome<Arc<dyn ImageGenerator>> {
    Ok(match config.actor.image_generator {
        Generator::Shopworld => Arc::new(world(config)?.renderer()),
        Generator::Diffusion => painting(config, diffusion::files(config)?)?,
        Generator::Remote => {
            let (url, settings) = (&config.endpoints.images, &config.actor);
            Arc::new(RemoteGenerator::new(url, network, actor, settings, runtime).or_configuration()?)
        }
    })
}

/// The same for an actor that takes part in a run, with what the files hold that it renders with; `pulse` beats while they are read.
///
/// # Errors
/// As [`image_generator`].
pub(crate) fn actors_generator(
    config: &Config,
    actor: &ActorId,
    network: Arc<dyn Network>,
    runtime: Handle,
    pulse: &Pulse,
) -> Outcome<(Arc<dyn ImageGenerator>, DecidingSettings)> {
    if config.actor.image_generator != Generator::Diffusion {
        let generator = image_generator(config, actor, network, runtime)?;
        return Ok((generator, DecidingSettings::default()));
    }
    let files = diffusion::files(config)?;
    let generator = painting(config, files.clone())?;
    let contents = files.contents(|| pulse.beat()).or_configuration()?;
    Ok((generator, contents))
}

fn painting(config: &Config, files: DiffusionFiles) -> Outcome<Arc<dyn ImageGenerator>> {
    let placement = config.compute.placement().or_configuration()?;
    let generator = DiffusionGenerator::start(files, config.diffusion.clone(), placement);
    Ok(Arc::new(generator.or_configuration()?))
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
