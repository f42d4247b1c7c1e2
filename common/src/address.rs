//! Addresses as settings and requests have them: text, which is looked at and never looked up.

use std::net::{IpAddr, SocketAddr};

/// Whether `text` can be listened on: `HOST:PORT`, with an address (IPv6 in brackets) or a name that is looked up then.
pub fn is_host_and_port(text: &str) -> bool {
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', ' ']);
    let named = text.rsplit_once(':');
    text.parse::<SocketAddr>().is_ok()
        || named.is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok())
}

/// Whether `host`, alone or with a port behind it, is this machine by a name or address that means it to everybody: nobody else can
/// have one of those. An IPv6 address stands in brackets where a port may follow.
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    address.map_or(name.eq_ignore_ascii_case("localhost"), |address| {
        address.is_loopback()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_told_from_urls_and_halves() {
        for text in ["127.0.0.1:0", "[::1]:7403", "localhost:7403", "learner:65535"] {
            assert!(is_host_and_port(text), "{text}");
        }
        for text in [
            "",
            "7403",
            ":7403",
            "127.0.0.1",
            "::1",
            "http://127.0.0.1:1",
            "a b:1",
            "127.0.0.1:70000",
        ] {
            assert!(!is_host_and_port(text), "{text}");
        }
    }

    #[test]
    fn only_what_nobody_else_can_be_called_is_this_machine() {
        for host in [
            "127.0.0.1:7403",
            "127.0.0.53",
            "[::1]:80",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "0.0.0.0:7403",
            "[::]:0",
            "10.1.2.3",
            "learner:7403",
            "127.0.0.1.evil.example:7403",
            "localhost.evil.example",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
