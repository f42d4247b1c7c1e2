//! From a URL to what keeps its bytes: a directory, memory, or a bucket of a cloud with the credentials of its usual chain.
//!
//! Credentials come from the environment and the machine, never from a URL: what a URL says ends up in logs and errors.

use crate::credentials::{self, Profile};
use crate::{StoreError, StoreSettings};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig, StaticCredentialProvider,
    local::LocalFileSystem, memory::InMemory, path::Path,
};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use url::Url;

/// What a URL may be, as errors say it.
pub(crate) const EXPECTED: &str = "expected file:///absolute/directory, s3://bucket/prefix, gs://bucket/prefix, \
     az://container/prefix or memory:///";

/// What keeps the bytes of a URL.
pub(crate) struct Backend {
    /// The client.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// One whose writes are synced to the disk before they count as done. What a bucket or memory acknowledges, it keeps as it can.
    pub(crate) synced: Arc<dyn ObjectStore>,
    /// The URL's place in it.
    pub(crate) root: Path,
    /// Where its credentials come from, for errors.
    pub(crate) credentials: Cow<'static, str>,
}

/// Connects to the place of a URL, without asking it anything.
///
/// # Errors
/// [`StoreError::Url`] naming the URL and what is wrong or missing.
pub(crate) fn connect(url: &Url, settings: &StoreSettings) -> Result<Backend, StoreError> {
    let fault = |reason: String| StoreError::Url {
        url: shown(url),
        reason,
    };
    let (scheme, root) = scheme(url).map_err(&fault)?;
    let built = |error: object_store::Error| fault(plainly(&error));
    let mut profile = None;
    let store: Arc<dyn ObjectStore> = match &scheme {
        ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
        ObjectStoreScheme::Local => {
            let directory = url.to_file_path().map_err(|()| fault(EXPECTED.into()))?;
            in_the_way(&directory).map_or(Ok(()), |found| Err(fault(found)))?;
            Arc::new(LocalFileSystem::new())
        }
        ObjectStoreScheme::AmazonS3 => {
            cryptography();
            let (builder, used) = amazon(url, settings).map_err(&fault)?;
            profile = used;
            Arc::new(builder.build().map_err(built)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            cryptography();
            let builder = google(url, settings).map_err(&fault)?;
            Arc::new(builder.build().map_err(built)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            cryptography();
            let builder = azure(url, settings).map_err(&fault)?;
            Arc::new(builder.build().map_err(built)?)
        }
        _ => return Err(fault(EXPECTED.into())),
    };
    let synced: Arc<dyn ObjectStore> = match &scheme {
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new().with_fsync(true)),
        _ => store.clone(),
    };
    let credentials = match profile {
        Some(place) => format!("credentials: {place}").into(),
        None => credentials::source(&scheme).into(),
    };
    Ok(Backend {
        store,
        synced,
        root,
        credentials,
    })
}

/// What is where a directory would be made: who only opens a store makes nothing.
fn in_the_way(directory: &std::path::Path) -> Option<String> {
    // Without the slash that a URL of a directory ends with: nothing is at `file/`.
    let directory: PathBuf = directory.components().collect();
    let there = directory.ancestors().find(|path| path.exists())?;
    let found = format!("{} is no directory", there.display());
    (!there.is_dir()).then_some(found)
}

/// What kind of store a URL names, and the place in it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn scheme(url: &Url) -> Result<(ObjectStoreScheme, Path), String> {
    if url.password().is_some() {
        return Err("credentials belong into the environment, not into a URL".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("nothing may follow the path (? or #)".into());
    }
    match ObjectStoreScheme::parse(url) {
        Ok((ObjectStoreScheme::Http, _)) | Err(_) => Err(EXPECTED.into()),
        Ok((ObjectStoreScheme::Local, _)) if url.to_file_path().is_err() => Err(EXPECTED.into()),
        Ok(parsed) => Ok(parsed),
    }
}

/// A URL without what may be a secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Only a URL without a host has no place for one.
        let _ = shown.set_password(Some("***"));
    }
    if shown.query().is_some() {
        shown.set_query(Some("***"));
    }
    shown.set_fragment(None);
    shown.to_string()
}

