//! What the gate is told: signed, sequenced, at a steady pace.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use watchdog::{GatePlace, Wiring};
use watchdog_core::attestation::Attestation;

use crate::fakes::{FakeGate, Taken};
use crate::stage::{Stage, body, config, wiring};

fn attesting_to(gate: &FakeGate) -> Wiring {
    let place = GatePlace { url: format!("http://{}", gate.address), token: "secret".into() };
    Wiring { gate: Arc::new(move || Some(place.clone())), ..wiring() }
}

fn parsed(taken: &Taken) -> Attestation {
    serde_json::from_slice(&taken.body).expect("an attestation")
}

#[tokio::test]
async fn every_attestation_is_signed_over_its_exact_bytes_and_its_seq_grows() {
    let gate = FakeGate::start().await;
    let stage = Stage::start(config(), Vec::new(), attesting_to(&gate)).await;
    stage.beat("checkout", &body(1)).await;
    stage.until("ten attestations", async |_| gate.taken().len() >= 10).await;
    stage.stop().await.expect("a clean stop");

    let key = SigningKey::from_bytes(&[3; 32]).verifying_key();
    let mut last = 0;
    for taken in gate.taken() {
        let hex = taken.signature.strip_prefix("ed25519=").expect("the scheme");
        let bytes = hex::decode(hex).expect("hex");
        let signature = Signature::from_slice(&bytes).expect("64 bytes");
        key.verify(&taken.body, &signature).expect("it verifies");
        assert_eq!(taken.bearer, "Bearer secret");
        let attestation = parsed(&taken);
        assert!(attestation.seq > last, "{} after {last}", attestation.seq);
        assert_eq!((attestation.watchdog.as_str(), attestation.ttl_ms), ("w1", 1_000));
        last = attestation.seq;
    }
    let all = gate.taken();
    let last = parsed(all.last().expect("at least ten"));
    assert!(last.items.iter().any(|v| v.service.as_str() == "checkout"), "{last:?}");
}

#[tokio::test]
async fn a_gate_that_is_away_delays_nothing_and_is_told_again_when_it_is_back() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", dead.local_addr().expect("bound"));
    let place = Arc::new(std::sync::Mutex::new(GatePlace { url, token: "t".into() }));
    let told = Arc::clone(&place);
    let gate: watchdog::FindGate =
        Arc::new(move || Some(told.lock().expect("no test panicked").clone()));
    let stage = Stage::start(config(), Vec::new(), Wiring { gate, ..wiring() }).await;
    let failed = r#"holdpoint_watchdog_attestations_total{outcome="failed"}"#;
    // The listener accepts and never answers: the worst gate there is.
    stage.until("failures", async |s| s.sample(failed).await >= Some(2.0)).await;
    assert_eq!(stage.status("/healthz").await, 200);

    let gate = FakeGate::start().await;
    place.lock().expect("no test panicked").url = format!("http://{}", gate.address);
    stage.until("the gate is told", async |_| !gate.taken().is_empty()).await;
}

#[tokio::test]
async fn a_stopped_watchdog_attests_no_more() {
    let gate = FakeGate::start().await;
    let stage = Stage::start(config(), Vec::new(), attesting_to(&gate)).await;
    stage.until("it attests", async |_| !gate.taken().is_empty()).await;
    stage.stop().await.expect("a clean stop");
    let before = gate.taken().len();
    // Silence can only be seen by waiting: six times the pace.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gate.taken().len(), before);
}
