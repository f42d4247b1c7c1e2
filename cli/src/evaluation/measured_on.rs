//! What the products are called that versions are measured on: test products only where they are kept out of training.

use data::Catalogue;

/// On which products of its catalogue a run is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeasuredOn {
    /// On those that are held out.
    TestProducts,
    /// On all, which it is trained on: none are held out.
    ItsProducts,
}

impl MeasuredOn {
    /// On which it is with a catalogue.
    pub(crate) fn of(catalogue: &dyn Catalogue) -> Self {
        match catalogue.split().has_held_out() {
            true => Self::TestProducts,
            false => Self::ItsProducts,
        }
    }

    /// The products in words, to stand behind "on".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::TestProducts => "test products",
            Self::ItsProducts => "its products",
        }
    }

    /// A title in which they stand for `{products}`.
    pub(crate) fn titled(self, title: &str) -> String {
        title.replace("{products}", self.words())
    }
}
