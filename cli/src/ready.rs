//! The one line a role writes to standard output once it serves, and how a parent process reads it.

use proto::PeerRole;
use serde::{Deserialize, Serialize};

/// The three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Leases tasks, trains and publishes.
    Learner,
    /// Scores candidate images.
    RewardServer,
    /// Samples, renders and submits.
    Actor,
}

impl Role {
    /// Its subcommand, and its name in logs and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::RewardServer => "reward-server",
            Self::Actor => "actor",
        }
    }

    /// What its certificate names it.
    pub(crate) fn peer(self) -> PeerRole {
        match self {
            Self::Learner => PeerRole::Learner,
            Self::RewardServer => PeerRole::RewardServer,
            Self::Actor => PeerRole::Actor,
        }
    }
}

impl From<Role> for &'static str {
    fn from(role: Role) -> Self {
        role.name()
    }
}

/// `{"event":"ready","role":"actor","endpoint":"http://127.0.0.1:41233","pid":123}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    event: Event,
    /// Which service is ready.
    pub(crate) role: Role,
    /// Where it listens, as a URL.
    pub(crate) endpoint: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Where people look at the run, as a URL; not there when nobody does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) dashboard: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Ready,
}

impl Ready {
    /// This process, serving `role` at `address`.
    pub(crate) fn this_process(role: Role, address: std::net::SocketAddr, scheme: &str) -> Self {
        Self {
            event: Event::Ready,
            role,
            endpoint: format!("{scheme}://{address}"),
            pid: std::process::id(),
            dashboard: None,
        }
    }

    /// The same with a dashboard.
    pub(crate) fn shown_at(self, dashboard: Option<String>) -> Self {
        Self { dashboard, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_documented_one() {
        let ready = Ready {
            event: Event::Ready,
            role: Role::RewardServer,
            endpoint: "http://127.0.0.1:41233".into(),
            pid: 123,
            dashboard: None,
        };
        let line =
            r#"{"event":"ready","role":"reward-server","endpoint":"http://127.0.0.1:41233","pid":123}"#;
        assert_eq!(serde_json::to_string(&ready).unwrap(), line);
        assert_eq!(serde_json::from_str::<Ready>(line).unwrap(), ready);
        let shown = ready.shown_at(Some("http://127.0.0.1:7403/".into()));
        let line = serde_json::to_string(&shown).unwrap();
        assert!(
            line.ends_with(r#""pid":123,"dashboard":"http://127.0.0.1:7403/"}"#),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Ready>(&line).unwrap(), shown);
    }

    #[test]
    fn another_event_is_not_taken_for_ready() {
        let line = r#"{"event":"progress","role":"actor","endpoint":"http://127.0.0.1:1","pid":1}"#;
        assert!(serde_json::from_str::<Ready>(line).is_err());
    }
}
