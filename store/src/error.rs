//! What can go wrong with bulk bytes.

use crate::Checksum;
use std::borrow::Cow;

/// An error of the store; each names the key and the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store.
    #[error("store url {url:?}: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The key is none.
    #[error("store key {key:?}: {reason}")]
    Key {
        /// What was given.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing is stored under the key.
    #[error("{key} is not in {url}")]
    NotFound {
        /// The key.
        key: String,
        /// The store.
        url: String,
    },
    /// The key holds something already, and is written once.
    #[error("{key} is in {url} already")]
    Exists {
        /// The key.
        key: String,
        /// The store.
        url: String,
    },
    /// The bytes are not those that were stored.
    #[error("{key} in {url} is damaged: its digest is {found}, expected {expected}")]
    Damaged {
        /// The key.
        key: String,
        /// The store.
        url: String,
        /// The digest asked for.
        expected: Checksum,
        /// The digest of the bytes found.
        found: Checksum,
    },
    /// The inventory of a directory is none.
    #[error("{key} in {url} is no inventory of files: {reason}")]
    Inventory {
        /// The inventory's key.
        key: String,
        /// The store.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The backend failed.
    #[error("cannot {action} {key} in {url}")]
    Backend {
        /// What was tried.
        action: &'static str,
        /// The key.
        key: String,
        /// The store.
        url: String,
        /// What the backend says.
        source: Box<object_store::Error>,
    },
    /// The backend wants other credentials, or there are none.
    #[error("cannot {action} {key} in {url}: access denied; {credentials}")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// The key.
        key: String,
        /// The store.
        url: String,
        /// Where the credentials were taken from, without them.
        credentials: Cow<'static, str>,
        /// What the backend says.
        source: Box<object_store::Error>,
    },
    /// A file of this machine could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process has opened the journal to write since: this one may not write any more.
    #[error("{key} in {url} has been taken over by a later writer")]
    Fenced {
        /// The journal's key.
        key: String,
        /// The store.
        url: String,
    },
    /// A journal failed.
    #[error("cannot {action} the journal {key} in {url}")]
    Journal {
        /// What was tried.
        action: &'static str,
        /// The journal's key.
        key: String,
        /// The store.
        url: String,
        /// What the engine says.
        source: Box<slatedb::Error>,
    },
}
