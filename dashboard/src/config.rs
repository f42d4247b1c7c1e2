//! The table `[dashboard]`. Whether the token is a good one is said where its file is read (`access.rs`).

use common::address::{is_host_and_port, is_this_machine};
use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[dashboard]`: whether the learner shows its run to people, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardConfig {
    /// Address the learner serves its dashboard on (`--dashboard`), such as `127.0.0.1:7403`; port 0 takes a free one. Default
    /// empty: there is no dashboard, because creatives are confidential.
    pub listen: String,
    /// A file whose first line is the token that a caller must know: at least 16 printable characters without spaces. Needed unless
    /// `listen` is this machine's loopback; there it is asked for too when it is given. Default empty.
    pub token_file: String,
}

impl DashboardConfig {
    /// Whether there is to be a dashboard.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty()
    }

    /// Whether only this machine reaches it.
    pub(crate) fn is_loopback(&self) -> bool {
        is_this_machine(&self.listen)
    }

    /// Checks the table.
    ///
    /// # Errors
    /// [`InvalidConfig`] with every mistake.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        check.require(
            !self.is_on() || is_host_and_port(&self.listen),
            "listen",
            &self.listen,
            "HOST:PORT, such as 127.0.0.1:7403, or nothing for no dashboard",
        );
        check.require(
            !self.is_on() || self.is_loopback() || !self.token_file.is_empty(),
            "token_file",
            &self.token_file,
            "a file with a token of at least 16 characters: other machines reach dashboard.listen, and creatives are confidential",
        );
        check.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(listen: &str, token_file: &str) -> String {
        let config = DashboardConfig {
            listen: listen.into(),
            token_file: token_file.into(),
        };
        config
            .validate()
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn other_machines_are_let_near_it_only_with_a_token() {
        for listen in ["", "127.0.0.1:0", "[::1]:7403", "localhost:7403"] {
            assert_eq!(problems(listen, ""), "");
        }
        for listen in ["0.0.0.0:7403", "10.1.2.3:7403", "[::]:0", "learner:7403"] {
            assert!(problems(listen, "").contains("token_file"), "{listen}");
            assert_eq!(problems(listen, "token"), "");
        }
        for listen in ["7403", "127.0.0.1", "http://127.0.0.1:1", "127.0.0.1:70000"] {
            assert!(problems(listen, "token").contains("listen"), "{listen}");
        }
    }
}
