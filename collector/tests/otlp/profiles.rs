//! Profiles: carried as bytes and counted, and no part of the tally.

use collector::{ExporterConfig, Protocol};

use crate::grpc::{call, frame};
use crate::rig::{JSON, PROTOBUF, backend, forwarding_to, gzip, on_free_ports, start};
use crate::samples::field;

const OVER_HTTP: &str = "/v1development/profiles";
const OVER_GRPC: &str =
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

/// One scope with two profiles, and a dictionary.
fn two_profiles() -> Vec<u8> {
    let scope = [field(2, b"\x08\x01"), field(2, b"\x3a\x02hi")].concat();
    [field(1, &field(2, &scope)), field(2, b"\x0a\x00")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_forwarded_untouched_and_counted_but_not_tallied() {
    for (protocol, path) in [(Protocol::Http, OVER_HTTP), (Protocol::Grpc, OVER_GRPC)] {
        let backend = backend(Vec::new()).await;
        let rig = forwarding_to(&ExporterConfig::new(backend.endpoint(), protocol)).await;
        let body = two_profiles();
        let zipped = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
        assert_eq!(rig.post(OVER_HTTP, &zipped, gzip(&body)).await.status, 200);
        assert_eq!(call(&rig, OVER_GRPC, "gzip", frame(0, &body)).await.grpc_status(), "0");
        for got in backend.got_when(2).await {
            assert_eq!(got.path, path);
            assert!(got.body.ends_with(&body), "the bytes as they came");
        }
        for name in ["requests", "records"] {
            let line = format!("holdpoint_collector_{name}_total{{signal=\"profiles\"}}");
            let expected = if name == "records" { 4.0 } else { 2.0 };
            assert_eq!(rig.metric(&line).await, Some(expected), "{line}");
        }
        let page = rig.page(0, 0).await;
        assert!(page.rows.is_empty());
        assert_eq!((page.flow.received, page.flow.queued, page.flow.forwarded), (0, 0, 0));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_profiles_and_profiles_in_json_are_refused() {
    let rig = start(on_free_ports()).await;
    let headers = [("content-type", PROTOBUF)];
    assert_eq!(rig.post(OVER_HTTP, &headers, b"\x0a\x05abc".to_vec()).await.status, 400);
    assert_eq!(call(&rig, OVER_GRPC, "gzip", frame(0, b"\x0a\x05")).await.grpc_status(), "3");
    let json = rig.post(OVER_HTTP, &[("content-type", JSON)], b"{}".to_vec()).await;
    assert_eq!(json.status, 415);
    assert_eq!(
        rig.metric("holdpoint_collector_records_total{signal=\"profiles\"}").await,
        Some(0.)
    );
    rig.stop().await;
}
