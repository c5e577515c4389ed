//! Who may send: tokens, TLS and the Unix socket.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use collector::Config;
use front_door::TlsFiles;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;

use crate::grpc::frame;
use crate::rig::{PATIENCE, PROTOBUF, ask, on_free_ports, start};
use crate::samples;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn one_span() -> Vec<u8> {
    samples::spans("shop", 1, 0).encode_to_vec()
}

fn grpc_request(base: &str, token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request =
        Request::post(format!("{base}{TRACES}")).header("content-type", "application/grpc");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    request.body(Full::from(frame(0, &one_span()))).expect("valid")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_known_token_nothing_is_taken_at_either_port() {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef-shop\n").expect("written");
    let config = Config { bearer_token_files: vec![tokens.clone()], ..on_free_ports() };
    let rig = start(config).await;
    let base = format!("http://{}", rig.addresses.grpc);

    for token in [None, Some("Bearer 0123456789abcdef-shoq"), Some("0123456789abcdef-shop")] {
        let mut headers = vec![("content-type", PROTOBUF)];
        headers.extend(token.map(|token| ("authorization", token)));
        let answer = rig.post("/v1/traces", &headers, one_span()).await;
        assert_eq!(answer.status, 401, "{token:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.body[..2], [8, 16], "a Status: UNAUTHENTICATED");
        assert_eq!(ask(grpc_request(&base, token), true).await.grpc_status(), "16", "{token:?}");
    }
    let good = "Bearer 0123456789abcdef-shop";
    let headers = [("content-type", PROTOBUF), ("authorization", good)];
    assert_eq!(rig.post("/v1/traces", &headers, one_span()).await.status, 200);
    assert_eq!(ask(grpc_request(&base, Some(good)), true).await.grpc_status(), "0");
    assert_eq!(rig.page(0, 0).await.flow.received, 2);

    // A token that is withdrawn is of no use a moment later.
    fs::write(&tokens, "fedcba9876543210-shop\n").expect("written");
    let shutting = async {
        while rig.post("/v1/traces", &headers, one_span()).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shutting).await.expect("it is withdrawn");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_collector_takes_probes_and_nothing_else_at_its_admin_port() {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef-shop\n").expect("written");
    let open = start(on_free_ports()).await;
    assert_eq!(open.addresses.probe, open.addresses.http);
    open.stop().await;
    let rig = start(Config { bearer_token_files: vec![tokens], ..on_free_ports() }).await;
    assert_eq!(rig.addresses.probe, rig.addresses.admin);
    let post = |body: Vec<u8>| {
        let uri = format!("http://{}/v1/traces", rig.addresses.probe);
        let request = Request::post(uri).header("content-type", PROTOBUF);
        ask(request.body(Full::<Bytes>::from(body)).expect("valid"), false)
    };
    assert_eq!(post(samples::probe("run", 7).encode_to_vec()).await.status, 200);
    assert_eq!(post(one_span()).await.status, 404);
    let page = rig.page_when(|page| !page.echoes.is_empty()).await;
    assert_eq!(page.flow.received, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_speak_tls_when_there_is_a_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("signed");
    let files = TlsFiles {
        cert_file: dir.path().join("cert.pem"),
        key_file: dir.path().join("key.pem"),
        client_ca_file: None,
    };
    fs::write(&files.cert_file, certificate.pem()).expect("written");
    fs::write(&files.key_file, key.serialize_pem()).expect("written");
    let rig = start(Config { tls: Some(files), ..on_free_ports() }).await;

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_all_versions();
    let client = Client::builder(TokioExecutor::new()).build(connector.build());
    for address in [rig.addresses.grpc, rig.addresses.http] {
        let base = format!("https://localhost:{}", address.port());
        let answer = client.request(grpc_request(&base, None)).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("whole");
        assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
        let request = Request::post(format!("{base}/v1/traces"))
            .header("content-type", PROTOBUF)
            .body(Full::<Bytes>::from(one_span()))
            .expect("valid");
        assert_eq!(client.request(request).await.expect("an answer").status(), 200);
    }
    assert_eq!(rig.page(0, 0).await.flow.received, 4);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_stops_the_start_and_is_named() {
    let missing = |name: &str| std::path::PathBuf::from(format!("/nonexistent/{name}"));
    let tls = TlsFiles {
        cert_file: missing("cert.pem"),
        key_file: missing("key.pem"),
        client_ca_file: None,
    };
    for (config, key, file) in [
        (Config { tls: Some(tls), ..on_free_ports() }, "`tls`", "cert.pem"),
        (
            Config { bearer_token_files: vec![missing("tokens")], ..on_free_ports() },
            "`bearer_token_files`",
            "tokens",
        ),
    ] {
        let boot = watchdog_core::names::Boot::new("1700000000000-test").expect("a name");
        let error = collector::bind(config, boot).await.expect_err("no start").to_string();
        assert!(error.contains(key) && error.contains(file), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_takes_grpc_and_http_without_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, tokens) = (dir.path().join("otlp.sock"), dir.path().join("tokens"));
    fs::write(&tokens, "0123456789abcdef-shop\n").expect("written");
    let rig = start(Config {
        unix_listen: Some(path.clone()),
        bearer_token_files: vec![tokens],
        ..on_free_ports()
    })
    .await;
    let http = Request::post("/v1/traces")
        .header("host", "localhost")
        .header("content-type", PROTOBUF)
        .body(Full::<Bytes>::from(one_span()))
        .expect("valid");
    let stream = TokioIo::new(UnixStream::connect(&path).await.expect("connect"));
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1");
    tokio::spawn(connection);
    assert_eq!(client.send_request(http).await.expect("an answer").status(), 200);

    let stream = TokioIo::new(UnixStream::connect(&path).await.expect("connect"));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let answer = client.send_request(grpc_request("http://localhost", None)).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("whole");
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
    drop(client);
    assert_eq!(rig.page(0, 0).await.flow.received, 2);
    rig.stop().await;
    assert!(!path.exists(), "the file goes with the collector");
}
