//! `[telemetry]`: how a process is watched. Nothing here changes a result.

use crate::locations::is_url;
use common::address::is_host_and_port;
use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `[telemetry]`: metrics, health, logs, traces (docs/observability.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryConfig {
    /// Where a role serves `GET /metrics` and its health, in plain text: HOST:PORT, port 0 for a free one, which the log names;
    /// empty for nowhere. Flag `--metrics`. No creative and no text of a run is on it, but names of actors' states, digests and
    /// how well a run does are. Default empty: nobody listens unless asked to.
    pub(crate) metrics_listen: String,
    /// How long a starting role may make no progress (bytes of models that come, waiting for another role) before it is told to
    /// be not alive, in seconds. 1 to 86400. Default 600: the longest that reading a large model from a slow disk is silent.
    pub(crate) stall_s: f64,
    /// What log lines on standard error are: `text`, or `json`, one object a line. Default `text`.
    pub(crate) log_format: LogFormat,
    /// Where spans of samples are sent: a collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`; empty for
    /// nowhere. In plain text: a collector on the same machine or pod sends them on. Default empty.
    pub(crate) otlp: String,
    /// A directory in which the learner writes the metrics of steps and versions, and what evaluators report, for TensorBoard; empty
    /// for nowhere. Default empty.
    pub(crate) tensorboard: String,
}

/// What log lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            metrics_listen: String::new(),
            stall_s: 600.0,
            log_format: LogFormat::Text,
            otlp: String::new(),
            tensorboard: String::new(),
        }
    }
}

impl TelemetryConfig {
    /// How long a starting role may make no progress.
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs_f64(self.stall_s)
    }

    /// Where TensorBoard looks.
    pub(crate) fn tensorboard_dir(&self) -> Option<PathBuf> {
        (!self.tensorboard.is_empty()).then(|| PathBuf::from(&self.tensorboard))
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let (listen, otlp, tensorboard) = (&self.metrics_listen, &self.otlp, &self.tensorboard);
        check.require(
            listen.is_empty() || is_host_and_port(listen),
            "metrics_listen",
            listen,
            "empty, or HOST:PORT, such as 127.0.0.1:7409",
        );
        check.within("stall_s", self.stall_s, 1.0..=86_400.0, "");
        let wanted = "empty, or http://host:port of an OTLP collector, without name, password or path";
        check.require(otlp.is_empty() || is_collector(otlp), "otlp", otlp, wanted);
        check.require(
            !is_url(tensorboard),
            "tensorboard",
            tensorboard,
            "empty, or a directory of this machine",
        );
        check.finish()
    }
}

fn is_collector(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        url.scheme() == "http" && url.has_host() && plain && bare
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut TelemetryConfig)) -> Result<(), String> {
        let mut config = TelemetryConfig::default();
        change(&mut config);
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_collector_is_plain_http_without_a_password() {
        for good in ["", "http://collector:4317", "http://[::1]:4317"] {
            assert!(with(|config| config.otlp = good.into()).is_ok(), "{good}");
        }
        for bad in [
            "collector:4317",
            "https://c:4317",
            "http://c:4317/v1/traces",
            "http://c:4317?a=b",
        ] {
            let message = with(|config| config.otlp = bad.into()).unwrap_err();
            assert!(
                message.contains(bad) && message.contains("http://host:port"),
                "{message}"
            );
        }
        assert!(with(|config| config.otlp = "http://me:secret@c:4317".into()).is_err());
    }

    #[test]
    fn an_address_without_a_port_and_a_url_for_a_directory_are_refused() {
        assert!(with(|config| config.metrics_listen = "0.0.0.0:0".into()).is_ok());
        assert!(with(|config| config.metrics_listen = "localhost".into()).is_err());
        for url in ["s3://bucket/logs", "s3:/bucket/logs"] {
            assert!(with(|config| config.tensorboard = url.into()).is_err(), "{url}");
        }
    }
}
