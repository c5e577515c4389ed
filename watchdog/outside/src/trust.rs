//! Whom the client believes, and what it shows of itself.
//!
//! Certificates of clients are short-lived where they are worth something, so the files of an
//! [`Identity`] are looked at before each handshake and read again when they changed.
//!
//! Invariant: a certificate that cannot be read never replaces one that can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use front_door::Stamp;
use front_door::tls::certificates;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use crate::Settings;

/// A certificate of ours and its key, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

pub(crate) fn client(settings: &Settings<'_>) -> Result<ClientConfig, String> {
    let roots = match settings.ca_file {
        Some(path) => named(path)?,
        None => of_the_system(settings.urls)?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("set up TLS: {error}"))?
        .with_root_certificates(roots);
    Ok(match settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(Shown::read(identity.clone())?))
        }
    })
}

fn named(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(|why| format!("ca_file: {why}"))? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("ca_file: {}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn of_the_system(urls: &[&str]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(url) = urls.iter().find(|url| url.starts_with("https://")) else { return Ok(roots) };
    // A few odd ones in a system's store are common and harm nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(format!(
            "{url}: the system has no certificate authorities; name those of that server in \
             ca_file"
        ));
    }
    Ok(roots)
}

/// The identity as it was last read.
#[derive(Debug)]
struct Shown {
    identity: Identity,
    current: Mutex<([Stamp; 2], Arc<CertifiedKey>)>,
}

impl Shown {
    fn read(identity: Identity) -> Result<Self, String> {
        let stamps = stamps(&identity);
        let key = certified(&identity)?;
        Ok(Self { identity, current: Mutex::new((stamps, key)) })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.identity);
        if stamps != current.0 {
            current.0 = stamps;
            // A half-written pair is read again when its second file comes.
            if let Ok(key) = certified(&self.identity) {
                current.1 = key;
            }
        }
        Arc::clone(&current.1)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.current();
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn stamps(identity: &Identity) -> [Stamp; 2] {
    [Stamp::of(&identity.cert_file), Stamp::of(&identity.key_file)]
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, String> {
    let Identity { cert_file, key_file } = identity;
    let chain = certificates(cert_file).map_err(|why| format!("cert_file: {why}"))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("key_file: read {}: {error}", key_file.display()))?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
        format!("{} and {} do not fit: {error}", cert_file.display(), key_file.display())
    })?;
    Ok(Arc::new(key))
}
