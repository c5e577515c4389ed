//! TLS at the door, with certificates that may change while it is open.
//!
//! Who renews a certificate replaces its file; the door looks at the files once a second and uses
//! the new certificate for new connections. Open connections keep the one they began with.
//!
//! Invariant: a certificate that cannot be used never replaces one that can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Stamp;
use crate::count::{Counts, add};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where certificates and keys are, all as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Our certificate, followed by those that lead to its authority.
    pub cert_file: PathBuf,
    /// The private key of the certificate.
    pub key_file: PathBuf,
    /// Who signs the certificates of clients. Set, it shuts out everyone without one (mTLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// Certificates that were read and can be used.
#[derive(Debug, Clone)]
pub struct Certificates {
    files: TlsFiles,
    stamps: Vec<Stamp>,
    server: Arc<ServerConfig>,
}

impl Certificates {
    /// Reads `files`. Blocks for as long as the file system does.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(files: &TlsFiles) -> Result<Self, String> {
        // Stamps first: what changes while the files are read is read again.
        let stamps = stamps(files);
        let server = Arc::new(server(files)?);
        Ok(Self { files: files.clone(), stamps, server })
    }
}

/// Whether a door speaks TLS, and with what; may be changed while it is open.
#[derive(Debug, Default)]
pub struct Tls {
    current: RwLock<Option<Certificates>>,
}

impl Tls {
    /// TLS with `certificates`, or none.
    #[must_use]
    pub fn new(certificates: Option<Certificates>) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(certificates) })
    }

    /// New connections are under TLS with `certificates`, or in the clear.
    pub fn set(&self, certificates: Option<Certificates>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// What a new connection is taken with; `None` is in the clear.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.current().map(|current| TlsAcceptor::from(current.server))
    }

    fn current(&self) -> Option<Certificates> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again if they have changed. Blocks for as long as the file system does.
    pub(crate) fn renew(&self, counts: &Counts) {
        let Some(mut current) = self.current() else { return };
        if stamps(&current.files) == current.stamps {
            return;
        }
        let file = current.files.cert_file.display().to_string();
        match Certificates::read(&current.files) {
            Ok(new) => {
                info!(file, "new connections get the new certificate");
                add(&counts.certificates_renewed);
                self.set(Some(new));
            }
            Err(why) => {
                warn!(file, why, "the last good certificate stays in force");
                add(&counts.certificates_kept);
                current.stamps = stamps(&current.files);
                self.set(Some(current));
            }
        }
    }

    /// Looks at the files again and again, until `shutdown`.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        counts: Arc<Counts>,
        shutdown: CancellationToken,
    ) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(look.tick()).await.is_some() {
            if self.current().is_some() {
                let (tls, counts) = (Arc::clone(&self), Arc::clone(&counts));
                // A thread that panicked has changed nothing.
                let _ = spawn_blocking(move || tls.renew(&counts)).await;
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    let TlsFiles { cert_file, key_file, client_ca_file } = files;
    let paths = [Some(cert_file), Some(key_file), client_ca_file.as_ref()];
    paths.into_iter().flatten().map(|path| Stamp::of(path)).collect()
}

fn server(files: &TlsFiles) -> Result<ServerConfig, String> {
    let TlsFiles { cert_file, key_file, client_ca_file } = files;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("set up TLS: {error}"))?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let wrong = |why: String| format!("client_ca_file: {}: {why}", path.display());
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = verifier.build().map_err(|error| wrong(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(cert_file).map_err(|why| format!("cert_file: {why}"))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("key_file: read {}: {error}", key_file.display()))?;
    let mut server = builder.with_single_cert(chain, key).map_err(|error| {
        format!("{} and {} do not fit: {error}", cert_file.display(), key_file.display())
    })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// Why there is none, with the file's name.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("read certificates from {}: {why}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let chain: Result<Vec<_>, _> = read.collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong("there is none in it".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(|why| format!("client_ca_file: {why}"))? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("client_ca_file: {}: {error}", path.display()))?;
    }
    Ok(roots)
}
