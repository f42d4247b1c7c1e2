//! What can be wrong with a checkpoint. No message names the file: the caller knows its path.

/// An error of a PyTorch checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The file cannot be opened or read.
    #[error("cannot read the checkpoint: {0}")]
    Io(#[from] std::io::Error),
    /// The file is of a format before the zip container.
    #[error(
        "the format of torch before 1.6, expected its zip format: load and torch.save it in a newer torch"
    )]
    OldFormat,
    /// The file is no whole zip file, or not one as `torch.save` writes them.
    #[error("no whole zip file of torch.save: {0}")]
    Zip(String),
    /// The pickle has an opcode that no state dict needs.
    #[error("data.pkl, byte {offset}: opcode {opcode:#04x} is not allowed, expected those of a state dict")]
    Opcode {
        /// Where in `data.pkl` it stands.
        offset: usize,
        /// The opcode.
        opcode: u8,
    },
    /// The pickle names a class or function that no state dict needs. Nothing was imported or called.
    #[error("data.pkl, byte {offset}: global {global:?} is not allowed, expected those of a state dict")]
    Global {
        /// Where in `data.pkl` its opcode stands.
        offset: usize,
        /// Module and name.
        global: String,
    },
    /// The pickle is malformed or too large, or its value is no state dict.
    #[error("data.pkl, byte {offset}: {reason}")]
    Pickle {
        /// Where in `data.pkl` the opcode at fault stands.
        offset: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A value of the state dict is no tensor, or one that its storage cannot hold.
    #[error("key {key:?}: {reason}")]
    Key {
        /// The key, cut to a readable length.
        key: String,
        /// What is wrong with its value and what would be right.
        reason: String,
    },
    /// The checkpoint has no tensor of that name.
    #[error("tensor {name:?} is not in the checkpoint")]
    Missing {
        /// The name asked for.
        name: String,
    },
}

impl TorchError {
    pub(super) fn zip(reason: impl Into<String>) -> Self {
        Self::Zip(reason.into())
    }

    pub(super) fn key(key: &str, reason: impl Into<String>) -> Self {
        let (key, reason) = (key.chars().take(200).collect(), reason.into());
        Self::Key { key, reason }
    }
}
