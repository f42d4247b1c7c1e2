//! For tests that push strangers' bytes in: whether the reward-server takes a request in. Each is what the service does with the request
//! before it looks at its model.

use crate::service::check;
use proto::{Caller, pb};

/// Groups to score.
pub fn score_groups(m: pb::ScoreGroupsRequest) -> bool {
    Caller::try_from(m.header).is_ok() && check(&m.groups).is_ok()
}

/// A question for the model.
pub fn get_reward_model(m: pb::GetRewardModelRequest) -> bool {
    Caller::try_from(m.header).is_ok()
}

/// A question for the server's status.
pub fn get_server_status(m: pb::GetServerStatusRequest) -> bool {
    Caller::try_from(m.header).is_ok()
}