/// A client's builder, and where the profile stands that its keys are of, if they are of one.
fn amazon(url: &Url, settings: &StoreSettings) -> Result<(AmazonS3Builder, Option<String>), String> {
    let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
    for (key, value) in client_options(settings) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let allowed = builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    for (key, name) in [
        (AmazonS3ConfigKey::S3Endpoint, "AWS_ENDPOINT_URL_S3"),
        (AmazonS3ConfigKey::Endpoint, "AWS_ENDPOINT_URL"),
    ] {
        let endpoint = builder.get_config_value(&key);
        encrypted(endpoint.as_deref(), allowed.as_deref(), name, "AWS_ALLOW_HTTP")?;
    }
    let is_unsigned = builder
        .get_config_value(&AmazonS3ConfigKey::SkipSignature)
        .is_some_and(|value| is_yes(&value));
    let profile = match is_unsigned {
        true => Profile::default(),
        false => credentials::amazon_profile()?,
    };
    if let (Some(region), None) = (
        profile.region,
        builder.get_config_value(&AmazonS3ConfigKey::Region),
    ) {
        builder = builder.with_region(region);
    }
    let used = profile.keys.is_some().then_some(profile.place);
    if let Some(keys) = profile.keys {
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(keys)));
    }
    Ok((builder.with_retry(retries(settings)), used))
}

fn google(url: &Url, settings: &StoreSettings) -> Result<GoogleCloudStorageBuilder, String> {
    // The builder allows plain HTTP by itself; here it is asked for in words, as with the others.
    let allowed = credentials::variable("GOOGLE_ALLOW_HTTP").unwrap_or_else(|| "false".into());
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_url(url.as_str())
        .with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), &allowed);
    for (key, value) in client_options(settings) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let names = ("GOOGLE_BASE_URL", "GOOGLE_ALLOW_HTTP");
    encrypted(endpoint.as_deref(), Some(&allowed), names.0, names.1)?;
    Ok(builder.with_retry(retries(settings)))
}

fn azure(url: &Url, settings: &StoreSettings) -> Result<MicrosoftAzureBuilder, String> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
    for (key, value) in client_options(settings) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    let set = |key| builder.get_config_value(&key);
    let is_emulated = set(AzureConfigKey::UseEmulator).is_some_and(|value| is_yes(&value));
    let named_in_url = !url.username().is_empty();
    if set(AzureConfigKey::AccountName).is_none() && !is_emulated && !named_in_url && url.scheme() != "https"
    {
        let remedy = "set AZURE_STORAGE_ACCOUNT_NAME, or write \
                      abfss://container@account.dfs.core.windows.net/prefix";
        return Err(format!("it names no storage account: {remedy}"));
    }
    let allowed = set(AzureConfigKey::Client(ClientConfigKey::AllowHttp));
    let endpoint = set(AzureConfigKey::Endpoint);
    let names = ("AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP");
    encrypted(endpoint.as_deref(), allowed.as_deref(), names.0, names.1)?;
    Ok(builder.with_retry(retries(settings)))
}

/// Refuses an endpoint without TLS unless that was asked for.
pub(crate) fn encrypted(
    endpoint: Option<&str>,
    allowed: Option<&str>,
    name: &str,
    permission: &str,
) -> Result<(), String> {
    let Some(endpoint) = endpoint else {
        return Ok(());
    };
    let parsed = Url::parse(endpoint).map_err(|error| format!("{name} is no URL: {error}"))?;
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if allowed.is_some_and(is_yes) => Ok(()),
        "http" => Err(format!(
            "its endpoint {} ({name}) is not encrypted; set {permission}=true if that is meant",
            shown(&parsed)
        )),
        other => Err(format!("{name}: expected https://host, found {other}:")),
    }
}

