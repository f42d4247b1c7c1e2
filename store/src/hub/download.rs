//! The bytes of a hub's file: a connection that breaks off is taken up again where it was.

use super::HubModel;
use super::asking::{Client, Failed, Tries, said};
use crate::StoreError;
use crate::part::{Stream, Wanted};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::try_unfold;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use std::sync::Arc;

/// So many bytes make a connection that broke off after them a new one, whose tries are counted anew.
const PROGRESS: u64 = 1 << 20;

struct Download {
    client: Arc<Client>,
    model: HubModel,
    file: Wanted,
    /// Bytes that are there.
    at: u64,
    /// Bytes that were there when the tries were last counted anew.
    counted_at: u64,
    tries: Tries,
    answer: Option<Response>,
    /// Bytes that a server sends although they were not asked for.
    to_skip: u64,
}

/// The bytes of a file of a commit, from `offset` on.
pub(super) fn stream(client: &Arc<Client>, model: &HubModel, file: &Wanted, offset: u64) -> Stream {
    let download = Download {
        client: client.clone(),
        model: model.clone(),
        file: file.clone(),
        at: offset,
        counted_at: offset,
        tries: Tries::none(),
        answer: None,
        to_skip: 0,
    };
    try_unfold(download, |mut download| async move {
        Ok(download.next().await?.map(|bytes| (bytes, download)))
    })
    .boxed()
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if self.at >= self.file.bytes {
                return Ok(None);
            }
            match self.try_next().await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(failed) => {
                    self.answer = None;
                    if self.at >= self.counted_at + PROGRESS {
                        (self.counted_at, self.tries) = (self.at, Tries::none());
                    }
                    self.client.pause(&mut self.tries, failed).await?;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<Bytes, Failed> {
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => self.ask().await?,
        };
        let chunk = answer.chunk().await;
        let mut bytes = match chunk {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let short = format!("it ended after {} of {} bytes", self.at, self.file.bytes);
                return Err(Failed::ForNow(said(&self.model, &self.file.name, short), None));
            }
            Err(error) => return Err(self.client.lost(error, &self.model, &self.file.name)),
        };
        self.answer = Some(answer);
        let skipped = self.to_skip.min(bytes.len() as u64);
        self.to_skip -= skipped;
        let bytes = bytes.split_off(skipped as usize);
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    async fn ask(&mut self) -> Result<Response, Failed> {
        let (model, name) = (&self.model, &self.file.name);
        let mut parts: Vec<&str> = model.repository().split('/').collect();
        parts.extend(["resolve", model.revision()]);
        parts.extend(name.split('/'));
        let answer = self
            .client
            .ask(self.client.place(parts), self.at, model, name)
            .await?;
        let begins = match answer.status() {
            StatusCode::PARTIAL_CONTENT => beginning(&answer),
            _ => Some(0),
        };
        match begins.and_then(|begins| self.at.checked_sub(begins)) {
            Some(to_skip) => self.to_skip = to_skip,
            None => {
                let words = format!("it was asked for bytes from {} on and sent others", self.at);
                return Err(Failed::ForGood(said(model, name, words)));
            }
        }
        Ok(answer)
    }
}

/// Where the bytes of `Content-Range: bytes 5-9/10` begin.
fn beginning(answer: &Response) -> Option<u64> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
