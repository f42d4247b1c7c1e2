//! Who may look: a token where one is set, and on loopback only requests that name this machine, because a page of somebody else
//! that has its name resolve to 127.0.0.1 would otherwise read the dashboard through the user's browser.
//!
//! The token is kept as a digest, and digests compare in constant time. It is never part of a URL and never logged. What a browser
//! keeps is another digest of it, so that sessions outlive a restart of the learner and end when the token changes.

use crate::config::DashboardConfig;
use blake3::Hash;
use common::address::is_this_machine;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, Uri};
use std::fmt;
use std::path::PathBuf;

/// The shortest token, in bytes: 96 bits when it is drawn from letters and digits.
const LEAST: usize = 16;

/// The longest, in bytes.
const MOST: usize = 1024;

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Its file cannot be read.
    #[error("dashboard.token_file: cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is too short, too long, or has characters that a header cannot carry.
    #[error(
        "dashboard.token_file: the first line of {} has {bytes} bytes{}, expected {LEAST} to {MOST} printable characters without spaces",
        path.display(), if *printable { "" } else { ", not all printable" }
    )]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// How long its first line is.
        bytes: usize,
        /// Whether all of it can be part of a header.
        printable: bool,
    },
}

/// Who may look.
#[derive(Clone)]
pub struct Access {
    secret: Option<Secret>,
    /// Whether a request must name this machine.
    this_machine_only: bool,
}

#[derive(Clone)]
struct Secret {
    token: Hash,
    session: Hash,
    /// Of the cookie: two dashboards that a browser reaches under one name do not end each other's sessions.
    cookie: String,
}

/// What the names of all dashboards' cookies begin with.
const COOKIE_NAME: &str = "adwright-";

impl Access {
    /// As the table says; reads the token's file.
    ///
    /// # Errors
    /// [`AccessError`] when it cannot be read or its first line is no token.
    pub fn of(config: &DashboardConfig) -> Result<Self, AccessError> {
        let secret = match config.token_file.is_empty() {
            true => None,
            false => Some(read(config.token_file.as_str().into())?),
        };
        Ok(Self {
            secret,
            this_machine_only: config.is_loopback(),
        })
    }

    /// Whether a token is asked for.
    pub(crate) fn has_token(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether a request knows the token, where one is asked for.
    pub(crate) fn knows_token(&self, headers: &HeaderMap) -> bool {
        self.secret
            .as_ref()
            .is_none_or(|secret| secret.is_known_to(headers))
    }

    /// Whether a request names a machine that is served: any, but on loopback this one alone.
    pub(crate) fn is_for_here(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let named = headers.get(HOST).and_then(|host| host.to_str().ok());
        let named = uri.authority().map(|authority| authority.as_str()).or(named);
        !self.this_machine_only || named.is_some_and(is_this_machine)
    }

    /// The cookie of somebody who knows the token; `None` for others.
    pub(crate) fn session(&self, token: &str) -> Option<String> {
        let secret = self.secret.as_ref()?;
        let knows = blake3::hash(token.trim().as_bytes()) == secret.token;
        knows.then(|| {
            let (name, session) = (&secret.cookie, secret.session.to_hex());
            format!("{name}={session}; Path=/; HttpOnly; SameSite=Strict")
        })
    }
}

impl Secret {
    fn of(token: &str) -> Self {
        let derived = |purpose| Hash::from(blake3::derive_key(purpose, token.as_bytes()));
        let name = derived("adwright dashboard: name of the cookie").to_hex();
        Self {
            token: blake3::hash(token.as_bytes()),
            session: derived("adwright dashboard: session"),
            cookie: format!("{COOKIE_NAME}{}", &name[..8]),
        }
    }

    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| blake3::hash(token.trim().as_bytes()) == self.token) {
            return true;
        }
        let cookies = text(COOKIE).unwrap_or_default().split(';').map(str::trim);
        let mut sessions = cookies
            .filter_map(|cookie| cookie.split_once('='))
            .filter(|(name, _)| *name == self.cookie)
            .filter_map(|(_, session)| Hash::from_hex(session).ok());
        sessions.any(|session| session == self.session)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("has_token", &self.has_token())
            .field("this_machine_only", &self.this_machine_only)
            .finish()
    }
}

