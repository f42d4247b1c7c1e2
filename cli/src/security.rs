//! How a process proves who it is and decides who may call it: certificates from files, or nothing on one machine.

use crate::config::{Config, TlsConfig};
use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use proto::observe::{Page, Registry};
use proto::tls::{Credentials, Pem, Transport};
use proto::{AllowLoopback, AllowNetwork, AllowRoles, Authorizer, PeerRole};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The largest file of certificates that is read, in bytes: a chain has some kilobytes, a bundle of authorities hundreds.
const MAX_BYTES: u64 = 4 << 20;

/// What a role's connections stand on.
#[derive(Clone)]
pub(crate) struct Security {
    /// What connections are made of.
    pub(crate) transport: Transport,
    /// Who may call.
    pub(crate) authorizer: Arc<dyn Authorizer>,
    renewal: Option<Renewal>,
}

/// Certificates that are looked at again.
#[derive(Clone)]
struct Renewal {
    credentials: Credentials,
    files: TlsConfig,
    /// What was read last, without the key.
    seen: Seen,
}

type Seen = (Vec<u8>, Vec<u8>);

impl Security {
    /// For a process that is `role`.
    ///
    /// # Errors
    /// Configuration at fault: a file that cannot be read or used, a certificate of another role or another run than `run.id`.
    pub(crate) fn open(config: &Config, role: PeerRole) -> Outcome<Self> {
        let mut own = Self::looking_on(config)?;
        match &own.renewal {
            Some(renewal) => check_names(&renewal.credentials, role, &config.run.id).or_configuration()?,
            None => own.authorizer = unproven(config.endpoints.insecure_plaintext_network),
        }
        Ok(own)
    }

    /// For a process that looks on for as long as a run lasts, and is called by nobody: the configured certificate, whosever it is.
    ///
    /// # Errors
    /// Configuration at fault: a file that cannot be read or used.
    pub(crate) fn looking_on(config: &Config) -> Outcome<Self> {
        if !config.tls.is_set() {
            return Ok(Self {
                transport: Transport::plain(),
                authorizer: Arc::new(AllowLoopback),
                renewal: None,
            });
        }
        let (pem, credentials) = loaded(&config.tls)?;
        Ok(Self {
            transport: Transport::secured(credentials.clone()),
            authorizer: Arc::new(AllowRoles::of(credentials.run().clone())),
            renewal: Some(Renewal {
                credentials,
                files: config.tls.clone(),
                seen: without_key(pem),
            }),
        })
    }

    /// What a command's own connections stand on, which only asks: the configured certificate, whosever it is.
    ///
    /// # Errors
    /// Configuration at fault: a file that cannot be read or used.
    pub(crate) fn asking(config: &Config) -> Outcome<Transport> {
        Ok(Self::looking_on(config)?.transport)
    }

    /// Puts the end of its certificate onto the process's page of numbers, where it has one.
    pub(crate) fn register(&self, registry: &mut Registry) {
        if self.renewal.is_some() {
            registry.register_collector(Box::new(CertificatePage(self.transport.clone())));
        }
    }

    /// Takes renewed certificates for as long as the runtime lives. Call it inside a runtime.
    pub(crate) fn keep_renewed(&self) {
        if let Some(renewal) = self.renewal.clone() {
            tokio::spawn(renewal.run());
        }
    }
}

/// What a process says of its certificate, as it is when somebody asks.
#[derive(Debug)]
struct CertificatePage(Transport);

impl Collector for CertificatePage {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ends = self.0.ends().map(|seconds| seconds as f64);
        let help = "When the certificate of this process ends, Unix time.";
        Page::from(encoder).maybe_gauge("tls_certificate_ends_seconds", help, ends)
    }
}

fn unproven(from_anywhere: bool) -> Arc<dyn Authorizer> {
    match from_anywhere {
        true => {
            tracing::warn!("insecure_plaintext_network: callers from anywhere are served, in plain text");
            Arc::new(AllowNetwork)
        }
        false => Arc::new(AllowLoopback),
    }
}

/// The certificate is for this role of this run.
fn check_names(credentials: &Credentials, role: PeerRole, run: &str) -> anyhow::Result<()> {
    let roles = credentials.roles();
    let is_own = roles
        .iter()
        .any(|name| name.role == role && name.run.as_str() == run);
    if is_own {
        return Ok(());
    }
    let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let found = names.join(", ");
    Err(anyhow!(
        "tls.cert names {found}; a {role} of run.id = {run:?} needs {role}.{run}"
    ))
}

fn without_key(pem: Pem) -> Seen {
    (pem.cert, pem.ca)
}

impl Renewal {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(self.files.reload()).await;
            let files = self.files.clone();
            let looked = tokio::task::spawn_blocking(move || read(&files)).await;
            let pem = match looked {
                Ok(Ok(pem)) => pem,
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "certificates were not read again");
                    continue;
                }
                Err(_) => return,
            };
            if (&pem.cert, &pem.ca) == (&self.seen.0, &self.seen.1) {
                continue;
            }
            // Files that are being replaced do not fit each other, and do at the next look.
            match self.credentials.replace(&pem) {
                Ok(()) => {
                    tracing::info!("certificates renewed");
                    self.seen = without_key(pem);
                }
                Err(error) => tracing::warn!(%error, "certificates not renewed: the earlier ones stay"),
            }
        }
    }
}

/// The files that cannot be read, each by its key.
pub(crate) fn unreadable(files: &TlsConfig) -> Vec<(String, anyhow::Error)> {
    let read = |(name, file): (&str, &String)| {
        let error = read_file(name, Path::new(file)).err()?;
        Some((format!("tls.{name}"), error))
    };
    files.files().into_iter().filter_map(read).collect()
}

fn loaded(files: &TlsConfig) -> Outcome<(Pem, Credentials)> {
    let pem = read(files).or_configuration()?;
    let credentials = Credentials::new(&pem)
        .context("[tls] cannot be used")
        .or_configuration()?;
    Ok((pem, credentials))
}

fn read(files: &TlsConfig) -> anyhow::Result<Pem> {
    let [cert, key, ca] = files.files().map(|(name, file)| read_file(name, Path::new(file)));
    Ok(Pem {
        cert: cert?,
        key: key?,
        ca: ca?,
    })
}

fn read_file(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("tls.{key}: cannot read {shown}"))?;
    if metadata.len() > MAX_BYTES {
        let bytes = metadata.len();
        return Err(anyhow!(
            "tls.{key}: {shown} has {bytes} bytes, expected at most {MAX_BYTES}"
        ));
    }
    std::fs::read(path).with_context(|| format!("tls.{key}: cannot read {shown}"))
}
