//! Artifacts.

use super::{InvalidMessage, required};
use crate::pb;
use common::{Artifact, Digest, InvalidArtifact};

/// Bytes of one digest.
const DIGEST_BYTES: usize = 32;

/// The artifact that somebody fetches.
///
/// # Errors
/// [`InvalidMessage`] when the request names none.
pub fn fetched(digest: Option<pb::Digest>) -> Result<Digest, InvalidMessage> {
    required("fetch_artifact_request.digest", digest)?.try_into()
}

impl From<&Artifact> for pb::Artifact {
    fn from(artifact: &Artifact) -> Self {
        let digests = artifact.chunks().iter().flat_map(Digest::as_bytes);
        Self {
            chunk_digests: digests.copied().collect(),
            ..Self::named(artifact)
        }
    }
}

impl pb::Artifact {
    /// An artifact that is named only.
    #[must_use]
    pub fn named(artifact: &Artifact) -> Self {
        Self {
            name: artifact.name().to_owned(),
            bytes: artifact.bytes(),
            digest: Some(artifact.digest().into()),
            chunk_bytes: artifact.chunk_bytes(),
            chunk_digests: vec![],
        }
    }
}

impl TryFrom<pb::Artifact> for Artifact {
    type Error = InvalidMessage;

    fn try_from(message: pb::Artifact) -> Result<Self, InvalidMessage> {
        let digest = required("artifact.digest", message.digest)?.try_into()?;
        if !message.chunk_digests.len().is_multiple_of(DIGEST_BYTES) {
            let reason = format!("{} bytes are no digests of 32", message.chunk_digests.len());
            return Err(InvalidMessage::new("artifact.chunk_digests", reason));
        }
        let chunks = message
            .chunk_digests
            .chunks_exact(DIGEST_BYTES)
            .map(Digest::try_from);
        let chunks = chunks
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| InvalidMessage::new("artifact.chunk_digests", e))?;
        // A learner that gives no chunks gives no length of them either.
        let chunk_bytes = match message.chunk_bytes {
            0 => Artifact::CHUNK_BYTES,
            given => given,
        };
        Artifact::new(message.name, message.bytes, digest, chunk_bytes, chunks).map_err(|invalid| {
            let field = match invalid {
                InvalidArtifact::Name(_) => "artifact.name",
                InvalidArtifact::ChunkBytes(_) => "artifact.chunk_bytes",
                InvalidArtifact::Chunks { .. } => "artifact.chunk_digests",
            };
            InvalidMessage::new(field, invalid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact {
        let digest = |n| Digest::from_bytes([n; 32]);
        Artifact::new(
            "adapter.safetensors",
            9,
            digest(1),
            4,
            vec![digest(2), digest(3), digest(4)],
        )
        .unwrap()
    }

    #[test]
    fn an_artifact_survives_the_wire_whole_or_named_only() {
        let message = pb::Artifact::from(&artifact());
        assert_eq!(Artifact::try_from(message).unwrap(), artifact());
        let named = Artifact::try_from(pb::Artifact::named(&artifact())).unwrap();
        assert_eq!(
            (named.digest(), named.is_fetchable()),
            (artifact().digest(), false)
        );
    }

    #[test]
    fn each_field_that_is_wrong_is_named() {
        type Change = fn(&mut pb::Artifact);
        let cases: [(Change, &str); 5] = [
            (|m| m.name = "../x".into(), "artifact.name"),
            (|m| m.digest = None, "artifact.digest"),
            (|m| m.chunk_bytes = 1 << 40, "artifact.chunk_bytes"),
            (|m| m.chunk_digests.truncate(64), "artifact.chunk_digests"),
            (|m| m.chunk_digests.truncate(63), "artifact.chunk_digests"),
        ];
        for (change, field) in cases {
            let mut message = pb::Artifact::from(&artifact());
            change(&mut message);
            assert_eq!(Artifact::try_from(message).unwrap_err().field, field);
        }
    }
}
