//! Where roles listen, and whether they can.

use super::Checks;
use crate::config::Config;
use crate::failure::Outcome;
use crate::ready::Role;
use anyhow::Context as _;
use std::net::TcpListener;

/// The roles that listen at an address, its key, the address, and the flag that names another one.
pub(crate) type Listens<'a> = (&'static [Role], &'static str, &'a str, &'static str);

const EVERY: [Role; 3] = [Role::Learner, Role::RewardServer, Role::Actor];

/// Every address of the configuration. People and monitoring may have none.
pub(crate) fn listens(config: &Config) -> [Listens<'_>; 5] {
    let endpoints = &config.endpoints;
    [
        (
            &[Role::Learner],
            "endpoints.learner_listen",
            &endpoints.learner_listen,
            "--listen",
        ),
        (
            &[Role::RewardServer],
            "endpoints.reward_listen",
            &endpoints.reward_listen,
            "--listen",
        ),
        (
            &[Role::Actor],
            "endpoints.actor_listen",
            &endpoints.actor_listen,
            "--listen",
        ),
        (
            &[Role::Learner],
            "dashboard.listen",
            &config.dashboard.listen,
            "--dashboard",
        ),
        (
            &EVERY,
            "telemetry.metrics_listen",
            &config.telemetry.metrics_listen,
            "--metrics",
        ),
    ]
}

/// Listens at an address for a moment: who holds what this returns holds the address.
///
/// # Errors
/// When it is taken or not this machine's; what is wrong names the flag by which another address is named.
pub(crate) fn listen(address: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}; name another address with {flag}"))
}

impl Checks {
    /// Whether a role could listen at all of its addresses at the same time. They are free again afterwards: whoever connects before a
    /// role can answer should be refused, and not be left waiting.
    pub(super) fn addresses(&mut self, role: Role) {
        let listens = listens(self.config()).map(|(roles, key, address, flag)| {
            let asked = roles.contains(&role) && !address.is_empty();
            asked.then(|| (key, address.to_owned(), flag))
        });
        let asked = listens.into_iter().flatten();
        let _held: Vec<_> = asked
            .map(|(key, address, flag)| self.look(key, |_| -> Outcome<_> { Ok(listen(&address, flag)?) }))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_named_with_its_flag_and_two_keys_cannot_have_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut config = Config::default();
        config.endpoints.learner_listen = address.clone();
        config.telemetry.metrics_listen = "127.0.0.1:0".into();
        let mut checks = Checks::on(config.clone());
        checks.addresses(Role::Learner);
        let message = checks.finish().unwrap_err().to_string();
        for part in ["endpoints.learner_listen", &address, "--listen", "in use"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        drop(taken);
        config.dashboard.listen = address;
        let mut checks = Checks::on(config);
        checks.addresses(Role::Learner);
        let message = checks.finish().unwrap_err().to_string();
        assert!(
            message.contains("dashboard.listen") && message.contains("--dashboard"),
            "{message}"
        );
    }
}
