//! What a run was begun with: every later start of its learner must have the same.

use super::CatalogueDigests;
use super::record::{IDENTITY, Identity, Stored, decode, key};
use crate::config::LearnerConfig;
use common::{DecidingSettings, Digest};
use prost::Message as _;
use proto::{InvalidMessage, pb};

/// What a run was begun with, or is to go on with. What an earlier version of the program did not record is `None`, and no setting
/// of other tables.
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
    /// The settings outside `[learner]` that decide what becomes of a task.
    pub(crate) settings: DecidingSettings,
}

impl Beginning {
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
