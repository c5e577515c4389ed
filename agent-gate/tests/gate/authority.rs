//! An authority of the test's own, and certificates that it vouches for.

use std::fs;
use std::path::PathBuf;

use front_door::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { folder, issuer }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `subject`, and that of this authority for clients.
    pub fn issue(&self, subject: &str) -> TlsFiles {
        self.issue_until(subject, 2099)
    }

    /// The same, over at the beginning of `year`.
    pub fn issue_until(&self, subject: &str, year: i32) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![subject.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let file = |ending: &str| self.folder.path().join(format!("{subject}.{ending}"));
        fs::write(file("pem"), certificate.pem()).expect("written");
        fs::write(file("key"), key.serialize_pem()).expect("written");
        TlsFiles { cert_file: file("pem"), key_file: file("key"), client_ca_file: None }
    }
}
