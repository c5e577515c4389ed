//! The client towards what is not on this machine: the dead-man ping, and the backend that is read
//! back. It speaks `http` and `https`.
//!
//! Invariant: it goes straight (a proxy from the environment would put a stranger into the path
//! that proves things), follows nobody elsewhere, and reads no answer beyond its bound.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A client that keeps its connections; clones share them.
#[derive(Debug, Clone)]
pub struct Outside {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Outside {
    /// A client towards `urls`, which trusts the authorities of `ca_file`, or else those of the
    /// system if one of the URLs is `https`.
    ///
    /// # Errors
    /// What cannot be read or is no certificate, and what to do about it.
    pub fn new(urls: &[&str], ca_file: Option<&Path>) -> Result<Self, String> {
        let roots = match ca_file {
            Some(path) => named(path)?,
            None => of_the_system(urls)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector.build()) })
    }

    /// Sends `request` and reads the whole answer, both within `timeout`.
    ///
    /// # Errors
    /// Why there is none, as one sentence; or the status, if it is not one of success.
    pub async fn ask(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Answer {
        let asked = tokio::time::timeout(timeout, self.exchange(request)).await;
        let (status, body) =
            asked.map_err(|_| format!("no answer within {} ms", timeout.as_millis()))??;
        if status.is_success() { Ok(body) } else { Err(format!("it said {status}")) }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let answer = self.client.request(request).await.map_err(|e| crate::client::chain(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
            }
            crate::client::chain(&*error)
        })?;
        Ok((status, body.to_bytes()))
    }
}

/// The body of an answer of success.
pub type Answer = Result<Bytes, String>;

fn named(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error: &dyn Error| format!("ca_file {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() {
        return Err(format!("ca_file {}: it holds no certificate in PEM form", path.display()));
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
             watchdog.ca_file"
        ));
    }
    Ok(roots)
}