fn read(path: PathBuf) -> Result<Secret, AccessError> {
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(source) => return Err(AccessError::Unreadable { path, source }),
    };
    let line = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let printable = line.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(line) {
        Ok(token) if printable && (LEAST..=MOST).contains(&line.len()) => Ok(Secret::of(token)),
        _ => Err(AccessError::Unfit {
            path,
            bytes: line.len(),
            printable,
        }),
    }
}

/// Whether a request shows something that could be meant as a token: a guess, where it is not the right one.
pub(crate) fn is_guess(headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(COOKIE).iter();
    let mut cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    headers.contains_key(AUTHORIZATION) || cookies.any(|cookies| cookies.contains(COOKIE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TOKEN: &str = "correct-horse-battery";

    fn access(listen: &str, token: Option<&str>) -> Result<Access, AccessError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), token.unwrap_or_default()).unwrap();
        let token_file = token.map(|_| file.path().display().to_string());
        Access::of(&DashboardConfig {
            listen: listen.into(),
            token_file: token_file.unwrap_or_default(),
        })
    }

    fn with(headers: &[(http::HeaderName, &str)]) -> HeaderMap {
        let headers = headers.iter();
        headers
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn knows(access: &Access, headers: &[(http::HeaderName, &str)]) -> bool {
        access.knows_token(&with(headers))
    }

    fn is_for_here(access: &Access, headers: &[(http::HeaderName, &str)]) -> bool {
        access.is_for_here(&Uri::from_static("/"), &with(headers))
    }

    #[test]
    fn on_loopback_only_requests_that_name_this_machine_are_served() {
        let access = access("127.0.0.1:0", None).unwrap();
        for host in [
            "127.0.0.1:7403",
            "localhost",
            "LOCALHOST:1",
            "[::1]:80",
            "127.0.0.53",
        ] {
            assert!(is_for_here(&access, &[(HOST, host)]), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:7403",
            "localhost.evil.example",
            "10.0.0.1",
            "",
        ] {
            assert!(!is_for_here(&access, &[(HOST, host)]), "{host}");
        }
        assert!(!is_for_here(&access, &[]));
    }

    #[test]
    fn whoever_knows_the_token_gets_in_by_header_or_by_the_cookie_of_the_login_and_nobody_else() {
        let access = access("0.0.0.0:0", Some(&format!("{TOKEN}\r\nsecond line\n"))).unwrap();
        assert!(!knows(&access, &[]));
        assert!(knows(&access, &[(AUTHORIZATION, &format!("Bearer {TOKEN}"))]));
        for wrong in [
            "",
            "correct-horse-batterz",
            "correct-horse-battery2",
            "correct-horse",
        ] {
            assert!(
                !knows(&access, &[(AUTHORIZATION, &format!("Bearer {wrong}"))]),
                "{wrong}"
            );
            assert_eq!(access.session(wrong), None);
        }
        let cookie = access.session(TOKEN).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN));
        let sent = cookie.split(';').next().unwrap();
        assert!(knows(&access, &[(COOKIE, &format!("a=b; {sent}"))]));
        assert!(
            is_guess(&with(&[(COOKIE, &format!("a=b; {sent}"))])) && !is_guess(&with(&[(COOKIE, "a=b")]))
        );
        let (name, _) = sent.split_once('=').unwrap();
        for wrong in [
            format!("{name}={}", "0".repeat(64)),
            format!("{name}="),
            format!("x{sent}"),
        ] {
            assert!(!knows(&access, &[(COOKIE, &wrong)]), "{wrong}");
        }
        assert!(!format!("{access:?}").contains(TOKEN));
    }

    #[test]
    fn a_token_that_is_none_is_refused_and_not_told() {
        for token in [
            "fifteen-bytes-x",
            "",
            "a token with some spaces",
            "sixteen-bytes-\u{e4}-and-more",
        ] {
            let error = access("0.0.0.0:0", Some(token)).unwrap_err().to_string();
            assert!(
                error.contains("dashboard.token_file") && error.contains("16"),
                "{error}"
            );
            assert!(token.is_empty() || !error.contains(token));
        }
        let missing = Access::of(&DashboardConfig {
            listen: "0.0.0.0:0".into(),
            token_file: "/nowhere/token".into(),
        });
        assert!(missing.unwrap_err().to_string().contains("/nowhere/token"));
    }
}
