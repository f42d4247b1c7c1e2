//! Catalogues: the products of a run and how the policy is asked about them.

mod caig;
mod division;

pub use caig::CaigCatalogue;
pub use division::FEWEST_DIVIDED;

use crate::{FilePlaces, Product, Split};

/// The products of a run.
pub trait Catalogue: Send + Sync {
    /// The name it is known by in reports.
    fn name(&self) -> &str;

    /// The products. Their ids are distinct.
    fn products(&self) -> &[Product];

    /// Which products are trained on and which are measured on.
    fn split(&self) -> Split;

    /// Where products stand in the file they come from, by their index; none where they are made.
    fn places(&self) -> Option<&FilePlaces> {
        None
    }

    /// Instructions that ask for a background description; each contains `{caption}` once.
    fn instructions(&self) -> &[String];
}
