//! What a hub says of a model: the commit of a revision, and the files of a commit.

use super::HubModel;
use super::asking::{Client, Failed, Tries};
use super::name::is_commit;
use crate::StoreError;
use crate::checksum::{Checksum, from_hex};
use crate::inventory::{INVENTORY_BYTES, check};
use crate::part::Wanted;
use reqwest::Response;
use reqwest::header::LINK;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use url::Url;

/// Pages of a tree that are read; huggingface.co puts a thousand files on one.
const PAGES: usize = 20;

/// The most files of a commit.
const FILES: usize = 20_000;

/// The longest part of an answer that is read, in bytes.
const ANSWER_BYTES: usize = INVENTORY_BYTES as usize;

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

/// An entry of a tree; a hub says more of each.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    /// The git blob; of a large file that of its pointer.
    #[serde(default)]
    oid: String,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    oid: String,
    size: u64,
}

/// A file as the cache keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    bytes: u64,
    checksum: String,
}

/// The commit that a revision stands for.
pub(super) async fn commit(client: &Client, model: &HubModel) -> Result<String, StoreError> {
    let what = format!("revision {}", model.revision());
    let mut parts = vec!["api", "models"];
    parts.extend(model.repository().split('/'));
    parts.extend(["revision", model.revision()]);
    let (answer, _) = read(client, client.place(parts), model, &what).await?;
    let revision: Revision =
        serde_json::from_slice(&answer).map_err(|error| unreadable(model, &what, error.to_string()))?;
    match is_commit(&revision.sha) {
        true => Ok(revision.sha),
        false => {
            let shown: String = revision.sha.chars().take(80).collect();
            let reason = format!("its commit is {shown:?}, expected 40 hex digits");
            Err(unreadable(model, &what, reason))
        }
    }
}

/// The files of a commit that `select` keeps, by name.
pub(super) async fn files(
    client: &Client,
    model: &HubModel,
    select: impl Fn(&[&str]) -> Vec<bool>,
) -> Result<Vec<Wanted>, StoreError> {
    const WHAT: &str = "its list of files";
    let mut parts = vec!["api", "models"];
    parts.extend(model.repository().split('/'));
    parts.extend(["tree", model.revision()]);
    let mut page = client.place(parts);
    page.set_query(Some("recursive=true"));
    let mut entries: Vec<Entry> = vec![];
    for number in 1.. {
        let (answer, next) = read(client, page, model, WHAT).await?;
        let more: Vec<Entry> =
            serde_json::from_slice(&answer).map_err(|error| unreadable(model, WHAT, error.to_string()))?;
        entries.extend(more.into_iter().filter(|entry| entry.kind == "file"));
        if entries.len() > FILES || (next.is_some() && number == PAGES) {
            let reason = format!("it has more than {FILES} files or {PAGES} pages");
            return Err(unreadable(model, WHAT, reason));
        }
        match next {
            Some(next) => page = next,
            None => break,
        }
    }
    let names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let kept = select(&names);
    let entries = entries.into_iter().zip(kept).filter(|(_, kept)| *kept);
    let mut files = BTreeMap::new();
    for (entry, _) in entries {
        let wanted = wanted(entry).map_err(|reason| unreadable(model, WHAT, reason))?;
        files.insert(wanted.name.clone(), wanted);
    }
    if files.is_empty() {
        return Err(unreadable(model, WHAT, "it has no file of a model".into()));
    }
    Ok(files.into_values().collect())
}

fn wanted(entry: Entry) -> Result<Wanted, String> {
    let name = entry.path;
    let (bytes, checksum) = match entry.lfs {
        Some(large) => (large.size, from_hex(&large.oid).map(Checksum::Sha256)),
        None => (entry.size, from_hex(&entry.oid).map(Checksum::GitBlob)),
    };
    check(&name, bytes)?;
    let checksum = checksum.ok_or_else(|| format!("{name} has no digest that can be read"))?;
    Ok(Wanted {
        name,
        bytes,
        checksum,
    })
}

/// An inventory as the cache keeps it: its digest names the entry.
pub(super) fn to_json(files: &[Wanted]) -> Vec<u8> {
    let kept = |file: &Wanted| {
        let (bytes, checksum) = (file.bytes, file.checksum.to_string());
        (file.name.clone(), Kept { bytes, checksum })
    };
    let files: BTreeMap<String, Kept> = files.iter().map(kept).collect();
    serde_json::to_vec_pretty(&files).expect("plain values have a JSON form")
}

/// What [`to_json`] wrote; `None` for anything else.
pub(super) fn from_json(json: &[u8]) -> Option<Vec<Wanted>> {
    let files: BTreeMap<String, Kept> = serde_json::from_slice(json).ok()?;
    let wanted = |(name, kept): (String, Kept)| {
        check(&name, kept.bytes).ok()?;
        let checksum = match kept.checksum.split_once(':')? {
            ("sha256", hex) => Checksum::Sha256(from_hex(hex)?),
            ("git-blob", hex) => Checksum::GitBlob(from_hex(hex)?),
            _ => return None,
        };
        let bytes = kept.bytes;
        Some(Wanted {
            name,
            bytes,
            checksum,
        })
    };
    files.into_iter().map(wanted).collect()
}

/// An answer's bytes, and the page that follows it.
async fn read(
    client: &Client,
    url: Url,
    model: &HubModel,
    what: &str,
) -> Result<(Vec<u8>, Option<Url>), StoreError> {
    let mut tries = Tries::none();
    loop {
        match read_once(client, url.clone(), model, what).await {
            Ok(read) => return Ok(read),
            Err(failed) => client.pause(&mut tries, failed).await?,
        }
    }
}

async fn read_once(
    client: &Client,
    url: Url,
    model: &HubModel,
    what: &str,
) -> Result<(Vec<u8>, Option<Url>), Failed> {
    let mut answer = client.ask(url, 0, model, what).await?;
    let for_good = |reason: String| Failed::ForGood(unreadable(model, what, reason));
    let next = match next_page(&answer) {
        Some(next) if next.origin() != client.endpoint().origin() => {
            return Err(for_good("its next page is at another address".into()));
        }
        next => next,
    };
    let mut bytes = vec![];
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER_BYTES => {
                return Err(for_good(format!("more than {ANSWER_BYTES} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok((bytes, next)),
            Err(error) => return Err(client.lost(error, model, what)),
        }
    }
}

/// The URL of `Link: <url>; rel="next"`.
fn next_page(answer: &Response) -> Option<Url> {
    let links = answer.headers().get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains(r#"rel="next""#))?;
    let url = next.trim().strip_prefix('<')?.split('>').next()?;
    answer.url().join(url).ok()
}

fn unreadable(model: &HubModel, what: &str, reason: String) -> StoreError {
    StoreError::Inventory {
        key: what.to_owned(),
        url: model.to_string(),
        reason,
    }
}
