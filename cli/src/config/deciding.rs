//! What of a configuration decides what becomes of a task. A learner compares it with what its run was begun with, and with what actors state.

use super::Config;
use actor::Generator;
use common::DecidingSettings;

impl Config {
    /// The settings that a run is begun with, of whichever role they are, those of `[learner]` apart, which the learner compares itself.
    /// Products and the policy are compared by what they are, and where and how fast something is done decides nothing.
    pub(crate) fn deciding(&self) -> DecidingSettings {
        let Self {
            actor,
            reward_server,
            diffusion: _,
            shopworld: _,
            run: _,
            compute: _,
            catalogue: _,
            corpus: _,
            click_log: _,
            paths: _,
            store: _,
            endpoints: _,
            tls: _,
            telemetry: _,
            dashboard: _,
            policy: _,
            pretrain: _,
            reward: _,
            learner: _,
            demo: _,
        } = self;
        let settings = actor.deciding().and(self.deciding_what_is_rendered());
        settings.and(reward_server.deciding())
    }

    /// Those of what renders. Of an image service nothing is known here.
    pub(crate) fn deciding_what_is_rendered(&self) -> DecidingSettings {
        match self.actor.image_generator {
            Generator::Shopworld => self.shopworld.deciding(),
            Generator::Diffusion => self.diffusion.deciding(),
            Generator::Remote => DecidingSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn keys(config: &Config) -> Vec<String> {
        config.deciding().keys().map(str::to_owned).collect()
    }

    #[test]
    fn every_setting_that_decides_is_a_key_of_the_configuration_and_what_does_not_render_is_not_stated() {
        let mut config = Config::default();
        for (generator, renders, others) in [
            (Generator::Shopworld, "shopworld.creative_size", "diffusion."),
            (Generator::Diffusion, "diffusion.steps", "shopworld."),
            (Generator::Remote, "reward_server.min_confidence", "diffusion."),
        ] {
            config.actor.image_generator = generator;
            let keys = keys(&config);
            assert!(keys.iter().any(|key| key == renders), "{keys:?}");
            assert!(!keys.iter().any(|key| key.starts_with(others)), "{keys:?}");
            let table: toml::Value = toml::Value::try_from(&config).unwrap();
            for key in keys {
                let found = key.split('.').try_fold(&table, |table, name| table.get(name));
                assert!(found.is_some(), "{key}");
            }
        }
    }

    #[test]
    fn what_a_configuration_states_is_what_the_wire_takes() {
        let mut config = Config::default();
        config.reward_server.question = "\u{1}".repeat(1000);
        for generator in [Generator::Diffusion, Generator::Shopworld] {
            config.actor.image_generator = generator;
            let settings: BTreeMap<_, _> = config.deciding().into();
            let taken = proto::deciding_settings("join_request.settings", settings);
            assert_eq!(taken.unwrap(), config.deciding());
        }
    }
}
