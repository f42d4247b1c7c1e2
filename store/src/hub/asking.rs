//! One request to a hub, and what its answer means.

use super::HubModel;
use crate::backend::{cryptography, encrypted, shown};
use crate::{StoreError, StoreSettings};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The longest pause between two tries, also when the hub asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The first pause; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Redirects that one request follows.
const REDIRECTS: usize = 5;

/// A hub's client. The token goes to the hub's own address and to no other that it redirects to.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    has_token: bool,
    settings: StoreSettings,
}

/// What came of one request.
pub(super) enum Failed {
    /// It is worth another try, after a pause if the hub asks for one.
    ForNow(StoreError, Option<Duration>),
    /// It will fail again.
    ForGood(StoreError),
}

/// How often a request was tried since something came of it.
pub(super) struct Tries {
    count: usize,
    since: Option<Instant>,
}

/// An answer that was none of those that help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Answered(String);

impl Client {
    /// # Errors
    /// [`StoreError::Url`] when the endpoint is no URL or not encrypted without permission, or the token is none.
    pub(super) fn new(
        endpoint: &str,
        token: Option<&str>,
        allowed: Option<&str>,
        settings: &StoreSettings,
    ) -> Result<Self, StoreError> {
        let fault = |url: String, reason: String| StoreError::Url { url, reason };
        let mut parsed = Url::parse(endpoint)
            .map_err(|error| fault("HF_ENDPOINT".into(), format!("it is no URL: {error}")))?;
        let told = shown(&parsed);
        encrypted(Some(endpoint), allowed, "HF_ENDPOINT", "HF_ALLOW_HTTP")
            .map_err(|reason| fault(told.clone(), reason))?;
        if parsed.password().is_some() || !parsed.username().is_empty() || parsed.query().is_some() {
            let reason = "credentials belong into HF_TOKEN, not into HF_ENDPOINT";
            return Err(fault(told, reason.into()));
        }
        // What is appended to it is appended behind its last part.
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| fault(told.clone(), "HF_TOKEN has characters that no token has".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        cryptography();
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("adwright/", env!("CARGO_PKG_VERSION")))
            .https_only(parsed.scheme() == "https")
            .redirect(redirect::Policy::limited(REDIRECTS))
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            // Of each read, not of the whole: a file of many gigabytes takes as long as it takes.
            .read_timeout(settings.request_timeout)
            .build()
            .map_err(|error| fault(told, format!("no client: {}", error.without_url())))?;
        Ok(Self {
            http,
            endpoint: parsed,
            has_token: token.is_some(),
            settings: *settings,
        })
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// A URL below the endpoint; each part is one part of its path, whatever is in it.
    pub(super) fn place<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Asks once. `what` is what errors call it.
    pub(super) async fn ask(
        &self,
        url: Url,
        offset: u64,
        model: &HubModel,
        what: &str,
    ) -> Result<Response, Failed> {
        let mut request = self.http.get(url);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.lost(error, model, what))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let (key, url) = (what.to_owned(), model.to_string());
        let answered = || backend(model, what, Answered(format!("the hub answered {status}")));
        Err(match status {
            StatusCode::NOT_FOUND => Failed::ForGood(StoreError::NotFound { key, url }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failed::ForGood(StoreError::Denied {
                action: "read",
                key,
                url,
                credentials: match self.has_token {
                    true => "credentials: HF_TOKEN; the model may be gated or private, or not exist".into(),
                    false => {
                        "credentials: HF_TOKEN is not set; the model may be gated or private, or not exist"
                            .into()
                    }
                },
                source: Box::new(generic(Answered(format!("the hub answered {status}")))),
            }),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Failed::ForNow(answered(), pause_asked_for(&answer))
            }
            status if status.is_server_error() => Failed::ForNow(answered(), pause_asked_for(&answer)),
            _ => Failed::ForGood(answered()),
        })
    }

    /// A connection that was lost or never made. Its URL is not told: a redirect's may be signed.
    pub(super) fn lost(&self, error: reqwest::Error, model: &HubModel, what: &str) -> Failed {
        let for_good = error.is_redirect() || error.is_builder();
        let error = backend(model, what, error.without_url());
        match for_good {
            true => Failed::ForGood(error),
            false => Failed::ForNow(error, None),
        }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure itself, when there is to be none.
    pub(super) async fn pause(&self, tries: &mut Tries, failed: Failed) -> Result<(), StoreError> {
        let (error, asked) = match failed {
            Failed::ForGood(error) => return Err(error),
            Failed::ForNow(error, asked) => (error, asked),
        };
        let since = *tries.since.get_or_insert_with(Instant::now);
        if tries.count >= self.settings.max_retries || since.elapsed() >= self.settings.retry_timeout {
            return Err(error);
        }
        let growing = FIRST_PAUSE.saturating_mul(1 << tries.count.min(16));
        tries.count += 1;
        let pause = asked.unwrap_or(growing).min(LONGEST_PAUSE);
        tracing::warn!(%error, tried = tries.count, ?pause, "the hub is asked again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Tries {
    pub(super) fn none() -> Self {
        Self {
            count: 0,
            since: None,
        }
    }
}

fn pause_asked_for(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error of the hub, about one file.
pub(super) fn backend(
    model: &HubModel,
    what: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Backend {
        action: "read",
        key: what.to_owned(),
        url: model.to_string(),
        source: Box::new(generic(source)),
    }
}

/// The same from words.
pub(super) fn said(model: &HubModel, what: &str, words: impl fmt::Display) -> StoreError {
    backend(model, what, Answered(words.to_string()))
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic {
        store: "hub",
        source: Box::new(source),
    }
}
