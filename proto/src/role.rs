//! Who takes part in a run, as certificates name them: the DNS name `<role>.<run>`.

use common::RunId;
use rustls::pki_types::DnsName;
use std::fmt;

/// What somebody may be to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// Leases tasks, trains and publishes.
    Learner,
    /// Scores candidate images.
    RewardServer,
    /// Samples, renders and submits; passes weights on to other actors.
    Actor,
    /// Looks on: a demo, `adwright status`.
    Observer,
    /// Asks how many actors there should be.
    Scaler,
    /// A person: may call what an observer and a scaler may, and no more. Nothing on the wire administers a run.
    Admin,
}

impl PeerRole {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Learner,
        Self::RewardServer,
        Self::Actor,
        Self::Observer,
        Self::Scaler,
        Self::Admin,
    ];

    /// The first label of the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::RewardServer => "reward-server",
            Self::Actor => "actor",
            Self::Observer => "observer",
            Self::Scaler => "scaler",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a run that no certificate can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "run id {run:?} cannot be in certificates, as {name} is no DNS name: expected 1 to 63 letters, digits, '_' and '-' between dots, no '-' at \
     the end of a part, and a last part that is no number, such as spring-7"
)]
pub struct NotCertifiable {
    run: String,
    name: String,
}

/// A role in a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName {
    /// Which role.
    pub role: PeerRole,
    /// In which run.
    pub run: RunId,
}

impl RoleName {
    /// The role that a certificate's name means; `None` for other names, such as those of hosts.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, run) = name.split_once('.')?;
        let role = PeerRole::ALL.into_iter().find(|role| role.name() == first)?;
        let run = RunId::new(run).ok()?;
        Some(Self { role, run })
    }

    /// Whether certificates can hold the names of a run's roles.
    ///
    /// # Errors
    /// [`NotCertifiable`] when those are no DNS names, as a run's name need not be part of one.
    pub fn check_certifiable(run: &RunId) -> Result<(), NotCertifiable> {
        let name = format!("{}.{run}", PeerRole::RewardServer);
        // With a dot at its end it may be asked for, and not be shown.
        match DnsName::try_from(name.as_str()) {
            Ok(_) if !name.ends_with('.') => Ok(()),
            _ => Err(NotCertifiable {
                run: run.to_string(),
                name,
            }),
        }
    }

    /// Several of them for people.
    pub(crate) fn list(names: &[Self]) -> String {
        if names.is_empty() {
            return "no role".into();
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_first_label_and_the_run_all_others() {
        let parsed = RoleName::parse("reward-server.spring.v2027").unwrap();
        assert_eq!(
            (parsed.role, parsed.run.to_string()),
            (PeerRole::RewardServer, "spring.v2027".into())
        );
        for role in PeerRole::ALL {
            let name = format!("{role}.demo");
            assert_eq!(RoleName::parse(&name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_of_hosts_and_wildcards_are_no_roles() {
        for name in [
            "adwright-learner.ads.svc",
            "*.demo",
            "Learner.demo",
            "learner",
            "learner.",
            "actor.a b",
        ] {
            assert_eq!(RoleName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_run_whose_name_ends_no_dns_name_is_told() {
        let checked = |run: &str| RoleName::check_certifiable(&RunId::new(run).unwrap());
        for run in ["demo", "Spring_2", "spring.v2", "2027-01-15", &"a".repeat(63)] {
            assert_eq!(checked(run), Ok(()), "{run}");
        }
        for run in ["20270115", "spring.2", "a..b", "a.", "a-", &"a".repeat(64)] {
            let told = checked(run).unwrap_err().to_string();
            let name = format!("reward-server.{run} is no DNS name: expected");
            assert!(told.contains(&name), "{told}");
        }
    }
}
