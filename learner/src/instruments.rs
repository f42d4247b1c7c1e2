//! What a learner tells whoever watches its process: its pulse, and a page of numbers read from the run's own books when
//! somebody asks. Names, units and meaning are in docs/metrics.md; a test compares the two.

mod page;

use crate::control::ControlPlane;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::observe::{Page, Pulse, Registry};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A learner's instruments. Clones are the same ones; without anybody who reads them they cost nothing.
#[derive(Clone, Default)]
pub struct Instruments {
    /// Whether it is served, and that it comes along until it is.
    pub pulse: Pulse,
    control: Arc<OnceLock<Arc<ControlPlane>>>,
}

impl Instruments {
    /// Puts the page into `registry`. Before the run is open the page is empty.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// From now on the page is that of this run.
    pub(crate) fn watch(&self, control: &Arc<ControlPlane>) {
        // A second run would be another learner's.
        let _same = self.control.set(control.clone());
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Instruments").finish_non_exhaustive()
    }
}

impl Collector for Instruments {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.control.get() {
            Some(control) => page::write(&mut Page::from(encoder), control),
            None => Ok(()),
        }
    }
}
