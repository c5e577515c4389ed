//! OTLP/HTTP: what is taken, and how everything else is refused.

use collector::Config;
use http::Request;
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::rig::{Answer, JSON, PROTOBUF, Rig, ask, gzip, on_free_ports, start, zstd};
use crate::samples;

/// The code of the `google.rpc.Status` in a JSON answer.
fn json_code(answer: &Answer) -> i64 {
    let status: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(status["message"].as_str().is_some_and(|message| !message.is_empty()), "{status}");
    status["code"].as_i64().expect("a code")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_are_taken_in_protobuf_and_json_in_every_encoding() {
    let rig = start(on_free_ports()).await;
    let traces = samples::full_traces();
    let (metrics, logs) = (samples::full_metrics(), samples::full_logs());
    let requests = [
        ("/v1/traces", traces.encode_to_vec(), serde_json::to_vec(&traces)),
        ("/v1/metrics", metrics.encode_to_vec(), serde_json::to_vec(&metrics)),
        ("/v1/logs", logs.encode_to_vec(), serde_json::to_vec(&logs)),
    ];
    for (path, protobuf, json) in requests {
        for (kind, body) in [(PROTOBUF, protobuf), (JSON, json.expect("serializes"))] {
            let bodies = [("identity", body.clone()), ("gzip", gzip(&body)), ("zstd", zstd(&body))];
            for (encoding, body) in bodies {
                let headers = [("content-type", kind), ("content-encoding", encoding)];
                let answer = rig.post(path, &headers, body).await;
                assert_eq!(answer.status, 200, "{path} {kind} {encoding} {:?}", answer.body);
                assert_eq!(answer.header("content-type"), kind);
                let empty: &[u8] = if kind == JSON { b"{}" } else { b"" };
                assert_eq!(answer.body, empty, "partial_success is unset");
            }
        }
    }
    let page = rig.page(0, 0).await;
    let [row] = page.rows.as_slice() else { panic!("one row, not {:?}", page.rows) };
    assert_eq!(row.service.as_str(), "eu/shop");
    let arrivals = [&row.traces, &row.metrics, &row.logs].map(|signal| {
        let signal = signal.as_ref().expect("arrived");
        (signal.arrivals, signal.records)
    });
    // Of the full metrics, the three number points carry no recorded value.
    assert_eq!(arrivals, [(6, 6), (6, 18), (6, 6)]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_examples_are_taken_with_parameters_in_the_content_type() {
    let rig = start(on_free_ports()).await;
    let examples = [
        ("/v1/traces", include_str!("../data/trace.json")),
        ("/v1/metrics", include_str!("../data/metrics.json")),
        ("/v1/logs", include_str!("../data/logs.json")),
        ("/v1/logs", include_str!("../data/events.json")),
    ];
    for (path, example) in examples {
        let kind = "Application/JSON; charset=utf-8";
        let answer = rig.post(path, &[("content-type", kind)], example.into()).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, b"{}".as_slice()), "{path}");
    }
    assert_eq!(rig.page(0, 0).await.rows[0].service.as_str(), "my.service");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_a_status_in_the_content_type_of_the_request() {
    let rig = start(on_free_ports()).await;
    let bad = || b"\x0a\xff".to_vec();
    for (path, kind, encoding, status, code) in [
        ("/v1/trace", JSON, "", 404, 12),
        ("/v1/traces", "text/plain", "", 415, 12),
        ("/v1/traces", JSON, "br", 415, 12),
        ("/v1/traces", JSON, "", 400, 3),
        ("/v1/traces", JSON, "gzip", 400, 3),
    ] {
        let headers = [("content-type", kind), ("content-encoding", encoding)];
        let answer = rig.post(path, &headers, bad()).await;
        assert_eq!(answer.status, status, "{path} {kind} {encoding}");
        assert_eq!(answer.header("content-type"), JSON);
        assert_eq!(json_code(&answer), code);
    }
    for (path, status) in [("/v1/trace", 404), ("/v1/traces", 400)] {
        let answer = rig.post(path, &[("content-type", PROTOBUF)], bad()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), PROTOBUF);
        assert_eq!(answer.body[0], 0x08, "a Status begins with its code");
    }
    let none = rig.post("/v1/logs", &[], bad()).await;
    assert_eq!((none.status.as_u16(), json_code(&none)), (415, 12), "no content type");
    let page = rig.page(0, 0).await;
    assert!(page.rows.is_empty(), "what is refused is not counted: {:?}", page.rows);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_told_which_one_is_allowed() {
    let rig = start(on_free_ports()).await;
    let uri = format!("http://{}/v1/traces", rig.addresses.http);
    let request = http::Request::get(uri).body(http_body_util::Full::default()).expect("valid");
    let answer = crate::rig::ask(request, false).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    assert_eq!(json_code(&answer), 12);
    rig.stop().await;
}

/// What a page of `origin` is told by a preflight, and by a request that is refused.
async fn told(rig: &Rig, origin: &str) -> [Option<String>; 2] {
    let preflight = Request::options(format!("http://{}/v1/traces", rig.addresses.http))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-key");
    let preflight = ask(preflight.body(Full::default()).expect("valid"), false).await;
    let headers = [("content-type", PROTOBUF), ("origin", origin)];
    let refused = rig.post("/v1/traces", &headers, b"?".to_vec()).await;
    assert_eq!(refused.status, 400);
    let names = |answer: &Answer| {
        let value = answer.headers.get("access-control-allow-origin");
        value.map(|value| value.to_str().expect("text").to_owned())
    };
    if names(&preflight).is_some() {
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-headers"), "content-type,x-key");
        assert_eq!(preflight.header("access-control-allow-methods"), "POST");
    } else {
        assert_eq!(preflight.status, 405);
    }
    [names(&preflight), names(&refused)]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_configured_origins_are_let_in() {
    let (ours, other) = ("https://shop.example", "https://shop.example.evil");
    let some = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    let rig = start(on_free_ports()).await;
    assert_eq!(told(&rig, ours).await, [None, None], "none unless configured");
    rig.stop().await;
    let rig = start(Config { cors_origins: vec![ours.to_owned()], ..on_free_ports() }).await;
    assert_eq!(told(&rig, ours).await, some(ours));
    assert_eq!(told(&rig, other).await, [None, None]);
    rig.stop().await;
    let rig = start(Config { cors_origins: vec!["*".to_owned()], ..on_free_ports() }).await;
    assert_eq!(told(&rig, other).await, some("*"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_name_of_protobuf_is_taken_and_given_back() {
    let rig = start(on_free_ports()).await;
    for (body, status) in [(Vec::new(), 200), (b"?".to_vec(), 400)] {
        let answer = rig.post("/v1/logs", &[("content-type", "application/protobuf")], body).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), "application/protobuf");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_is_a_success() {
    let rig = start(on_free_ports()).await;
    assert_eq!(rig.traces(Vec::new()).await.status, 200);
    let empty = rig.post("/v1/traces", &[("content-type", JSON)], b"{}".to_vec()).await;
    assert_eq!(empty.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_negotiation_is_spoken_too() {
    let rig = start(on_free_ports()).await;
    let body = samples::spans("shop", 1, 0).encode_to_vec();
    let request = http::Request::post(format!("http://{}/v1/traces", rig.addresses.http))
        .header("content-type", PROTOBUF)
        .body(http_body_util::Full::from(body))
        .expect("valid");
    assert_eq!(crate::rig::ask(request, true).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_a_wrong_id_are_rejected_and_the_rest_is_taken() {
    let rig = start(on_free_ports()).await;
    let mut request = samples::spans("shop", 3, 0);
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = vec![1; 8];
    let answer = rig.traces(request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let partial = ExportTraceServiceResponse::decode(answer.body).expect("a response");
    let partial = partial.partial_success.expect("something was rejected");
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("trace id"), "{}", partial.error_message);

    let call = crate::grpc::frame(0, &request.encode_to_vec());
    let answer = crate::grpc::call(&rig, crate::grpc::TRACES, "identity", call).await;
    assert_eq!(answer.grpc_status(), "0");
    let partial = ExportTraceServiceResponse::decode(&answer.body[5..]).expect("a response");
    assert_eq!(partial.partial_success.expect("rejected").rejected_spans, 1);
    assert_eq!(rig.page(0, 0).await.flow.received, 4);
    rig.stop().await;
}
