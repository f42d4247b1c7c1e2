//! `[endpoints]`: who listens and dials where, and what an address may be.

use common::address::{is_host_and_port, is_this_machine};
use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

/// `[endpoints]`: who listens and dials where. The defaults let the roles find each other on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EndpointsConfig {
    /// Address the learner listens on (`--listen`); port 0 takes a free one. Default `127.0.0.1:7400`: loopback, where nothing
    /// needs to be proven.
    pub(crate) learner_listen: String,
    /// Address the reward-server listens on (`--listen`). Default `127.0.0.1:7401`.
    pub(crate) reward_listen: String,
    /// Address an actor answers health checks on (`--listen`). Default `127.0.0.1:0`: any free port, as a machine has several.
    pub(crate) actor_listen: String,
    /// Where actors find the learner (`--learner`). Default `http://127.0.0.1:7400`, its default address.
    pub(crate) learner: String,
    /// Where actors find the reward-server (`--reward`). Default `http://127.0.0.1:7401`, its default address.
    pub(crate) reward: String,
    /// Where actors find the image service, with `actor.image_generator = "remote"`. Default `http://127.0.0.1:7402`, the address of the
    /// example in docs/image_service.
    pub(crate) images: String,
    /// Whether the roles answer callers from other machines although nothing is encrypted and nobody proves who they are: whoever
    /// reaches their addresses reads and steers the run. Default false: only this machine.
    pub(crate) insecure_plaintext_network: bool,
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            learner_listen: "127.0.0.1:7400".into(),
            reward_listen: "127.0.0.1:7401".into(),
            actor_listen: "127.0.0.1:0".into(),
            learner: "http://127.0.0.1:7400".into(),
            reward: "http://127.0.0.1:7401".into(),
            images: "http://127.0.0.1:7402".into(),
            insecure_plaintext_network: false,
        }
    }
}

impl EndpointsConfig {
    /// The addresses that are listened on, with their keys.
    fn listens(&self) -> [(&'static str, &String); 3] {
        [
            ("learner_listen", &self.learner_listen),
            ("reward_listen", &self.reward_listen),
            ("actor_listen", &self.actor_listen),
        ]
    }

    /// What does not go with whether connections are `secured`: each key with its value and what would be right.
    pub(in crate::config) fn disagreements(
        &self,
        secured: bool,
    ) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        let unset = Self::default();
        let dialled = [
            ("learner", &self.learner, unset.learner),
            ("reward", &self.reward, unset.reward),
            ("images", &self.images, unset.images),
        ];
        // One that nobody set may be one that this role does not dial.
        for (key, url, _) in dialled.into_iter().filter(|(_, url, unset)| *url != unset) {
            if let Some(wanted) = self.wrong_url(url, secured) {
                found.push((key, url.clone(), wanted));
            }
        }
        let open = !secured && !self.insecure_plaintext_network;
        for (key, address) in self.listens().into_iter().filter(|_| open) {
            // A name is whatever it is looked up to be, such as `0`, which is every address that there is.
            if is_host_and_port(address) && !is_this_machine(address) {
                let wanted = "an address of this machine alone, or [tls], or endpoints.insecure_plaintext_network = true";
                found.push((key, address.clone(), wanted));
            }
        }
        if secured && self.insecure_plaintext_network {
            let wanted = "false where [tls] is set";
            found.push(("insecure_plaintext_network", "true".into(), wanted));
        }
        found
    }

    fn wrong_url(&self, url: &str, secured: bool) -> Option<&'static str> {
        let uri = url.parse::<Uri>().ok()?;
        match (uri.scheme_str()?, secured) {
            ("https", false) => Some("http://..., or certificates in [tls]"),
            ("http", true) => Some("https://..., as [tls] is set"),
            ("http", false) if !self.insecure_plaintext_network && !is_this_machine(uri.host()?) => {
                Some("https:// with [tls], or endpoints.insecure_plaintext_network = true")
            }
            _ => None,
        }
    }

    pub(in crate::config) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        for (key, text) in self.listens() {
            check.require(
                is_host_and_port(text),
                key,
                text,
                "HOST:PORT, such as 127.0.0.1:7400 or localhost:0",
            );
        }
        for (key, text) in [
            ("learner", &self.learner),
            ("reward", &self.reward),
            ("images", &self.images),
        ] {
            let wanted = "a URL without name or password, such as http://127.0.0.1:7400";
            check.require(is_http_url(text), key, text, wanted);
        }
        check.finish()
    }
}

fn is_http_url(text: &str) -> bool {
    let parsed = text.parse::<Uri>().ok();
    let is_host = |uri: &Uri| {
        uri.authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
    };
    let known = |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https")) && is_host(&uri);
    parsed.is_some_and(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that do not go with whether connections are `secured`, where this is listened on.
    fn wrong(listen: &str, secured: bool, insecure: bool) -> Vec<&'static str> {
        let endpoints = EndpointsConfig {
            learner_listen: listen.into(),
            insecure_plaintext_network: insecure,
            ..EndpointsConfig::default()
        };
        let found = endpoints.disagreements(secured);
        found.into_iter().map(|(key, ..)| key).collect()
    }

    #[test]
    fn in_plain_text_nobody_listens_beyond_this_machine_under_whatever_name() {
        for here in ["127.0.0.1:7400", "[::1]:0", "localhost:7400"] {
            assert!(wrong(here, false, false).is_empty(), "{here}");
        }
        // The system takes the last ones for every address and for 127.0.0.1.
        for beyond in [
            "0.0.0.0:7400",
            "[::]:0",
            "10.0.0.7:1",
            "learner:7400",
            "0:7400",
            "127.1:7400",
        ] {
            assert_eq!(wrong(beyond, false, false), ["learner_listen"], "{beyond}");
            assert!(wrong(beyond, true, false).is_empty() && wrong(beyond, false, true).is_empty());
        }
    }
}
