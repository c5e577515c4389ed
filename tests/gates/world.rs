//! What a watchdog sees: a few services, each live or not on some revision, attested to the gates
//! all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use watchdog_core::attestation::{Attestation, SIGNATURE_HEADER};
use watchdog_core::names::{Boot, Environment, Revision, Service};
use watchdog_core::roster::Roster;
use watchdog_core::verdict::{
    BeatEvidence, BeatState, ObserverEvidence, ProbeEvidence, ProbeState, RevisionEvidence,
    Verdict, VerdictKind,
};

use super::process::Door;

const PACE: Duration = Duration::from_millis(20);
/// Far above the pace, and above what a restart takes.
const TTL_MS: u64 = 5_000;

#[derive(Debug, Clone)]
struct Seen {
    verdict: VerdictKind,
    running: String,
    counts: BTreeMap<String, u64>,
}

/// Attests in the background until it is dropped.
#[derive(Debug)]
pub struct World {
    services: Arc<Mutex<BTreeMap<String, Seen>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl World {
    /// All of `services` live on `r0`, told to each of `doors`.
    pub fn start(services: &[String], doors: &[Door]) -> Self {
        let seen = Seen {
            verdict: VerdictKind::Live,
            running: "r0".to_owned(),
            counts: BTreeMap::from([("r0".to_owned(), 500)]),
        };
        let services = services.iter().map(|name| (name.clone(), seen.clone())).collect();
        let services = Arc::new(Mutex::new(services));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = doors.iter().map(|door| {
            let (door, services, stop) = (door.clone(), Arc::clone(&services), Arc::clone(&stop));
            std::thread::spawn(move || attest(&door, &services, &stop))
        });
        let threads = threads.collect();
        Self { services, stop, threads }
    }

    pub fn sees(&self, service: &str, verdict: VerdictKind) {
        self.services.lock().unwrap().get_mut(service).unwrap().verdict = verdict;
    }

    pub fn runs(&self, service: &str, revision: &str) {
        let mut services = self.services.lock().unwrap();
        let seen = services.get_mut(service).unwrap();
        let before = std::mem::replace(&mut seen.running, revision.to_owned());
        seen.counts.retain(|each, _| *each == before || *each == revision);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn attest(door: &Door, services: &Mutex<BTreeMap<String, Seen>>, stop: &AtomicBool) {
    let key = SigningKey::from_bytes(&door.watchdog_key());
    for seq in 1.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let turn = |(name, seen): (&String, &mut Seen)| {
            if seen.verdict == VerdictKind::Live {
                *seen.counts.entry(seen.running.clone()).or_insert(0) += 10;
            }
            verdict(name, seen)
        };
        let items = services.lock().unwrap().iter_mut().map(turn).collect();
        let attestation = Attestation {
            watchdog: "local".to_owned(),
            boot: Boot::new("1700000000000-a").expect("a boot"),
            seq,
            ttl_ms: TTL_MS,
            mass_silence: false,
            base: None,
            items,
        };
        let body = serde_json::to_vec(&attestation).expect("JSON");
        let signature = format!("ed25519={}", hex::encode(key.sign(&body).to_bytes()));
        // A gate that is down or stands by refuses; the next one counts.
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        door.send("watchdog", "POST", "/v1/attestations", &headers, &body);
        std::thread::sleep(PACE);
    }
}

fn verdict(name: &str, seen: &Seen) -> Verdict {
    let revisions = seen.counts.iter().map(|(revision, count)| RevisionEvidence {
        revision: Revision::new(revision.as_str()).expect("a name"),
        instances: u32::from(*revision == seen.running),
        records: Some(*count),
        requests: Some(*count),
        errors: Some(0),
        witnessed: Some(*count),
        durations: None,
    });
    Verdict {
        service: Service::new(name).expect("a name"),
        environment: Environment::new("default").expect("a name"),
        verdict: seen.verdict,
        since_ms: 1,
        stage: None,
        reason: "as the test says".into(),
        revisions: revisions.collect(),
        signals: Roster::new(),
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
