//! Connections to backends, in the clear or under TLS.
//!
//! A backend is trusted by the certificate authorities of `ca_file`, or else of the system: who
//! gave the machine a private authority expects every program on it to know it, which a list
//! compiled into the program would not. Certificate and key files are looked at for every new
//! connection, so that a renewed certificate is used without a restart.
//!
//! Invariant: no connection to an `https` backend is made without checking its certificate.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use front_door::Stamp;
use front_door::tls::certificates;
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tower::Service;
use tracing::{info, warn};

use crate::config::{ExporterConfig, Protocol, TlsConfig};

type Failed = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections to one backend.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<Arc<Tls>>,
}

/// How to speak TLS to one backend.
#[derive(Debug)]
struct Tls {
    config: TlsConfig,
    server_name: Option<ServerName<'static>>,
    http2: bool,
    current: Mutex<Current>,
}

/// What the files said when they were last read.
#[derive(Debug)]
struct Current {
    stamps: Vec<Stamp>,
    client: Arc<ClientConfig>,
}

impl Connector {
    /// # Errors
    /// Which certificate, key or name cannot be used.
    pub(super) fn new(config: &ExporterConfig, tcp: HttpConnector) -> Result<Self, String> {
        let tls = match config.base()?.scheme_str() {
            Some("https") => Some(Arc::new(Tls::new(config)?)),
            _ => None,
        };
        Ok(Self { tcp, tls })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(tls) = self.tls.clone() else {
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(tcp.call(uri).await?)) });
        };
        Box::pin(async move {
            let (client, tls) = spawn_blocking(move || (tls.current(), tls)).await?;
            let builder =
                HttpsConnectorBuilder::new().with_tls_config((*client).clone()).https_only();
            let builder = match &tls.server_name {
                Some(name) => {
                    builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
                }
                None => builder,
            };
            let mut connector = if tls.http2 {
                builder.enable_http2().wrap_connector(tcp)
            } else {
                builder.enable_http1().wrap_connector(tcp)
            };
            connector.call(uri).await
        })
    }
}

impl Tls {
    fn new(config: &ExporterConfig) -> Result<Self, String> {
        let http2 = config.protocol == Protocol::Grpc;
        let config = config.tls.clone();
        let server_name = config.server_name.clone().map(ServerName::try_from).transpose();
        let server_name =
            server_name.map_err(|_| "tls.server_name is not the name of a server".to_owned())?;
        let stamps = stamps(&config);
        let client = Arc::new(client(&config)?);
        Ok(Self { config, server_name, http2, current: Mutex::new(Current { stamps, client }) })
    }

    /// The configuration that the files give now; the last good one if they give none.
    fn current(&self) -> Arc<ClientConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        if stamps != current.stamps {
            current.stamps = stamps;
            match client(&self.config) {
                Ok(client) => {
                    info!("read the certificates for a backend again");
                    current.client = Arc::new(client);
                }
                Err(why) => warn!(why, "the last certificates for a backend stay in force"),
            }
        }
        Arc::clone(&current.client)
    }
}

fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let files = [&config.ca_file, &config.cert_file, &config.key_file];
    files.into_iter().flatten().map(|path| Stamp::of(path)).collect()
}

fn client(config: &TlsConfig) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("set up TLS: {error}"))?
        .with_root_certificates(roots(config.ca_file.as_ref())?);
    let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("tls.key_file: read {}: {error}", key.display()))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| {
        format!("tls: {} and {} do not fit: {error}", cert.display(), key.display())
    })
}

fn roots(ca_file: Option<&PathBuf>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| format!("tls.ca_file: {}: {error}", path.display()))?;
        }
        return Ok(roots);
    }
    // A few odd ones in a system's store are common and harm nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no certificate authorities; name those of the backend in \
                    tls.ca_file"
            .to_owned());
    }
    Ok(roots)
}
