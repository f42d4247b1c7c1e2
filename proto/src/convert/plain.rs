//! Versions, digests and tasks.

use super::{InvalidMessage, required};
use crate::pb;
use common::{Digest, LearnerEpoch, PolicyVersion, ProductId, ProductTask, TaskId};

/// The longest caption or instruction accepted, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 64 << 10;

impl From<PolicyVersion> for pb::PolicyVersion {
    fn from(version: PolicyVersion) -> Self {
        Self {
            epoch: version.epoch.0,
            number: version.number,
        }
    }
}

impl TryFrom<pb::PolicyVersion> for PolicyVersion {
    type Error = InvalidMessage;
    fn try_from(version: pb::PolicyVersion) -> Result<Self, InvalidMessage> {
        match version.epoch {
            0 => Err(InvalidMessage::new(
                "policy_version.epoch",
                "learner epochs start at 1",
            )),
            epoch => Ok(Self {
                epoch: LearnerEpoch(epoch),
                number: version.number,
            }),
        }
    }
}

impl From<Digest> for pb::Digest {
    fn from(digest: Digest) -> Self {
        Self {
            blake3: digest.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<pb::Digest> for Digest {
    type Error = InvalidMessage;
    fn try_from(digest: pb::Digest) -> Result<Self, InvalidMessage> {
        Digest::try_from(digest.blake3.as_slice()).map_err(|e| InvalidMessage::new("digest.blake3", e))
    }
}

impl From<&ProductTask> for pb::ProductTask {
    fn from(task: &ProductTask) -> Self {
        Self {
            task: task.id.0,
            product: task.product.to_string(),
            caption: task.caption.clone(),
            instruction: task.instruction.clone(),
            image: Some(task.image.into()),
        }
    }
}

impl TryFrom<pb::ProductTask> for ProductTask {
    type Error = InvalidMessage;
    fn try_from(task: pb::ProductTask) -> Result<Self, InvalidMessage> {
        if task.caption.len() > MAX_TEXT_BYTES || task.instruction.len() > MAX_TEXT_BYTES {
            return Err(InvalidMessage::new(
                "product_task",
                "caption and instruction may have at most 64 KiB",
            ));
        }
        Ok(Self {
            id: TaskId(task.task),
            product: ProductId::new(task.product)
                .map_err(|e| InvalidMessage::new("product_task.product", e))?,
            caption: task.caption,
            instruction: task.instruction,
            image: required("product_task.image", task.image)?.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_the_wire() {
        let task = ProductTask {
            id: TaskId(12),
            product: ProductId::new("sku 1").unwrap(),
            caption: "oak lamp".into(),
            instruction: "suggest: oak lamp".into(),
            image: Digest::from_bytes([7; 32]),
        };
        assert_eq!(ProductTask::try_from(pb::ProductTask::from(&task)).unwrap(), task);
    }

    #[test]
    fn version_zero_epoch_and_short_digests_are_refused() {
        assert!(PolicyVersion::try_from(pb::PolicyVersion { epoch: 0, number: 4 }).is_err());
        assert!(Digest::try_from(pb::Digest { blake3: vec![1; 31] }).is_err());
    }
}
