//! A run's own authority: it signs a certificate for each role, for trying TLS on one machine or where nobody else signs any.

use anyhow::Context as _;
use common::RunId;
use proto::tls::Pem;
use proto::{PeerRole, RoleName};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Clocks of different machines differ: a certificate is valid from so long ago.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The files of a role, named as Kubernetes names those of a secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

/// Signs certificates of one run.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    run: RunId,
    lifetime: Duration,
}

impl Authority {
    /// A new one, in memory. Its own certificate and those that it signs are valid for `lifetime`.
    ///
    /// # Errors
    /// When no key can be made.
    pub(crate) fn new(run: &RunId, lifetime: Duration) -> anyhow::Result<Self> {
        Self::with_key(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, run, lifetime)
    }

    /// The one whose key lies in `directory`, or a new one whose key is put there.
    ///
    /// # Errors
    /// When a file cannot be read, written or used; the message names it.
    pub(crate) fn open(directory: &Path, run: &RunId, lifetime: Duration) -> anyhow::Result<Self> {
        make(directory)?;
        let place = directory.join(AUTHORITY_KEY);
        let authority = match fs::read_to_string(&place) {
            Ok(pem) => {
                let key =
                    KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", place.display()))?;
                Self::with_key(key, run, lifetime)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let authority = Self::new(run, lifetime)?;
                write(&place, authority.issuer.key().serialize_pem().as_bytes(), 0o600)?;
                authority
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", place.display())),
        };
        write(
            &directory.join(AUTHORITY),
            authority.issuer.pem().as_bytes(),
            0o644,
        )?;
        Ok(authority)
    }

    fn with_key(key: KeyPair, run: &RunId, lifetime: Duration) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.remove(DnType::CommonName);
        let name = format!("adwright authority of {run}");
        params.distinguished_name.push(DnType::CommonName, name);
        valid_for(&mut params, lifetime);
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key)?,
            run: run.clone(),
            lifetime,
        })
    }

    /// A certificate of `role` with its key; `hosts` are further names in it.
    ///
    /// # Errors
    /// When a name can be in no certificate.
    pub(crate) fn issue(&self, role: PeerRole, hosts: &[String]) -> anyhow::Result<Pem> {
        let run = self.run.clone();
        let name = RoleName { role, run }.to_string();
        let names: Vec<String> = std::iter::once(name.clone())
            .chain(hosts.iter().cloned())
            .collect();
        let mut params =
            CertificateParams::new(names).with_context(|| format!("{name} cannot be certified"))?;
        params.distinguished_name.remove(DnType::CommonName);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, self.lifetime);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pem {
            cert: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: self.issuer.pem().into_bytes(),
        })
    }
}

/// Puts a role's certificate, its key and the authority into `directory`.
///
/// # Errors
/// When a file cannot be written; the message names it.
pub(crate) fn store(pem: &Pem, directory: &Path) -> anyhow::Result<()> {
    make(directory)?;
    write(&directory.join(AUTHORITY), &pem.ca, 0o644)?;
    write(&directory.join(KEY), &pem.key, 0o600)?;
    write(&directory.join(CERTIFICATE), &pem.cert, 0o644)
}

fn make(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is valid by the clocks of whoever looks at it"
)]
fn valid_for(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + lifetime).into();
}

/// Puts a file there whole: who reads it meanwhile reads the earlier one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let written = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}
