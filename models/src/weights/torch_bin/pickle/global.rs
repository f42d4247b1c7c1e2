//! The classes and functions that a pickle may name. Each is known by its two names alone; nothing is imported, and
//! what is not listed here is refused.

use super::Dtype;

/// What stands beside a state dict in the checkpoints that Lightning wrote, module and name: the class that is
/// the key of a callback's state, and how numpy's numbers are pickled. They are read as names; what a call of one
/// would make is not made.
const INERT: [(&str, &str); 5] = [
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    ("numpy.core.multiarray", "scalar"),
    // The same since numpy 2.
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
];

/// A class or function of the list.
#[derive(Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    /// One of [`INERT`], and whatever is made of it: an error wherever a value is looked at.
    Inert,
}

impl Global {
    /// What a module calls by this name; none where it is not on the list.
    pub(super) fn of(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", class) => Dtype::of_storage(class).map(Self::Storage),
            global => INERT.contains(&global).then_some(Self::Inert),
        }
    }
}
