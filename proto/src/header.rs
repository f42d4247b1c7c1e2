//! Who calls, in which run, knowing which epoch.

use crate::{InvalidMessage, PROTOCOL_VERSION, pb, required};
use common::{LearnerEpoch, RunId};

/// The longest caller name accepted, in bytes.
const MAX_CALLER_BYTES: usize = 128;

/// A checked request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who says they call; 1 to 128 bytes.
    pub id: String,
    /// The run the caller believes in; `None` in its first request.
    pub run: Option<RunId>,
    /// The highest learner epoch the caller knows; `None` when it knows none.
    pub epoch: Option<LearnerEpoch>,
}

/// Builds the header of a request.
pub fn header(run: Option<&RunId>, epoch: Option<LearnerEpoch>, caller: &str) -> pb::RequestHeader {
    pb::RequestHeader {
        protocol_version: PROTOCOL_VERSION,
        run_id: run.map(ToString::to_string).unwrap_or_default(),
        learner_epoch: epoch.map_or(0, |e| e.0),
        caller_id: caller.to_owned(),
    }
}

impl TryFrom<Option<pb::RequestHeader>> for Caller {
    type Error = InvalidMessage;

    fn try_from(header: Option<pb::RequestHeader>) -> Result<Self, InvalidMessage> {
        let header = required("header", header)?;
        if header.protocol_version != PROTOCOL_VERSION {
            let found = header.protocol_version;
            let reason = format!("the caller speaks protocol {found}, this server speaks {PROTOCOL_VERSION}");
            return Err(InvalidMessage::new("header.protocol_version", reason));
        }
        if header.caller_id.is_empty() || header.caller_id.len() > MAX_CALLER_BYTES {
            return Err(InvalidMessage::new(
                "header.caller_id",
                "it must have 1 to 128 bytes",
            ));
        }
        let run = match header.run_id.as_str() {
            "" => None,
            id => Some(RunId::new(id).map_err(|e| InvalidMessage::new("header.run_id", e))?),
        };
        let epoch = (header.learner_epoch > 0).then_some(LearnerEpoch(header.learner_epoch));
        Ok(Self {
            id: header.caller_id,
            run,
            epoch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let run = RunId::new("demo-7").unwrap();
        let caller = Caller::try_from(Some(header(Some(&run), Some(LearnerEpoch(3)), "actor-1"))).unwrap();
        assert_eq!(
            caller,
            Caller {
                id: "actor-1".into(),
                run: Some(run),
                epoch: Some(LearnerEpoch(3))
            }
        );
    }

    #[test]
    fn a_missing_header_and_a_foreign_protocol_are_named() {
        assert!(Caller::try_from(None).unwrap_err().to_string().contains("header"));
        let mut foreign = header(None, None, "actor-1");
        foreign.protocol_version = 9;
        assert!(
            Caller::try_from(Some(foreign))
                .unwrap_err()
                .to_string()
                .contains("protocol 9")
        );
        assert!(Caller::try_from(Some(header(None, None, ""))).is_err());
    }
}
