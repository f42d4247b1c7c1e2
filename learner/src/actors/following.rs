//! Who holds a stream of announcements open, by the name it calls under. Whether an actor's machine is gone shows here first.

use crate::control::ControlPlane;
use common::ActorId;
use std::sync::Arc;

/// A caller that follows the announcements, until it is dropped.
pub(crate) struct Following {
    control: Arc<ControlPlane>,
    caller: ActorId,
}

impl Following {
    /// Of a caller whose stream has opened; `None` for one without a name that an actor could have.
    pub(crate) fn begin(control: &Arc<ControlPlane>, caller: &str) -> Option<Self> {
        let caller = ActorId::new(caller).ok()?;
        *control.actors.following.entry(caller.clone()).or_default() += 1;
        Some(Self {
            control: control.clone(),
            caller,
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let following = &self.control.actors.following;
        if let Some(mut streams) = following.get_mut(&self.caller) {
            *streams -= 1;
        }
        following.remove_if(&self.caller, |_, streams| *streams == 0);
    }
}
