//! A service that floods the collector while its backend is away does not keep the others out.

use collector::{Config, ExporterConfig, Protocol};
use prost::Message;

use crate::grpc::{TRACES, call, frame};
use crate::rig::{Rig, Script, backend, on_free_ports, start};
use crate::samples;

const MIB: usize = 1 << 20;

async fn post(rig: &Rig, service: &str) -> crate::rig::Answer {
    rig.traces(samples::spans(service, 400, 0).encode_to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_floods_is_refused_beyond_its_share_and_others_are_taken() {
    let away = backend(vec![Script::Hang; 1_000]).await;
    let mut exporter = ExporterConfig::new(away.endpoint(), Protocol::Http);
    exporter.queue_bytes = MIB;
    let rig = start(Config {
        max_request_bytes: MIB / 2,
        memory_bytes: 8 * MIB,
        exporters: vec![exporter],
        ..on_free_ports()
    })
    .await;
    let mut taken = 0;
    let refused = loop {
        let answer = post(&rig, "noisy").await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 1_000, "the queue is bounded");
    };
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    assert!(refused.body.windows(9).any(|text| text == b"RetryInfo"), "{:?}", refused.body);
    for quiet in ["quiet", "calm"] {
        assert_eq!(post(&rig, quiet).await.status, 200, "{quiet}");
    }
    let again = frame(0, &samples::spans("noisy", 400, 0).encode_to_vec());
    assert_eq!(call(&rig, TRACES, "identity", again).await.grpc_status(), "8");

    // The watchdog is told that the silence is ours, and whose it is.
    let page = rig.page(0, 0).await;
    assert_eq!(page.flow.refused, 800);
    let refused = page.rows.iter().map(|row| {
        let particulars = row.particulars.as_ref().expect("this collector counts them");
        (row.service.as_str(), particulars.refused)
    });
    assert_eq!(refused.collect::<Vec<_>>(), [("noisy", 800), ("quiet", 0), ("calm", 0)]);
    rig.shutdown.cancel();
}
