//! Attestations: the verdicts, signed and sequenced, sent to the gate at a steady pace.
//!
//! The sender reads snapshots and never makes one, so a verdict loop that stands still sends
//! nothing and the gate's lease on us runs out. A gate that is slow costs nothing but its own
//! freshness: whatever was published meanwhile is skipped, the latest wins.
//!
//! Invariant: what is signed is the exact bytes of the body, and no `seq` is sent twice.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::attestation::SIGNATURE_HEADER;

mod told;

use told::Told;
pub use told::WHOLE_MAX;

use crate::metrics::{AttestOutcome, Metrics};
use crate::publish::{Reader, Snapshot};
use crate::streak::{Streak, Turn};
use crate::wiring::{FindGate, GatePlace};

/// How long the gate has to take one attestation.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Sends what the verdict loop publishes.
pub struct Attester {
    pub reader: Reader,
    pub key: SigningKey,
    pub ttl_ms: u64,
    pub gate: FindGate,
    pub metrics: Metrics,
    /// The highest `seq` the gate has taken, for those who must know that it was told.
    pub attested: watch::Sender<u64>,
}

impl Attester {
    /// Sends until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = crate::client::new(TIMEOUT);
        let mut snapshots = self.reader.snapshots();
        let mut streak = Streak::default();
        let mut told = Told::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = snapshots.changed() => {
                    // The verdict loop is gone, and with it everything there is to say.
                    if changed.is_err() { return }
                }
            }
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let snapshot = self.reader.as_held(snapshot);
            let (outcome, words) = match (self.gate)() {
                Some(place) => self.send(&client, &place, &snapshot, &mut told).await,
                None => (AttestOutcome::NoGate, "no gate is known".to_owned()),
            };
            self.metrics.attestation(outcome);
            let taken = outcome == AttestOutcome::Taken;
            if taken {
                self.attested.send_replace(snapshot.seq);
            }
            match streak.note(taken) {
                Some(Turn::ToWorking) => info!("the gate takes attestations"),
                Some(Turn::ToFailing) => {
                    warn!(outcome = outcome.as_str(), words, "the gate is not told of verdicts");
                }
                None => {}
            }
        }
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        place: &GatePlace,
        snapshot: &Snapshot,
        told: &mut Told,
    ) -> (AttestOutcome, String) {
        let mut part = match told.part(snapshot, self.ttl_ms) {
            Ok(part) => part,
            Err(error) => return (AttestOutcome::Failed, error.to_string()),
        };
        let body = std::mem::take(&mut part.body);
        let signature = self.key.sign(&body);
        let request = client
            .post(format!("{}/v1/attestations", place.url))
            .bearer_auth(&place.token)
            .header(SIGNATURE_HEADER, format!("ed25519={}", hex::encode(signature.to_bytes())))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                told.taken(part);
                (AttestOutcome::Taken, String::new())
            }
            Ok(answer) => {
                told.refused();
                let status = answer.status();
                let text = answer.text().await.unwrap_or_else(|e| e.to_string());
                let text: String = text.chars().take(300).collect();
                (AttestOutcome::Refused, format!("{status}: {text}"))
            }
            Err(error) => (AttestOutcome::Failed, crate::client::chain(&error)),
        }
    }
}
