//! The table that says where a run's bytes go.

use super::is_location;
use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::StoreSettings;

/// `[store]`: where product and candidate images, the ledger and the checkpoints go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    /// A directory, `file:///absolute/directory`, or a prefix in a bucket: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` (docs/stores.md). Learner and actors must name the same one. Default `out/store`.
    pub(crate) url: String,
    /// Longest wait for a connection to a bucket's server, in seconds, 0.1 to 600. Default 5, object_store's.
    pub(crate) connect_timeout_s: f64,
    /// Longest time of one request to it, its bytes included, in seconds, 1 to 3600. Default 90: a part of 8 MiB at a megabit
    /// a second.
    pub(crate) request_timeout_s: f64,
    /// How often one request is tried again, with growing pauses, after a lost connection, a time-out, or an answer of 429
    /// or 5xx. 0 to 100. Default 10, object_store's.
    pub(crate) max_retries: usize,
    /// Seconds after the first try from which on a request is not tried again, 0 to 280: a request's signature is valid for
    /// five minutes. Default 180, object_store's.
    pub(crate) retry_timeout_s: f64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let settings = StoreSettings::default();
        Self {
            url: "out/store".into(),
            connect_timeout_s: settings.connect_timeout.as_secs_f64(),
            request_timeout_s: settings.request_timeout.as_secs_f64(),
            max_retries: settings.max_retries,
            retry_timeout_s: settings.retry_timeout.as_secs_f64(),
        }
    }
}

impl StoreConfig {
    /// Time-outs and retries.
    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            connect_timeout: Duration::from_secs_f64(self.connect_timeout_s),
            request_timeout: Duration::from_secs_f64(self.request_timeout_s),
            max_retries: self.max_retries,
            retry_timeout: Duration::from_secs_f64(self.retry_timeout_s),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let wanted = "a directory, file:///absolute/directory, s3://bucket/prefix, gs://bucket/prefix or \
                      az://container/prefix, which learner and actors share";
        check.require(is_location(&self.url), "url", &self.url, wanted);
        check.within("connect_timeout_s", self.connect_timeout_s, 0.1..=600.0, "");
        check.within("request_timeout_s", self.request_timeout_s, 1.0..=3600.0, "");
        check.within("max_retries", self.max_retries, 0..=100, "");
        check.within("retry_timeout_s", self.retry_timeout_s, 0.0..=280.0, "");
        check.finish()
    }
}
