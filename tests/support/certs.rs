//! A certificate authority of one run: no other program trusts it.

use std::ops::Range;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};

/// A private certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A server certificate with its key, both as PEM.
#[derive(Serialize, Deserialize)]
pub struct Issued {
    /// The certificate, without its authority's.
    pub cert_pem: String,
    /// The private key, as PKCS #8.
    pub key_pem: String,
}

impl Authority {
    /// Makes an authority with a fresh key.
    pub fn new() -> Self {
        Self::for_usages(vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign])
    }

    /// Makes an authority without a key usage, as many companies' authorities are.
    pub fn without_key_usage() -> Self {
        Self::for_usages(Vec::new())
    }

    fn for_usages(usages: Vec<KeyUsagePurpose>) -> Self {
        let mut params = named("pymail test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = usages;
        let key = KeyPair::generate().expect("a key for the authority");
        let pem = params.self_signed(&key).expect("the authority's certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns the authority's own certificate as PEM, for a client to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a server certificate for these DNS names and IP addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(server(names))
    }

    /// Signs a server certificate that is valid from the beginning of one year to the beginning of another.
    pub fn issue_for_years(&self, names: &[&str], years: Range<i32>) -> Issued {
        let mut params = server(names);
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        self.sign(params)
    }

    /// Signs a client certificate for this name.
    pub fn issue_client(&self, name: &str) -> Issued {
        let mut params = named(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Issued {
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key for the server");
        let certificate = params.signed_by(&key, &self.issuer).expect("the server's certificate");
        Issued { cert_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Issued {
    /// Makes a certificate that is signed by its own key alone.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key for the server");
        let certificate = server(names).self_signed(&key).expect("the server's certificate");
        Self { cert_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Returns parameters that satisfy OpenSSL's strict mode, Python 3.13's default.
fn server(names: &[&str]) -> CertificateParams {
    let mut params = named(names[0]);
    params.subject_alt_names = alternative_names(names);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Returns alternative names; `CertificateParams::new` tells IP addresses from DNS names.
fn alternative_names(names: &[&str]) -> Vec<rcgen::SanType> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).expect("names fit for a certificate").subject_alt_names
}
