//! Backends under TLS: who is trusted, who we are, and certificates that change.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use collector::{ExporterConfig, Protocol, TlsConfig};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use crate::rig::{Backend, forwarding_to, play};
use crate::samples;

/// A certificate authority of one test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("signed") }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("signed"), key)
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.issuer.as_ref().pem()).expect("written");
        path
    }

    /// A server's side for `name`; with `clients`, only theirs are let in.
    fn server(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.issuer.as_ref().der().clone()).expect("a certificate");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("roots"))
            }
        };
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let chain = vec![certificate.der().clone()];
        let mut config = builder.with_single_cert(chain, key).expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

/// A backend that takes everything, under TLS. The version of HTTP is noted as the header `alpn`.
async fn backend(config: ServerConfig) -> Backend {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let got = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let (acceptor, taken) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&got));
    let serving = async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, taken) = (acceptor.clone(), Arc::clone(&taken));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let alpn = stream.get_ref().1.alpn_protocol().unwrap_or(b"none").to_vec();
                let service = service_fn(move |mut request: http::Request<_>| {
                    let alpn = http::HeaderValue::from_bytes(&alpn).expect("a value");
                    request.headers_mut().insert("alpn", alpn);
                    play(request, Arc::clone(&taken), Arc::new(Mutex::new(VecDeque::new())))
                });
                let service = hyper_util::service::TowerToHyperService::new(service);
                let http = auto::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    };
    let stopped = stop.clone();
    tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
    Backend { address, got, _stop: stop.drop_guard() }
}

fn exporter(backend: &Backend, protocol: Protocol, tls: TlsConfig) -> ExporterConfig {
    let endpoint = format!("https://localhost:{}", backend.address.port());
    ExporterConfig { tls, ..ExporterConfig::new(endpoint, protocol) }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_a_backend_under_tls_as_they_came() {
    let (folder, authority) = (folder(), Authority::new());
    let tls = TlsConfig { ca_file: Some(authority.write(folder.path())), ..TlsConfig::default() };
    for (protocol, alpn, head) in [(Protocol::Http, "none", 0), (Protocol::Grpc, "h2", 5)] {
        let backend = backend(authority.server("localhost", None)).await;
        let rig = forwarding_to(&exporter(&backend, protocol, tls.clone())).await;
        let body = samples::spans("shop", 1_000, 0).encode_to_vec();
        assert_eq!(rig.traces(body.clone()).await.status, 200);
        let got = &backend.got_when(1).await[0];
        assert_eq!(got.body[head..], body);
        assert_eq!(got.headers["alpn"], alpn);
        rig.page_when(|page| page.flow.forwarded == 1_000).await;
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_nobody_vouches_for_gets_nothing_until_the_files_vouch_for_it() {
    let (folder, authority, stranger) = (folder(), Authority::new(), Authority::new());
    let backend = backend(authority.server("localhost", None)).await;
    let ca_file = Some(stranger.write(folder.path()));
    let tls = TlsConfig { ca_file, ..TlsConfig::default() };
    let rig = forwarding_to(&exporter(&backend, Protocol::Http, tls)).await;
    rig.traces(samples::spans("shop", 3, 0).encode_to_vec()).await;
    rig.metric_when("holdpoint_collector_failed_attempts_total", |n| n >= 1.0).await;
    assert_eq!(backend.got().len(), 0);
    authority.write(folder.path());
    rig.page_when(|page| page.flow.forwarded == 3).await;
    assert_eq!(backend.got().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_asks_who_we_are_is_told_and_may_go_by_another_name() {
    let (folder, authority, clients) = (folder(), Authority::new(), Authority::new());
    let backend = backend(authority.server("otlp.example", Some(&clients))).await;
    let (certificate, key) = clients.issue("collector");
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let named = TlsConfig {
        ca_file: Some(authority.write(folder.path())),
        server_name: Some("otlp.example".to_owned()),
        ..TlsConfig::default()
    };
    let nobody = forwarding_to(&exporter(&backend, Protocol::Grpc, named.clone())).await;
    nobody.traces(samples::spans("shop", 1, 0).encode_to_vec()).await;
    nobody.metric_when("holdpoint_collector_failed_attempts_total", |n| n >= 1.0).await;
    assert_eq!(backend.got().len(), 0);
    let known = TlsConfig { cert_file: Some(cert_file), key_file: Some(key_file), ..named };
    let rig = forwarding_to(&exporter(&backend, Protocol::Grpc, known)).await;
    rig.traces(samples::spans("shop", 4, 0).encode_to_vec()).await;
    rig.page_when(|page| page.flow.forwarded == 4).await;
    rig.stop().await;
    nobody.shutdown.cancel();
}
