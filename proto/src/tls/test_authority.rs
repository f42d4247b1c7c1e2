//! An authority of its own for each test.

use super::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

/// Signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate with these names that is valid now.
    pub(super) fn pem(&self, names: &[&str]) -> Pem {
        self.signed(names, |_| ())
    }

    /// One that was valid once.
    pub(super) fn expired(&self, names: &[&str]) -> Pem {
        self.signed(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// One that ends with the last day before this year.
    pub(super) fn ending(&self, names: &[&str], year: i32) -> Pem {
        self.signed(names, |params| params.not_after = date_time_ymd(year, 1, 1))
    }

    fn signed(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pem {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pem {
            cert: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: self.0.pem().into_bytes(),
        }
    }
}
