//! What a run was begun with: every later start of its learner must have the same. What was not recorded then, and what only actors know,
//! is recorded when it is told first.

use super::CatalogueDigests;
use super::record::{IDENTITY, Identity, Stored, decode, key};
use crate::config::LearnerConfig;
use common::{DecidingSettings, Digest};
use prost::Message as _;
use proto::{InvalidMessage, pb};

/// What a run was begun with, or is to go on with. What an earlier version of the program did not record is `None`, and no setting
/// of other tables. Where it was begun by one that recorded less, the rest is of the first start by one that records it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Beginning {
    /// Which run it is.
    pub(crate) identity: Identity,
    /// Digest of the frozen base's files.
    pub(crate) base: Option<Digest>,
    /// The catalogue.
    pub(crate) catalogue: Option<CatalogueDigests>,
    /// The settings. Those that may change are the first start's.
    pub(crate) config: Option<LearnerConfig>,
    /// The settings outside `[learner]` that decide what becomes of a task, and by digest what the files hold that they name, as the first
    /// actor told it that knows that.
    pub(crate) settings: DecidingSettings,
}

impl Beginning {
    /// The same, and what it does not tell as `now` has it: what later starts are compared with.
    pub(crate) fn completed_by(&self, now: &Self) -> Self {
        Self {
            identity: self.identity.clone(),
            base: self.base.or(now.base),
            catalogue: self.catalogue.clone().or_else(|| now.catalogue.clone()),
            config: self.config.clone().or_else(|| now.config.clone()),
            settings: now.settings.clone().and(self.settings.clone()),
        }
    }

    /// What `now` tells and this does not, in words.
    pub(crate) fn untold(&self, now: &Self) -> Vec<String> {
        let parts = [
            ("the base", self.base.is_none() && now.base.is_some()),
            (
                "the catalogue",
                self.catalogue.is_none() && now.catalogue.is_some(),
            ),
            ("[learner]", self.config.is_none() && now.config.is_some()),
        ];
        let parts = parts.into_iter().filter(|(_, untold)| *untold);
        let settings = now.settings.unknown_to(&self.settings);
        let mut untold: Vec<String> = parts.map(|(part, _)| part.to_owned()).collect();
        match self.settings.is_empty() {
            true if !settings.is_empty() => untold.push("the settings of other tables".to_owned()),
            _ => untold.extend(settings.keys().map(str::to_owned)),
        }
        untold
    }

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let json = |config| serde_json::to_string(config).expect("plain values have a JSON form");
        let message = pb::LedgerIdentity {
            run_id: self.identity.run.to_string(),
            run_seed: self.identity.run_seed,
            base: self.base.map(Into::into),
            catalogue: self.catalogue.as_ref().map(Into::into),
            config: self.config.as_ref().map(json).unwrap_or_default(),
            settings: self.settings.clone().into(),
        };
        (key(IDENTITY, &[]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is missing, out of range or no setting.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerIdentity = decode("ledger_identity", content)?;
        let config = match message.config.as_str() {
            "" => None,
            json => Some(
                serde_json::from_str(json).map_err(|e| InvalidMessage::new("ledger_identity.config", e))?,
            ),
        };
        Ok(Self {
            identity: Identity::read(content)?,
            base: message.base.map(Digest::try_from).transpose()?,
            catalogue: message.catalogue.map(TryInto::try_into).transpose()?,
            config,
            settings: proto::deciding_settings("ledger_identity.settings", message.settings)?,
        })
    }
}

#[cfg(test)]
impl Beginning {
    /// As an earlier version of the program recorded it.
    pub(crate) fn of_earlier_version(identity: Identity) -> Self {
        Self {
            identity,
            base: None,
            catalogue: None,
            config: None,
            settings: DecidingSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::catalogue;
    use common::RunId;

    #[test]
    fn what_is_stored_is_read_back_and_what_an_earlier_version_did_not_store_is_absent() {
        let identity = Identity {
            run: RunId::new("spring").unwrap(),
            run_seed: u64::MAX,
        };
        let earlier = Beginning::of_earlier_version(identity.clone());
        let now = Beginning {
            identity: identity.clone(),
            base: Some(store::digest(b"base")),
            catalogue: Some(CatalogueDigests::of(&catalogue(&[None, Some("lamp")]))),
            config: Some(LearnerConfig::default()),
            settings: DecidingSettings::of_table("actor", [("temperature", "1.0".to_owned())]),
        };
        for beginning in [earlier, now] {
            let (key, content) = beginning.stored();
            assert!(Identity::keys().contains(&key));
            assert_eq!(Beginning::read(&content).unwrap(), beginning);
            assert_eq!(Identity::read(&content).unwrap(), identity);
        }
    }

    #[test]
    fn what_was_not_recorded_is_completed_and_what_was_stays() {
        let earlier = Beginning::of_earlier_version(Identity {
            run: RunId::new("spring").unwrap(),
            run_seed: 7,
        });
        let setting = |key, value: &str| DecidingSettings::of_table("actor", [(key, value.to_owned())]);
        let now = Beginning {
            base: Some(store::digest(b"base")),
            catalogue: Some(CatalogueDigests::of(&catalogue(&[None; 3]))),
            config: Some(LearnerConfig::default()),
            settings: setting("top_p", "1.0"),
            ..earlier.clone()
        };
        let told = [
            "the base",
            "the catalogue",
            "[learner]",
            "the settings of other tables",
        ];
        assert_eq!(earlier.untold(&now), told);
        assert_eq!(earlier.completed_by(&now), now);
        let later = Beginning {
            base: None,
            settings: setting("top_p", "0.5").and(setting("nucleus", "1")),
            ..now.clone()
        };
        assert_eq!(now.untold(&later), ["actor.nucleus"]);
        let completed = now.completed_by(&later);
        assert_eq!(completed.base, now.base);
        assert_eq!(
            completed.settings,
            setting("top_p", "1.0").and(setting("nucleus", "1"))
        );
        assert!(completed.untold(&now).is_empty());
    }

    #[test]
    fn settings_that_are_none_are_refused_by_their_field_and_the_identity_is_read_nevertheless() {
        let message = pb::LedgerIdentity {
            run_id: "spring".into(),
            config: r#"{"verions": 5}"#.into(),
            ..pb::LedgerIdentity::default()
        };
        let content = message.encode_to_vec();
        let refusal = Beginning::read(&content).unwrap_err().to_string();
        assert!(
            refusal.contains("ledger_identity.config") && refusal.contains("verions"),
            "{refusal}"
        );
        assert_eq!(Identity::read(&content).unwrap().run.as_str(), "spring");
    }
}
