//! What a process shows of itself and whom it believes, replaceable while it runs.

use super::error::{CredentialsError, certificate_reason};
use super::names::{Names, names_of};
use crate::RoleName;
use common::RunId;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig, version};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What HTTP/2 is called in a handshake.
const ALPN: &[u8] = b"h2";

/// The last second that a certificate can name, that of the year 9999, since 1970.
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// A process's certificates as they are written in files.
pub struct Pem {
    /// Its own certificate, and those that lead from it to an authority.
    pub cert: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The authorities that it believes.
    pub ca: Vec<u8>,
}

impl fmt::Debug for Pem {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// Certificates in use.
#[derive(Clone)]
pub struct Credentials {
    current: Arc<RwLock<Arc<Loaded>>>,
    run: RunId,
}

/// One set of them.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    roles: Vec<RoleName>,
    ends: Option<u64>,
}

impl Credentials {
    /// Checks what would be refused by everybody else: form, key, names, signature, validity.
    ///
    /// # Errors
    /// [`CredentialsError`] that names the part at fault.
    pub fn new(pem: &Pem) -> Result<Self, CredentialsError> {
        let loaded = Loaded::read(pem)?;
        let run = loaded.roles[0].run.clone();
        Ok(Self {
            current: Arc::new(RwLock::new(Arc::new(loaded))),
            run,
        })
    }

    /// Takes later ones for connections that are made from now on; those that are open stay.
    ///
    /// # Errors
    /// [`CredentialsError`], and the earlier ones stay.
    pub fn replace(&self, pem: &Pem) -> Result<(), CredentialsError> {
        let loaded = Loaded::read(pem)?;
        let (expected, found) = (self.current().roles.clone(), &loaded.roles);
        if expected != *found {
            return Err(CredentialsError::Other {
                expected: RoleName::list(&expected),
                found: RoleName::list(found),
            });
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// The run that they are for.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The roles that this process has in it.
    pub fn roles(&self) -> Vec<RoleName> {
        self.current().roles.clone()
    }

    /// When the own certificate, or one that leads from it to an authority, ends and everybody refuses it: Unix time, in seconds.
    /// `None`: never.
    pub fn ends(&self) -> Option<u64> {
        self.current().ends
    }

    pub(super) fn current(&self) -> Arc<Loaded> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials")
            .field(&RoleName::list(&self.roles()))
            .finish()
    }
}

impl Loaded {
    fn read(pem: &Pem) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("cert", &pem.cert)?;
        let names = names_of(&chain[0]).map_err(|error| part("cert", error))?;
        one_run(&names)?;
        let roots = roots(&pem.ca)?;
        let key = key(&pem.key, chain, &provider)?;
        let believed = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| part("ca", error))?;
        check_own(&key, &*believed)?;
        Ok(Self {
            ends: ends(&key, &*believed),
            server: Arc::new(server(&provider, believed, key.clone())?),
            client: Arc::new(client(&provider, roots, key)?),
            roles: names.roles,
        })
    }
}

/// The roles are of one run.
fn one_run(names: &Names) -> Result<(), CredentialsError> {
    let found = names.all.clone();
    match names.roles.split_first() {
        None => Err(CredentialsError::NoRole { found }),
        Some((first, others)) if others.iter().any(|other| other.run != first.run) => {
            Err(CredentialsError::SeveralRuns { found })
        }
        Some(_) => Ok(()),
    }
}

/// What every peer would check of it.
fn check_own(key: &CertifiedKey, believed: &dyn ClientCertVerifier) -> Result<(), CredentialsError> {
    let refused = |reason| CredentialsError::Refused { reason };
    let (own, others) = key.cert.split_first().expect("a chain has a certificate");
    match believed.verify_client_cert(own, others, UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(reason)) => Err(refused(certificate_reason(&reason))),
        Err(other) => Err(refused(other.to_string())),
    }
}

/// When the first certificate of the chain ends. The library reads certificates and does not give their times out, but with the
/// refusal of one that has ended: each is asked about at a time when all have.
fn ends(key: &CertifiedKey, believed: &dyn ClientCertVerifier) -> Option<u64> {
    let never = UnixTime::since_unix_epoch(NEVER);
    let end = |place: usize| {
        let (own, others) = (&key.cert[place], &key.cert[place + 1..]);
        match believed.verify_client_cert(own, others, never) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after.as_secs())
            }
            _ => None,
        }
    };
    (0..key.cert.len()).filter_map(end).min()
}

fn server(
    provider: &Arc<CryptoProvider>,
    believed: Arc<dyn ClientCertVerifier>,
    key: Arc<CertifiedKey>,
) -> Result<ServerConfig, CredentialsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| part("cert", error))?;
    let mut config = builder
        .with_client_cert_verifier(believed)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection shows certificates anew: a session that is taken up again would be believed by an earlier set.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    key: Arc<CertifiedKey>,
) -> Result<ClientConfig, CredentialsError> {
    let believed = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| part("ca", error))?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| part("cert", error))?;
    let mut config = builder
        .with_webpki_verifier(believed)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn part(part: &'static str, reason: impl fmt::Display) -> CredentialsError {
    CredentialsError::Pem {
        part,
        reason: reason.to_string(),
    }
}

/// The certificates in a text, at least one.
fn certificates(of: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| part(of, format!("not in PEM form: {error:?}")))?;
    match read.is_empty() {
        true => Err(part(
            of,
            "it has no certificate; expected -----BEGIN CERTIFICATE-----",
        )),
        false => Ok(read),
    }
}

fn roots(ca: &[u8]) -> Result<Arc<RootCertStore>, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("ca", ca)? {
        roots.add(authority).map_err(|error| part("ca", error))?;
    }
    Ok(Arc::new(roots))
}

fn key(
    pem: &[u8],
    chain: Vec<CertificateDer<'static>>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, CredentialsError> {
    // The reason may quote the text, which is secret.
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        part(
            "key",
            "it has no private key in PEM form; expected -----BEGIN PRIVATE KEY-----",
        )
    })?;
    let signing = provider.key_provider.load_private_key(key);
    let signing = signing.map_err(|error| part("key", error))?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match().map_err(|_| CredentialsError::OtherKey)?;
    Ok(Arc::new(key))
}
