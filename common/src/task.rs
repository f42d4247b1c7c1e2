//! One product to advertise.

use crate::{Digest, ProductId, TaskId};

/// A product task: what an actor needs to know to advertise one product once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductTask {
    /// Its position in the run's seeded order.
    pub id: TaskId,
    /// The product.
    pub product: ProductId,
    /// The seller's caption; may be empty.
    pub caption: String,
    /// The instruction put to the policy, caption filled in.
    pub instruction: String,
    /// The product's cut-out (PNG, RGBA) in the run's store.
    pub image: Digest,
}
