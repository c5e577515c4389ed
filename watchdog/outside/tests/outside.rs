//! Real servers, real certificates: who is believed, and what is not done.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Redirect;
use axum::routing::get;
use bytes::Bytes;
use front_door::{Certificates, Limits, Listener, Tls, TlsFiles, serve};
use http::{Request, StatusCode};
use http_body_util::Full;
use outside::{ANSWER_BYTES_MAX, Identity, Outside, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { folder, issuer }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `subject` that is over at `end`, if one is given.
    fn issue(&self, name: &str, subject: &str, end: Option<i32>) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![subject.to_owned()]).expect("a name");
        if let Some(year) = end {
            params.not_before = date_time_ymd(year - 1, 1, 1);
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let file = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        fs::write(file("pem"), certificate.pem()).expect("written");
        fs::write(file("key"), key.serialize_pem()).expect("written");
        Identity { cert_file: file("pem"), key_file: file("key") }
    }

    fn files(&self, subject: &str, end: Option<i32>, client_ca_file: Option<PathBuf>) -> TlsFiles {
        let Identity { cert_file, key_file } =
            self.issue(&format!("{subject}-{end:?}"), subject, end);
        TlsFiles { cert_file, key_file, client_ca_file }
    }
}

/// A server under `files`, or in the clear.
async fn server(files: Option<&TlsFiles>) -> (SocketAddr, DropGuard) {
    let forever = || async {
        let part = Bytes::from(vec![b'x'; 64 * 1024]);
        let parts = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(part.clone()));
        Body::from_stream(parts)
    };
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/away", get(|| async { Redirect::temporary("/") }))
        .route("/forever", get(forever))
        .route("/never", get(std::future::pending::<StatusCode>));
    let listener = front_door::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let certificates = files.map(|files| Certificates::read(files).expect("good files"));
    let listener = Listener::from(listener).with_tls(Tls::new(certificates));
    let stop = CancellationToken::new();
    let limits = Limits { drain_timeout: Duration::ZERO, ..Limits::default() };
    tokio::spawn(serve(listener, router.into_service(), limits, stop.clone()));
    (at, stop.drop_guard())
}

fn client(ca_file: &Path, identity: Option<&Identity>) -> Outside {
    let settings = Settings { ca_file: Some(ca_file), identity, ..Settings::default() };
    Outside::new(settings).expect("good files")
}

async fn fetch(client: &Outside, url: &str) -> Result<Bytes, String> {
    let request = Request::get(url).body(Full::default()).expect("a request");
    client.ask(request, PATIENCE).await
}

#[tokio::test]
async fn only_a_server_that_the_authority_vouches_for_now_and_by_its_name_is_believed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let client = client(&ours.ca_file(), None);
    let (at, _stop) = server(Some(&ours.files("127.0.0.1", None, None))).await;
    assert_eq!(fetch(&client, &format!("https://{at}/")).await, Ok(Bytes::from_static(b"here")));
    for (what, files) in [
        ("BadSignature", theirs.files("127.0.0.1", None, None)),
        ("expired", ours.files("127.0.0.1", Some(2020), None)),
        ("not valid for name", ours.files("other.test", None, None)),
    ] {
        let (at, _stop) = server(Some(&files)).await;
        let error = fetch(&client, &format!("https://{at}/")).await.expect_err(what);
        assert!(error.contains(what), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_client_shows_its_newest_certificate_to_a_server_that_asks() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (at, _stop) = server(Some(&ours.files("127.0.0.1", None, Some(ours.ca_file())))).await;
    let url = format!("https://{at}/");
    let nobody = client(&ours.ca_file(), None);
    assert!(fetch(&nobody, &url).await.is_err(), "without a certificate");
    let foreign = theirs.issue("client", "agent.test", None);
    let stranger = client(&ours.ca_file(), Some(&foreign));
    assert!(fetch(&stranger, &url).await.is_err(), "with one of another authority");

    let identity = ours.issue("client", "agent.test", Some(2020));
    let renewed = client(&ours.ca_file(), Some(&identity));
    assert!(fetch(&renewed, &url).await.is_err(), "with an expired one");
    ours.issue("client", "agent.test", None);
    fetch(&renewed, &url).await.expect("with the new one, without a restart");
    fs::write(&identity.cert_file, "half").expect("written");
    fetch(&renewed, &url).await.expect("a bad file replaces nothing");
}

#[tokio::test]
async fn nobody_is_followed_elsewhere_and_no_answer_is_read_without_end() {
    let (at, _stop) = server(None).await;
    let authority = Authority::new();
    let client = client(&authority.ca_file(), None);
    let get = |path: &str| Request::get(format!("http://{at}{path}")).body(Full::default());
    let away = client.send(get("/away").expect("a request"), PATIENCE).await.expect("an answer");
    assert_eq!(away.status, StatusCode::TEMPORARY_REDIRECT);
    let endless = client.send(get("/forever").expect("a request"), PATIENCE).await;
    let endless = endless.expect("an answer");
    assert_eq!(endless.body.len(), ANSWER_BYTES_MAX);
    assert!(endless.success().expect_err("it is cut").contains("larger than"));
    let never = get("/never").expect("a request");
    let error = client.ask(never, Duration::from_millis(50)).await.expect_err("no answer");
    assert_eq!(error, "no answer within 50 ms");
}

#[tokio::test]
async fn nothing_is_sent_to_a_metadata_service() {
    let authority = Authority::new();
    let client = client(&authority.ca_file(), None);
    for host in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:a9fe:a9fe]", "2852039166"] {
        let error = fetch(&client, &format!("http://{host}/latest/meta-data")).await;
        let error = error.expect_err(host);
        assert!(error.contains("metadata service"), "{host}: {error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let absent = Path::new("/nowhere/ca.pem");
    let settings = Settings { ca_file: Some(absent), ..Settings::default() };
    let error = Outside::new(settings).expect_err("there is none");
    assert!(error.starts_with("ca_file: ") && error.contains("/nowhere/ca.pem"), "{error}");
    let mut identity = authority.issue("client", "agent.test", None);
    identity.key_file = authority.issue("other", "agent.test", None).key_file;
    let settings = Settings { identity: Some(&identity), ..Settings::default() };
    let error = Outside::new(settings).expect_err("they do not fit");
    assert!(error.contains("do not fit"), "{error}");
}
