//! Arguments of `adwright certificates`.

use clap::Args;
use std::path::PathBuf;

/// Whose certificates go where.
#[derive(Debug, Args)]
pub(crate) struct CertificatesArgs {
    /// The run that they are for
    #[arg(long, value_name = "ID")]
    pub(crate) run: String,
    /// Directory for the authority (ca.crt, ca.key) and a directory for each role (tls.crt, tls.key, ca.crt). An authority that is
    /// there signs again: processes take renewed certificates without a restart
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Days that they are valid for
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Another name in each of them, such as a host's; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
}
