//! A watchdog for tests: it attests a small world that the test changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_gate::Role;
use ed25519_dalek::{Signer, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};
use watchdog_core::attestation::Attestation;
use watchdog_core::names::{Boot, Environment, Revision, Service};
use watchdog_core::verdict::{
    BeatEvidence, BeatState, ObserverEvidence, ProbeEvidence, ProbeState, RevisionEvidence,
    Verdict, VerdictKind,
};

use crate::stand::{SERVICE, Stand, WATCHDOG, watchdog_key};

const PACE: Duration = Duration::from_millis(25);
/// Far above the pace: only a test that ends the watchdog sees it lapse.
pub const TTL_MS: u64 = 3_000;

/// What the watchdog sees.
#[derive(Debug, Clone)]
pub struct World {
    pub verdict: VerdictKind,
    pub running: Revision,
    pub mass_silence: bool,
    counts: BTreeMap<Revision, u64>,
}

/// Attests in the background until it is dropped.
pub struct Watchdog {
    world: Arc<Mutex<World>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watchdog {
    /// A watchdog that sees [`SERVICE`] live on `r1`.
    pub fn start(stand: &Stand) -> Self {
        Self::start_as(stand, "1700000000000-a", VerdictKind::Live, "r1")
    }

    pub fn start_as(stand: &Stand, boot: &str, verdict: VerdictKind, running: &str) -> Self {
        let world = Arc::new(Mutex::new(World {
            verdict,
            running: revision(running),
            mass_silence: false,
            counts: BTreeMap::from([(revision("r1"), 500)]),
        }));
        let (boot, seen) = (Boot::new(boot).expect("a boot"), Arc::clone(&world));
        let (url, client) = (format!("{}/v1/attestations", stand.url), reqwest::Client::new());
        let task = tokio::spawn(async move {
            for seq in 1.. {
                let body = {
                    let mut world = seen.lock().expect("no panic");
                    world.turn();
                    world.attestation(boot.clone(), seq)
                };
                let body = serde_json::to_vec(&body).expect("JSON");
                let request = client
                    .post(&url)
                    .bearer_auth("secret of the watchdog")
                    .header("x-holdpoint-signature", sign(&watchdog_key(), &body));
                // A gate that restarts in between refuses; the next one counts.
                drop(request.body(body).send().await);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { world, task }
    }

    pub fn sees(&self, verdict: VerdictKind) {
        self.world.lock().expect("no panic").verdict = verdict;
    }

    /// The service runs `to` from now on.
    pub fn switches(&self, to: &str) {
        self.world.lock().expect("no panic").running = revision(to);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    fn turn(&mut self) {
        if self.verdict == VerdictKind::Live {
            *self.counts.entry(self.running.clone()).or_insert(0) += 10;
        }
    }

    fn attestation(&self, boot: Boot, seq: u64) -> Attestation {
        Attestation {
            watchdog: WATCHDOG.to_owned(),
            boot,
            seq,
            ttl_ms: TTL_MS,
            mass_silence: self.mass_silence,
            base: None,
            items: vec![self.verdict()],
        }
    }

    fn verdict(&self) -> Verdict {
        let revisions = self.counts.iter().map(|(revision, count)| RevisionEvidence {
            revision: revision.clone(),
            instances: u32::from(*revision == self.running),
            records: Some(*count),
            requests: Some(*count),
            errors: Some(0),
            witnessed: Some(*count),
            durations: None,
        });
        Verdict {
            service: Service::new(SERVICE).expect("a name"),
            environment: Environment::new("default").expect("a name"),
            verdict: self.verdict,
            since_ms: 1,
            stage: None,
            reason: "as the test says".into(),
            revisions: revisions.collect(),
            signals: watchdog_core::roster::Roster::new(),
            beats: BeatEvidence {
                state: BeatState::Fresh,
                age_ms: Some(1),
                interval_ms: Some(25),
                authenticated: true,
            },
            witness: None,
            probes: ProbeEvidence {
                state: ProbeState::Returning,
                coverage: Some(1.0),
                age_ms: Some(1),
            },
            observer: ObserverEvidence { late_ms: 0, healthy: true, strain: 0 },
            instances: Vec::new(),
        }
    }
}

/// One attestation of a live world.
pub fn attestation(boot: &str, seq: u64) -> Attestation {
    let running = revision("r1");
    let counts = BTreeMap::from([(running.clone(), 500)]);
    let world = World { verdict: VerdictKind::Live, running, mass_silence: false, counts };
    world.attestation(Boot::new(boot).expect("a boot"), seq)
}

pub fn sign(key: &SigningKey, body: &[u8]) -> String {
    format!("ed25519={}", hex::encode(key.sign(body).to_bytes()))
}

/// Posts `body` with `signature`; status and answer.
pub async fn post(stand: &Stand, body: Vec<u8>, signature: Option<String>) -> (u16, Value) {
    let client = reqwest::Client::new();
    let mut request = client
        .request(Method::POST, format!("{}/v1/attestations", stand.url))
        .bearer_auth(format!("secret of the {}", Role::Watchdog));
    if let Some(signature) = signature {
        request = request.header("x-holdpoint-signature", signature);
    }
    let response = request.body(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.unwrap_or(json!(null)))
}

fn revision(name: &str) -> Revision {
    Revision::new(name).expect("a name")
}
