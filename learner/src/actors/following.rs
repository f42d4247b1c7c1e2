//! Who holds a stream of announcements open, by the name it calls under. Whether an actor's machine is gone shows here first.

use super::ActorRegistry;
use crate::control::ControlPlane;
use common::ActorId;
use std::sync::Arc;

/// A caller that follows the announcements, until it is dropped.
pub(crate) struct Following {
    control: Arc<ControlPlane>,
    caller: ActorId,
    evaluates: bool,
}

/// What is known of callers that follow the announcements under one name.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// Streams that are open.
    streams: usize,
    /// How many of them are evaluators'.
    evaluating: usize,
}

impl Following {
    /// Of a caller whose stream has opened, and whether it is an evaluator; `None` for one without a name that an actor could have.
    pub(crate) fn begin(control: &Arc<ControlPlane>, caller: &str, evaluates: bool) -> Option<Self> {
        let caller = ActorId::new(caller).ok()?;
        let mut follower = control.actors.following.entry(caller.clone()).or_default();
        follower.streams += 1;
        follower.evaluating += usize::from(evaluates);
        drop(follower);
        Some(Self {
            control: control.clone(),
            caller,
            evaluates,
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let following = &self.control.actors.following;
        if let Some(mut follower) = following.get_mut(&self.caller) {
            follower.streams -= 1;
            follower.evaluating -= usize::from(self.evaluates);
        }
        following.remove_if(&self.caller, |_, follower| follower.streams == 0);
    }
}

impl ActorRegistry {
    /// Whether an evaluator follows the announcements.
    pub(crate) fn evaluator_follows(&self) -> bool {
        self.following.iter().any(|follower| follower.evaluating > 0)
    }
}
