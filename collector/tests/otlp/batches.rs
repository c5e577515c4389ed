//! Small requests that travel together: what arrives, in which order, and who bears a refusal.

use std::io::Read;

use collector::{Compression, ExporterConfig, Protocol};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::rig::{Backend, PROTOBUF, Rig, Script, backend, forwarding_to, gzip};
use crate::samples;

/// An exporter that has no reason to send before the tenth request or the end of a second.
fn batching(backend: &Backend) -> ExporterConfig {
    ExporterConfig {
        batch_bytes: 10 * request(0).len() + 5,
        batch_ms: 1_000,
        ..ExporterConfig::new(backend.endpoint(), Protocol::Http)
    }
}

fn request(n: u64) -> Vec<u8> {
    samples::spans(&format!("s{n:03}"), 2, 0).encode_to_vec()
}

async fn send(rig: &Rig, count: u64) {
    for n in 0..count {
        assert_eq!(rig.traces(request(n)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_requests_arrive_together_and_in_order() {
    let backend = backend(Vec::new()).await;
    let rig = forwarding_to(&batching(&backend)).await;
    send(&rig, 25).await;
    rig.page_when(|page| page.flow.forwarded == 50 && page.flow.dropped == 0).await;
    let got = backend.got();
    assert_eq!(got.len(), 3, "ten, ten, and five when their time was up");
    let tens = |from: u64| (from..from + 10).flat_map(request).collect::<Vec<u8>>();
    assert!(got.iter().any(|got| got.body == tens(0)));
    assert!(got.iter().any(|got| got.body == tens(10)));
    let read = ExportTraceServiceRequest::decode(got[0].body.clone()).expect("one request");
    assert_eq!(read.resource_spans.len(), 10);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_wait_only_what_waits_anyhow_travels_together() {
    let later = Script::Status(503, vec![("retry-after", "2".to_owned())], Vec::new());
    let backend = backend(vec![later]).await;
    let config = ExporterConfig { batch_ms: 0, concurrency: 1, ..batching(&backend) };
    let rig = forwarding_to(&config).await;
    send(&rig, 1).await;
    backend.got_when(1).await;
    // The first waits for its second attempt, and these for the first.
    for n in 1..5 {
        assert_eq!(rig.traces(request(n)).await.status, 200);
    }
    rig.page_when(|page| page.flow.forwarded == 10 && page.flow.dropped == 0).await;
    let got: Vec<_> = backend.got().into_iter().map(|got| got.body).collect();
    assert_eq!(got, [request(0), request(0), (1..5).flat_map(request).collect()]);
    // Nothing is held back for company.
    let before = std::time::Instant::now();
    send(&rig, 1).await;
    backend.got_when(4).await;
    assert!(before.elapsed() < std::time::Duration::from_millis(900), "it did not wait");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_a_batch_that_is_not_full() {
    let backend = backend(Vec::new()).await;
    let config = ExporterConfig { batch_ms: 60_000, ..batching(&backend) };
    let rig = forwarding_to(&config).await;
    send(&rig, 3).await;
    rig.stop().await;
    assert_eq!(backend.got()[0].body, (0..3).flat_map(request).collect::<Vec<u8>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_backend_rejects_of_a_batch_are_counted_once() {
    let rejected = samples::field(1, &[0x08, 3]);
    let backend = backend(vec![Script::Status(200, Vec::new(), rejected)]).await;
    let rig = forwarding_to(&batching(&backend)).await;
    send(&rig, 10).await;
    rig.page_when(|page| page.flow.dropped == 3 && page.flow.forwarded == 17).await;
    assert_eq!(backend.got().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_is_sent_again_one_by_one() {
    let refusal = || Script::Status(400, Vec::new(), Vec::new());
    // The batch, and then the second of its ten.
    let backend = backend(vec![refusal(), Script::Take, refusal()]).await;
    let rig = forwarding_to(&batching(&backend)).await;
    send(&rig, 10).await;
    rig.page_when(|page| page.flow.dropped == 2 && page.flow.forwarded == 18).await;
    let got = backend.got();
    assert_eq!(got.len(), 11);
    assert!((0..10).all(|n| got[n as usize + 1].body == request(n)), "each alone, in order");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_put_together_as_they_are_only_where_that_is_asked_for() {
    for batch_compressed in [false, true] {
        let backend = backend(Vec::new()).await;
        let config = ExporterConfig {
            compression: Compression::Gzip,
            batch_compressed,
            ..batching(&backend)
        };
        let rig = forwarding_to(&config).await;
        let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
        for n in 0..10 {
            rig.post("/v1/traces", &headers, gzip(&request(n))).await;
        }
        rig.page_when(|page| page.flow.forwarded == 20).await;
        let got = backend.got();
        assert_eq!((got.len(), &got[0].headers["content-encoding"]), (1, &"gzip".parse().unwrap()));
        let whole: Vec<u8> = (0..10).flat_map(request).collect();
        let (mut first, mut all) = (Vec::new(), Vec::new());
        flate2::read::GzDecoder::new(&got[0].body[..]).read_to_end(&mut first).expect("gzip");
        flate2::read::MultiGzDecoder::new(&got[0].body[..]).read_to_end(&mut all).expect("gzip");
        assert_eq!(all, whole);
        assert_eq!(first == whole, !batch_compressed, "one member, unless asked for");
        let members = (0..10).flat_map(|n| gzip(&request(n))).collect::<Vec<u8>>();
        assert_eq!(got[0].body == members, batch_compressed);
        rig.stop().await;
    }
}