/// As the builders read truth.
fn is_yes(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

fn client_options(settings: &StoreSettings) -> [(ClientConfigKey, String); 2] {
    let text = |time: std::time::Duration| format!("{}ms", time.as_millis());
    [
        (ClientConfigKey::ConnectTimeout, text(settings.connect_timeout)),
        (ClientConfigKey::Timeout, text(settings.request_timeout)),
    ]
}

fn retries(settings: &StoreSettings) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: settings.max_retries,
        retry_timeout: settings.retry_timeout,
    }
}

/// What an error of a client that could not be made says, without the library's words around it.
fn plainly(error: &object_store::Error) -> String {
    match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Chooses the process's one implementation of cryptography.
pub(crate) fn cryptography() {
    static ONCE: Once = Once::new();
    // Another part of the process may have chosen already; it is as good.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn an_endpoint_without_encryption_must_be_asked_for_in_words() {
        let ask =
            |endpoint, allowed| encrypted(Some(endpoint), allowed, "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP");
        assert_eq!(ask("https://minio.example:9000", None), Ok(()));
        assert_eq!(ask("http://127.0.0.1:9000", Some("true")), Ok(()));
        for allowed in [None, Some("false"), Some("")] {
            let refusal = ask("http://user:word@127.0.0.1:9000", allowed).unwrap_err();
            assert!(refusal.contains("AWS_ALLOW_HTTP=true"), "{refusal}");
            assert!(
                refusal.contains("127.0.0.1:9000") && !refusal.contains("word"),
                "{refusal}"
            );
        }
        assert!(
            ask("minio:9000", Some("true"))
                .unwrap_err()
                .contains("https://host")
        );
    }

    #[tokio::test]
    async fn a_directory_is_made_by_the_first_write_and_something_else_in_its_place_is_said_at_once() {
        let place = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("file://{}/{name}", place.path().display());
        let store = Store::open(&url("a/store")).unwrap();
        assert_eq!(store.list("").await.unwrap(), [""; 0]);
        assert!(!store.exists("x").await.unwrap());
        store.delete("x").await.unwrap();
        assert!(!place.path().join("a").exists());
        store.put("x/y", &b"1"[..]).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["x/y"]);
        std::fs::write(place.path().join("file"), "x").unwrap();
        for name in ["file", "file/", "file/below"] {
            let refusal = Store::open(&url(name)).unwrap_err().to_string();
            assert!(refusal.contains("file is no directory"), "{refusal}");
        }
    }

    #[test]
    fn what_may_be_a_secret_in_a_url_is_refused_and_not_repeated() {
        for url in [
            "s3://key:word@bucket/prefix",
            "az://container/prefix?sig=word",
            "gs://bucket/prefix#word",
            "word://?word",
            "s3:///?x=word",
        ] {
            let refusal = Store::open(url).unwrap_err();
            let told = format!("{refusal} {refusal:?}").replace("word://", "");
            assert!(!told.contains("word"), "{url}: {told}");
            assert!(!Store::is_url(url), "{url}");
        }
    }

    #[test]
    fn every_cloud_is_opened_without_asking_it_anything_and_shows_its_url_alone() {
        for url in [
            "s3://bucket/prefix",
            "s3a://bucket",
            "gs://bucket/prefix",
            "abfss://container@account.dfs.core.windows.net/prefix",
        ] {
            let store = Store::open(url).unwrap();
            assert_eq!(format!("{store:?}"), format!("Store {{ url: \"{url}\", .. }}"));
            assert!(Store::is_url(url));
        }
        let refusal = Store::open("az://container/prefix").unwrap_err().to_string();
        assert!(
            refusal.contains("AZURE_STORAGE_ACCOUNT_NAME") && refusal.contains("az://"),
            "{refusal}"
        );
    }
}
