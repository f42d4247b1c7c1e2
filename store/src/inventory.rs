//! What a directory consists of: the names, lengths and digests of its files, as one JSON document.

use crate::part::Wanted;
use crate::{Store, StoreError};
use common::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// The key of a directory's inventory.
pub(crate) const INVENTORY: &str = "adwright-files.json";

/// The same bytes, written before the first file: a place that is being written belongs to one directory already.
pub(crate) const BEGUN: &str = "adwright-files.begun.json";

/// The form of an inventory that this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// The longest inventory that is read: some fifty thousand files.
pub(crate) const INVENTORY_BYTES: u64 = 8 << 20;

/// The longest file that is listed, in bytes: no real one is as long, and no sum of them overflows.
pub(crate) const FILE_BYTES: u64 = 1 << 44;

/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 512;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    format: u32,
    pub(crate) files: BTreeMap<String, Listed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

impl Inventory {
    pub(crate) fn new(files: BTreeMap<String, Listed>) -> Self {
        Self {
            format: FORMAT,
            files,
        }
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain values have a JSON form")
    }

    /// Of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let wanted = |(name, listed): (&String, &Listed)| Wanted {
            name: name.clone(),
            bytes: listed.bytes,
            checksum: listed.digest.into(),
        };
        self.files.iter().map(wanted).collect()
    }

    /// Reads an inventory that a stranger may have written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        let inventory: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if inventory.format != FORMAT {
            return Err(format!("format {}, expected {FORMAT}", inventory.format));
        }
        for (name, listed) in &inventory.files {
            check(name, listed.bytes)?;
        }
        Ok(inventory)
    }
}

/// Checks the name and the length of a file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(name: &str, bytes: u64) -> Result<(), String> {
    if !is_plain(name) {
        return Err(format!("{name:?} is no name of a file below its directory"));
    }
    if bytes > FILE_BYTES {
        return Err(format!("{name} has {bytes} bytes, expected at most {FILE_BYTES}"));
    }
    Ok(())
}

/// Whether a name leads to a file below its directory on every machine, and to nothing of ours.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| {
        let mut components = Path::new(part).components();
        let first = components.next();
        matches!(first, Some(Component::Normal(whole)) if whole == part) && components.next().is_none()
    };
    let is_ours = [INVENTORY, BEGUN].contains(&name) || name.ends_with(".part");
    !is_ours && name.len() <= NAME_BYTES && !name.contains(['\\', '\0', ':']) && name.split('/').all(is_part)
}

impl Store {
    /// The inventory of this place, and its bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Inventory`] when it is none, [`StoreError::Backend`].
    pub(crate) async fn inventory(&self) -> Result<(Inventory, bytes::Bytes), StoreError> {
        let no_inventory = |reason: String| StoreError::Inventory {
            key: INVENTORY.to_owned(),
            url: self.url.to_string(),
            reason,
        };
        if let Some(found) = self.find(INVENTORY).await?
            && found.size > INVENTORY_BYTES
        {
            let size = found.size;
            return Err(no_inventory(format!(
                "{size} bytes, expected at most {INVENTORY_BYTES}"
            )));
        }
        let json = self.get(INVENTORY).await?;
        let inventory = Inventory::read(&json).map_err(no_inventory)?;
        Ok((inventory, json))
    }
}
