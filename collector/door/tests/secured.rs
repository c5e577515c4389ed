//! Under TLS, with certificates that change, and at a Unix socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use front_door::{Certificates, Counts, Limits, Listener, Tls, TlsFiles, bind_unix, serve_counted};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// No wait of these tests is longer; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate for `name`, written as `NAME.pem` and `NAME.key`.
fn issue(dir: &Path, authority: &Authority, name: &str) -> TlsFiles {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("signed");
    let (cert_file, key_file) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    fs::write(&cert_file, certificate.pem()).expect("written");
    fs::write(&key_file, key.serialize_pem()).expect("written");
    TlsFiles { cert_file, key_file, client_ca_file: None }
}

fn client(authority: &Authority, own: Option<&TlsFiles>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = vec![CertificateDer::from_pem_file(&files.cert_file).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(&files.key_file).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    TlsConnector::from(Arc::new(config))
}

struct Door {
    counts: Arc<Counts>,
    _stop: DropGuard,
}

fn open(listener: Listener) -> Door {
    let router = Router::new().route("/", get(|| async { "here" }));
    let (counts, stop) = (Arc::new(Counts::default()), CancellationToken::new());
    let limits = Limits { header_timeout: Duration::from_millis(500), ..Limits::default() };
    let served =
        serve_counted(listener, router.into_service(), limits, stop.clone(), Arc::clone(&counts));
    tokio::spawn(served);
    Door { counts, _stop: stop.drop_guard() }
}

async fn connect(
    at: std::net::SocketAddr,
    connector: &TlsConnector,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(at).await.expect("connect");
    connector.connect(ServerName::try_from(name).expect("a name"), socket).await
}

/// Whether a request on `socket` is answered.
async fn is_answered(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    if socket.write_all(GET.as_bytes()).await.is_err() {
        return false;
    }
    let mut seen = String::new();
    while !seen.ends_with("here") {
        let mut bytes = [0; 1_024];
        let read = timeout(PATIENCE, socket.read(&mut bytes)).await.expect("an answer in time");
        let Ok(n @ 1..) = read else { return false };
        seen.push_str(std::str::from_utf8(&bytes[..n]).expect("text"));
    }
    true
}

async fn until(counts: &Counts, holds: impl Fn(front_door::Seen) -> bool) {
    let waiting = async {
        while !holds(counts.seen()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", counts.seen()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_without_dropping_anyone_and_a_bad_one_is_not() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), authority());
    let files = issue(dir.path(), &ca, "old.test");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let tls = Tls::new(Some(Certificates::read(&files).expect("good files")));
    let door = open(Listener::from(listener).with_tls(tls));
    let connector = client(&ca, None);

    let mut first = connect(at, &connector, "old.test").await.expect("the old certificate");
    assert!(is_answered(&mut first).await);

    fs::write(&files.cert_file, "nothing of use").expect("written");
    until(&door.counts, |seen| seen.certificates_kept == 1).await;
    let mut second = connect(at, &connector, "old.test").await.expect("still the old one");
    assert!(is_answered(&mut second).await);

    let new = issue(dir.path(), &ca, "new.test");
    fs::copy(&new.key_file, &files.key_file).expect("copied");
    fs::copy(&new.cert_file, &files.cert_file).expect("copied");
    until(&door.counts, |seen| seen.certificates_renewed == 1).await;
    let mut third = connect(at, &connector, "new.test").await.expect("the new certificate");
    assert!(is_answered(&mut third).await);
    assert!(connect(at, &connector, "old.test").await.is_err(), "the old name is gone");
    assert!(is_answered(&mut first).await && is_answered(&mut second).await, "none was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_certificate_that_is_asked_for_is_shut_out() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), authority());
    let client_ca_file = dir.path().join("ca.pem");
    fs::write(&client_ca_file, ca.pem()).expect("written");
    let files = issue(dir.path(), &ca, "door.test");
    let files = TlsFiles { client_ca_file: Some(client_ca_file), ..files };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let tls = Tls::new(Some(Certificates::read(&files).expect("good files")));
    let door = open(Listener::from(listener).with_tls(tls));

    let mine = issue(dir.path(), &ca, "client.test");
    let mut known = connect(at, &client(&ca, Some(&mine)), "door.test").await.expect("known");
    assert!(is_answered(&mut known).await);
    let foreign = issue(dir.path(), &authority(), "foreign.test");
    for own in [None, Some(&foreign)] {
        // With TLS 1.3 a client learns only at its first read that it is shut out.
        let stranger = connect(at, &client(&ca, own), "door.test").await;
        let is_in = match stranger {
            Ok(mut stream) => is_answered(&mut stream).await,
            Err(_) => false,
        };
        assert!(!is_in, "{own:?}");
    }
    until(&door.counts, |seen| seen.handshake_errors == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_in_its_handshake_is_cut_off_and_plain_text_is_no_way_in() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let files = issue(dir.path(), &ca, "door.test");
    let tls = Tls::new(Some(Certificates::read(&files).expect("good files")));
    let door = open(Listener::from(listener).with_tls(tls));
    let mut mute = TcpStream::connect(at).await.expect("connect");
    mute.write_all(&[0x16, 3, 1]).await.expect("write");
    let mut plain = TcpStream::connect(at).await.expect("connect");
    assert!(!is_answered(&mut plain).await);
    until(&door.counts, |seen| seen.timed_out == 1 && seen.handshake_errors == 1).await;
    until(&door.counts, |seen| seen.open == 0).await;
}

#[test]
fn files_that_cannot_be_used_are_told_by_their_names() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), authority());
    let (good, other) = (issue(dir.path(), &ca, "a.test"), issue(dir.path(), &ca, "b.test"));
    let mixed = TlsFiles { key_file: other.key_file.clone(), ..good.clone() };
    let no_chain = TlsFiles { cert_file: good.key_file.clone(), ..good.clone() };
    let no_key = TlsFiles { key_file: dir.path().join("none"), ..good.clone() };
    let no_ca = TlsFiles { client_ca_file: Some(dir.path().join("no-ca")), ..good };
    for (files, name) in
        [(mixed, "b.test.key"), (no_chain, "a.test.key"), (no_key, "none"), (no_ca, "no-ca")]
    {
        let wrong = Certificates::read(&files).expect_err("of no use");
        assert!(wrong.contains(name), "{wrong}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_open_to_its_group_and_outlives_no_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("otlp.sock");
    // What a process that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let door = open(bind_unix(&path).expect("nobody listens there"));
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = UnixStream::connect(&path).await.expect("connect");
    assert!(is_answered(&mut client).await);

    let taken = bind_unix(&path).expect_err("in use").to_string();
    assert!(taken.contains("otlp.sock") && taken.contains("another process"), "{taken}");
    assert!(is_answered(&mut client).await);
    drop(door);
    let going = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, going).await.expect("the file goes with its listener");

    fs::write(&path, "not a socket").expect("written");
    let no_socket = bind_unix(&path).expect_err("a file").to_string();
    assert!(no_socket.contains("no socket"), "{no_socket}");
    assert_eq!(fs::read(&path).expect("still there"), b"not a socket");
}
