//! The live tap: it shows what passes, to a few at a time, and holds nothing up.

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::rig::{Rig, on_free_ports, start};
use crate::rules::spans_of;

type Lines = hyper::body::Incoming;

async fn tap(rig: &Rig, query: &str) -> (u16, Lines) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let uri = format!("http://{}/v1/tap{query}", rig.addresses.admin);
    let answer = client.request(Request::get(uri).body(Empty::new()).expect("valid")).await;
    let (head, body) = answer.expect("an answer").into_parts();
    (head.status.as_u16(), body)
}

#[tokio::test]
async fn it_shows_the_records_of_the_service_that_is_asked_for_and_ends() {
    let rig = start(on_free_ports()).await;
    let (status, body) = tap(&rig, "?service=shop&signal=traces&n=1").await;
    assert_eq!(status, 200);
    for service in ["noise", "shop"] {
        assert_eq!(rig.traces(spans_of(service)).await.status, 200);
        // Copies are taken at a bounded rate.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let text = body.collect().await.expect("it ends after one record").to_bytes();
    let line: Value = serde_json::from_slice(text.trim_ascii()).expect("one JSON line");
    assert_eq!((&line["service"], &line["kind"]), (&"shop".into(), &"server".into()));
    assert_eq!(line["name"], "I'm a server span");
    assert!(line["duration_ms"].as_f64() > Some(0.0), "{line}");
    assert_eq!(line["attributes"]["my.span.attr"], "some value");
    rig.stop().await;
}

#[tokio::test]
async fn what_it_does_not_show_it_says_and_only_a_few_may_look() {
    let rig = start(on_free_ports()).await;
    let mut taps = Vec::new();
    for _ in 0..4 {
        let (status, body) = tap(&rig, "").await;
        assert_eq!(status, 200);
        taps.push(body);
    }
    assert_eq!(tap(&rig, "").await.0, 503);
    assert_eq!(tap(&rig, "?n=x").await.0, 400);
    let mut text = String::new();
    while !text.contains("skipped_requests") {
        for _ in 0..20 {
            assert_eq!(rig.traces(spans_of("shop")).await.status, 200);
        }
        let frame = taps[0].frame().await.expect("it goes on").expect("no error");
        text += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
    }
    rig.stop().await;
}
