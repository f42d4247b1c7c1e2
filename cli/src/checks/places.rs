//! What is read from and written to on this machine. Nothing is left where it was tried.

use super::Checks;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{diffusion, locations};
use ::actor::Generator;
use anyhow::{Context as _, anyhow};
use common::RunId;
use futures::executor::block_on;
use models::peft::Adapter;
use models::policy::Policy;
use std::path::{Path, PathBuf};
use store::StoreSettings;

impl Checks {
    /// Whether a store can be written to, where it is a directory; of a bucket, whether there is what it takes to ask it.
    pub(super) fn store(&mut self, key: &str, location: impl Fn(&Config) -> &str) {
        let settings = match self.in_range() {
            true => self.config().store.settings(),
            false => StoreSettings::default(),
        };
        self.look(key, |config| {
            locations::check_store(key, location(config), &settings)
        });
    }

    /// Where a learner's adapter goes: of a directory, also whose adapter is there.
    pub(super) fn adapter(&mut self) {
        let key = "paths.adapter";
        self.store(key, |config| &config.paths.adapter);
        if !self.in_range() || locations::directory(&self.config().paths.adapter).is_none() {
            return;
        }
        self.look(key, |config| {
            let place = locations::open_store(key, &config.paths.adapter, &config.store.settings())?;
            let run = RunId::new(config.run.id.as_str()).or_configuration()?;
            let owner = learner::check_adapters_owner(&place, &run, config.run.seed);
            block_on(owner).or_configuration()
        });
    }

    /// Whether a file that an argument names can be written.
    pub(super) fn file(&mut self, flag: &str, path: &Path) {
        let told = || format!("{flag}: cannot write to {}", path.display());
        self.argument(store::probe_file(path).with_context(told).or_configuration());
    }

    /// Whether a directory that an argument names can be filled.
    pub(super) fn directory(&mut self, flag: &str, path: &Path) {
        self.argument(locations::check_fillable(path, flag));
    }

    /// Whether a model is there that `made_by` makes, unless it comes by URL.
    pub(crate) fn model(
        &mut self,
        key: &str,
        location: impl Fn(&Config) -> &str,
        made_by: &str,
    ) -> Option<PathBuf> {
        let directory = locations::local_model(location(self.config()))?;
        self.look(key, |_| locations::check_model(&directory, made_by))?;
        Some(directory)
    }

    /// The policy of a directory without its weights, as the configuration reads it.
    pub(crate) fn policy_in(&mut self, key: &str, directory: &Path) -> Option<Policy> {
        self.look(key, |config| {
            let policy = Policy::without_weights(directory).or_configuration()?;
            Ok(policy.read_as(&config.policy.reading()))
        })
    }

    /// The policy that stage A starts from without its weights, where there is one that does not come by URL.
    pub(crate) fn base_policy(&mut self) -> Option<Policy> {
        if self.config().policy.base.is_empty() {
            return None;
        }
        let directory = self.model("policy.base", |config| &config.policy.base, "init")?;
        self.policy_in("policy.base", &directory)
    }

    /// An adapter that an argument names, read whole, unless it comes by URL. Whether it belongs to its base is found out beside the base's
    /// weights.
    pub(crate) fn adapter_of(&mut self, flag: &str, location: &Path) {
        if let Some(directory) = locations::local_model(&location.to_string_lossy()) {
            let read = Adapter::load(&directory).with_context(|| flag.to_owned());
            self.argument(read.or_configuration());
        }
    }

    /// What a diffusion model is read from, where one paints and does not come by URL.
    pub(crate) fn painting(&mut self) {
        if self.config().actor.image_generator != Generator::Diffusion {
            return;
        }
        for (key, location, what) in diffusion::named(&self.config().diffusion.clone()) {
            self.look(key, |_| painted_by(&location, what));
        }
        let lora = self.config().diffusion.lora.clone();
        if !lora.is_empty() {
            self.look("diffusion.lora", |_| painted_by(&lora, "weights of LoRA"));
        }
    }
}

fn painted_by(location: &str, what: &str) -> Outcome<()> {
    let missing = match locations::local_model(location) {
        _ if location.is_empty() => "it is empty".to_owned(),
        Some(path) if !path.exists() => format!("{location} does not exist"),
        _ => return Ok(()),
    };
    Err(anyhow!("{missing}: expected {what}, a path or a URL")).or_configuration()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_paints_must_be_named_and_there() {
        let mut config = Config::default();
        let found = |config: &Config| {
            let mut checks = Checks::on(config.clone());
            checks.painting();
            let mistakes = checks.into_mistakes().into_iter();
            mistakes.map(|mistake| mistake.to_string()).collect::<Vec<_>>()
        };
        assert!(found(&config).is_empty());
        config.actor.image_generator = Generator::Diffusion;
        config.diffusion.model = "/nowhere/at/all".into();
        config.diffusion.controlnet = String::new();
        let told = found(&config);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("diffusion.model: /nowhere/at/all does not exist"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("diffusion.controlnet: it is empty"),
            "{told:?}"
        );
        config.diffusion.model = "s3://bucket/sd15".into();
        config.diffusion.controlnet = "hf:org/name".into();
        assert!(found(&config).is_empty(), "what a URL leads to is not known yet");
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_named_by_its_argument() {
        let mut checks = Checks::on(Config::default());
        checks.file("--summary", Path::new("/nowhere/at/all/run.json"));
        checks.directory("--work-dir", Path::new("/proc/nowhere"));
        checks.store("store.url", |_| "/proc/nowhere");
        let message = checks.finish().unwrap_err().to_string();
        for part in [
            "3 mistakes",
            "--summary: cannot write to /nowhere/at/all/run.json",
            "--work-dir: cannot write to /proc/nowhere",
            "store.url: cannot write to /proc/nowhere",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
}
