//! Whether a peer is there, as everybody who calls it knows together.

use std::sync::Arc;
use tokio::sync::watch;

/// Whether a peer is missed: an attempt has found nobody who serves since the last answer. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Presence(Arc<watch::Sender<bool>>);

impl Default for Presence {
    /// Nobody has missed it yet.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Presence {
    /// It has answered, be it with a refusal.
    pub(crate) fn answered(&self) {
        self.set_missed(false);
    }

    /// An attempt has found nobody who serves.
    pub(crate) fn missed(&self) {
        self.set_missed(true);
    }

    /// Whether it is missed now.
    pub(crate) fn is_missed(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is.
    pub(crate) async fn until_missed(&self) {
        // This holds the sender, so there always is one.
        let mut told = self.0.subscribe();
        let _still = told.wait_for(|missed| *missed).await;
    }

    fn set_missed(&self, missed: bool) {
        self.0
            .send_if_modified(|before| std::mem::replace(before, missed) != missed);
    }
}
