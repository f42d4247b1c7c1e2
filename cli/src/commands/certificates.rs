//! `adwright certificates`: a certificate for each role of a run, signed by an authority of its own.

use crate::args::CertificatesArgs;
use crate::authority::{self, Authority};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use common::RunId;
use proto::{PeerRole, RoleName};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs the command.
pub(super) fn run(args: &CertificatesArgs) -> Outcome<()> {
    let run = RunId::new(args.run.as_str()).or_configuration()?;
    RoleName::check_certifiable(&run).or_configuration()?;
    let authority = Authority::open(&args.out, &run, DAY * args.days)?;
    for role in PeerRole::ALL {
        let directory = args.out.join(role.name());
        authority::store(&authority.issue(role, &args.hosts)?, &directory)?;
        output::line(&directory.display().to_string())?;
    }
    Ok(())
}
