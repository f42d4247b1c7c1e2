//! `[tls]`: how the roles prove who they are.

use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[tls]`: certificates in files, of this process and of whom it believes. With all three, every connection between roles is
/// TLS 1.3 with certificates on both sides, whose DNS names say what their owner is: `learner.<run>`, `actor.<run>`,
/// `reward-server.<run>`, `observer.<run>`, `scaler.<run>` or `admin.<run>` (docs/security.md). Without any, connections are
/// plain text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsConfig {
    /// File of this process's certificate, and of those between it and the authority, in PEM form. Default empty.
    pub(crate) cert: String,
    /// File of its key, in PEM form. Default empty.
    pub(crate) key: String,
    /// File of the authorities whose certificates are believed, in PEM form. Default empty.
    pub(crate) ca: String,
    /// Seconds after which the files are looked at again; changed ones are taken for connections made from then on. 1 to 86400.
    /// Default 30: certificates are renewed hours before they end, and a look costs three small reads.
    pub(crate) reload_s: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
            reload_s: 30,
        }
    }
}

impl TlsConfig {
    /// Whether connections are secured.
    pub(crate) fn is_set(&self) -> bool {
        self.files().iter().any(|(_, file)| !file.is_empty())
    }

    /// The files with their keys.
    pub(crate) fn files(&self) -> [(&'static str, &String); 3] {
        [("cert", &self.cert), ("key", &self.key), ("ca", &self.ca)]
    }

    /// How often they are looked at.
    pub(crate) fn reload(&self) -> Duration {
        Duration::from_secs(self.reload_s)
    }

    pub(in crate::config) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        for (key, file) in self.files() {
            let wanted = "a file, as cert, key and ca belong together";
            check.require(!self.is_set() || !file.trim().is_empty(), key, file, wanted);
        }
        check.within("reload_s", self.reload_s, 1..=86_400, "");
        check.finish()
    }
}
