//! A run in its store, as the commands that read what it has left are told of it.

use crate::args::RunPlaceArgs;
use crate::config::{Config, Layers};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::locations;
use common::RunId;
use store::Store;

/// Where a run is.
pub(crate) struct RunPlace {
    /// The store it is in.
    pub(crate) store: Store,
    /// What the arguments came to, for what else a command opens.
    pub(crate) config: Config,
    /// The run.
    pub(crate) run: RunId,
}

impl RunPlace {
    /// Where these arguments and the configuration say. The store must be there already.
    ///
    /// # Errors
    /// Configuration at fault, naming option or key.
    pub(crate) fn find(args: &RunPlaceArgs) -> Outcome<Self> {
        let config = Layers::default()
            .files(&args.config.config)
            .flag("--store", "store.url", args.store.clone())
            .flag("--run", "run.id", args.run.clone())
            .sets(&args.config.sets)
            .resolve()
            .or_configuration()?;
        Ok(Self {
            store: locations::existing_store("store.url", &config.store.url, &config.store.settings())?,
            run: RunId::new(config.run.id.as_str()).or_configuration()?,
            config,
        })
    }
}
