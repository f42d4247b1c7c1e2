//! What services say of themselves: a reward-server of its model and of what it has done, an image service of its generator.

use super::{InvalidMessage, required};
use crate::pb;
use crate::told::{one_line, said};
use common::Digest;

/// The most descriptions of one request to an image service: the largest group.
pub const MAX_DESCRIPTIONS: usize = 64;

/// The longest name of a model's form or of an image generator, in characters.
const MAX_NAME: usize = 200;

/// The model that a reward-server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Which.
    pub digest: Digest,
    /// Its form, for people.
    pub form: String,
    /// Whether every group goes through it by itself, as far as the server says.
    pub scores_alone: bool,
}

/// What a reward-server has done. Only what somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardServerStatus {
    /// The model that requests are given to.
    pub model: ServedModel,
    /// Groups that wait for their scores.
    pub groups_waiting: u64,
    /// Groups that the model was asked about.
    pub groups_computed: u64,
    /// Groups whose scores were remembered.
    pub cache_hits: u64,
    /// Requests that were turned away.
    pub requests_shed: u64,
    /// Why the newest content of the model's directory is not served.
    pub reload_failure: Option<String>,
}

/// The image generator behind an image service. Nothing that a service says of it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageGenerator {
    /// Its name, for people.
    pub name: String,
    /// The most descriptions that it is given at once, 1 to [`MAX_DESCRIPTIONS`].
    pub at_once: usize,
}

impl TryFrom<pb::RewardModel> for ServedModel {
    type Error = InvalidMessage;

    fn try_from(message: pb::RewardModel) -> Result<Self, InvalidMessage> {
        Ok(Self {
            digest: required("reward_model.digest", message.digest)?.try_into()?,
            form: name(&message.form),
            scores_alone: message.scores_alone,
        })
    }
}

impl TryFrom<pb::RewardServerStatus> for RewardServerStatus {
    type Error = InvalidMessage;

    fn try_from(message: pb::RewardServerStatus) -> Result<Self, InvalidMessage> {
        Ok(Self {
            model: required("reward_server_status.reward_model", message.reward_model)?.try_into()?,
            groups_waiting: message.groups_waiting,
            groups_computed: message.groups_computed,
            cache_hits: message.cache_hits,
            requests_shed: message.requests_shed,
            reload_failure: said(&message.reload_failure),
        })
    }
}

impl From<pb::ImageGenerator> for ImageGenerator {
    fn from(message: pb::ImageGenerator) -> Self {
        let at_once = match message.max_descriptions as usize {
            0 => MAX_DESCRIPTIONS,
            most => most.min(MAX_DESCRIPTIONS),
        };
        Self {
            name: name(&message.name),
            at_once,
        }
    }
}

fn name(text: &str) -> String {
    one_line(text).chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(form: &str) -> pb::RewardModel {
        pb::RewardModel {
            digest: Some(Digest::from_bytes([4; 32]).into()),
            form: form.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_model_has_a_digest_and_a_form_that_can_be_shown() {
        let served = ServedModel::try_from(model("\u{1b}[31msiamese\n")).unwrap();
        assert_eq!(
            (served.digest, served.form.as_str()),
            (Digest::from_bytes([4; 32]), " [31msiamese ")
        );
        let long = ServedModel::try_from(model(&"é".repeat(1 << 20))).unwrap();
        assert_eq!(long.form.chars().count(), MAX_NAME);
        for digest in [None, Some(pb::Digest { blake3: vec![4; 31] })] {
            let unknown = pb::RewardModel {
                digest,
                ..model("siamese")
            };
            assert!(ServedModel::try_from(unknown).is_err());
        }
    }

    #[test]
    fn a_reward_servers_status_names_its_model_and_says_on_one_line_what_it_does_not_serve() {
        let message = pb::RewardServerStatus {
            reward_model: Some(model("siamese")),
            groups_computed: u64::MAX,
            reload_failure: "model.safetensors:\n\u{9b}2Jis cut short".into(),
            ..Default::default()
        };
        let status = RewardServerStatus::try_from(message.clone()).unwrap();
        assert_eq!(status.groups_computed, u64::MAX);
        assert_eq!(
            status.reload_failure.unwrap(),
            "model.safetensors:  2Jis cut short"
        );
        let nameless = pb::RewardServerStatus {
            reward_model: None,
            ..message
        };
        let refusal = RewardServerStatus::try_from(nameless).unwrap_err();
        assert_eq!(refusal.field, "reward_server_status.reward_model");
    }

    #[test]
    fn an_image_generator_is_given_as_much_at_once_as_it_takes_and_a_group_has() {
        for (says, at_once) in [(0, 64), (1, 1), (64, 64), (65, 64), (u32::MAX, 64)] {
            let message = pb::ImageGenerator {
                name: "pain\u{1b}ter".into(),
                max_descriptions: says,
            };
            let generator = ImageGenerator::from(message);
            assert_eq!(
                (generator.name.as_str(), generator.at_once),
                ("pain ter", at_once)
            );
        }
    }
}
