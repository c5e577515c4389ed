//! Compression on the way out: what fits passes byte for byte, the rest is made to fit.

use std::collections::BTreeSet;
use std::io::Read;

use collector::{Compression, ExporterConfig, Protocol};
use prost::Message;

use crate::rig::{Got, PROTOBUF, backend, forwarding_to, gzip, zstd};
use crate::samples;

fn opened(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        "zstd" => ::zstd::Decoder::new(bytes).expect("zstd").read_to_end(&mut plain),
        _ => std::io::Cursor::new(bytes).read_to_end(&mut plain),
    };
    read.expect("it opens");
    plain
}

/// What a backend got of the three forms that clients send.
async fn sent(compression: Compression, protocol: Protocol) -> (Vec<Got>, [Vec<u8>; 3]) {
    let backend = backend(Vec::new()).await;
    let exporter =
        ExporterConfig { compression, ..ExporterConfig::new(backend.endpoint(), protocol) };
    let rig = forwarding_to(&exporter).await;
    let plain = samples::spans("shop", 500, 0).encode_to_vec();
    let forms = [plain.clone(), gzip(&plain), zstd(&plain)];
    for (coding, body) in ["identity", "gzip", "zstd"].into_iter().zip(forms.clone()) {
        let headers = [("content-type", PROTOBUF), ("content-encoding", coding)];
        assert_eq!(rig.post("/v1/traces", &headers, body).await.status, 200, "{coding}");
    }
    let got = backend.got_when(3).await;
    rig.page_when(|page| page.flow.forwarded == 1_500).await;
    rig.stop().await;
    for got in &got {
        let (name, head) = match protocol {
            Protocol::Http => ("content-encoding", 0),
            Protocol::Grpc => ("grpc-encoding", 5),
        };
        let coding = got.headers.get(name).map_or("", |value| value.to_str().expect("text"));
        assert_eq!(opened(coding, &got.body[head..]), plain, "{compression:?} {coding}");
    }
    (got, forms)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_received_is_byte_for_byte_what_the_client_sent() {
    for (protocol, head) in [(Protocol::Http, 0), (Protocol::Grpc, 5)] {
        let (got, forms) = sent(Compression::AsReceived, protocol).await;
        let got: BTreeSet<_> = got.iter().map(|got| got.body[head..].to_vec()).collect();
        assert_eq!(got, BTreeSet::from(forms), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_another_compression_than_the_backend_wants_is_made_to_fit() {
    for (compression, coding, passes) in
        [(Compression::Zstd, "zstd", 2), (Compression::Gzip, "gzip", 1)]
    {
        let (got, forms) = sent(compression, Protocol::Http).await;
        assert!(got.iter().all(|got| got.headers["content-encoding"] == coding));
        assert!(got.iter().any(|got| got.body == forms[passes]), "{coding} passes as it came");
    }
    let (got, forms) = sent(Compression::None, Protocol::Grpc).await;
    assert!(got.iter().all(|got| got.body[5..] == forms[0] && got.body[0] == 0));
}
