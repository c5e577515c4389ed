//! What is outside may speak `https`, and is believed only if an authority vouches for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use watchdog::Config;

use crate::fakes::FakeCollector;
use crate::stage::{Stage, config};
use crate::watched::{beside, count};

/// An authority, and a server that it vouches for and that says 200 to everything.
struct Outside {
    authority: PathBuf,
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Outside {
    async fn start(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let authority = folder.join(format!("{name}.pem"));
        std::fs::write(&authority, issuer.pem()).expect("written");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            );
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("they fit")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut room = vec![0; 64 * 1024];
                if stream.read(&mut room).await.is_ok_and(|read| read > 0) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let answer =
                        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer).await.ok();
                    stream.shutdown().await.ok();
                }
            }
        });
        Self { authority, address, asked }
    }
}

fn pinging(outside: &Outside, ca_file: &Path) -> Config {
    Config {
        dead_man_url: Some(format!("https://{}/ping", outside.address)),
        dead_man_interval_ms: 100,
        ca_file: Some(ca_file.to_owned()),
        ..config()
    }
}

#[tokio::test]
async fn the_dead_man_is_pinged_over_tls_and_only_who_is_vouched_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Outside::start(folder.path(), "ours").await;
    let theirs = Outside::start(folder.path(), "theirs").await;

    let collector = FakeCollector::start("1700000000000-b").await;
    let config = pinging(&ours, &ours.authority);
    let stage = Stage::start(config, Vec::new(), beside(&collector)).await;
    stage.until("it is pinged", async |_| ours.asked.load(Ordering::Relaxed) >= 2).await;
    drop(stage);

    let collector = FakeCollector::start("1700000000000-b").await;
    let config = pinging(&theirs, &ours.authority);
    let stage = Stage::start(config, Vec::new(), beside(&collector)).await;
    let failed = "dead_man_pings_total{outcome=\"failed\"}";
    stage.until("pings fail", async |s| count(s, failed).await >= 2).await;
    assert_eq!(theirs.asked.load(Ordering::Relaxed), 0, "nothing was said to a stranger");
}

#[tokio::test]
async fn authorities_that_cannot_be_read_stop_the_start_and_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = Outside::start(folder.path(), "ours").await;
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").expect("written");
    for (path, says) in [(&empty, "there is none in it"), (&folder.path().join("gone"), "gone")] {
        let refused = watchdog::bind(pinging(&outside, path), Vec::new()).await;
        let text = refused.expect_err("it cannot be read").to_string();
        assert!(text.contains(says) && text.contains("ca_file"), "{text}");
    }
}
